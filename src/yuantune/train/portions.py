"""The rows of a whole optimizer step, laid out together and computed in as few portions as memory allows.

Micro-batches of an accumulation share a prompt over all of them. What has more tokens than fit is cut; where memory
ends all the same, the step begins again in smaller portions. The sums are the same in any case: portions change how
much is shared and the order of additions, and nothing else. Where portions would cost more than that, activations
are computed again instead of kept (gradient checkpointing). Under several processes each micro-batch is one
portion, since all of them have to compute equally often.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.trainer_utils import EvalLoopOutput

from yuantune.data.examples import Example
from yuantune.data.strict_json import parse_json
from yuantune.data.writing import write_text
from yuantune.errors import Problem, RunError
from yuantune.models.allocator import give_freed_memory_back
from yuantune.models.loss import supervised_loss
from yuantune.models.memory import is_exhausted
from yuantune.train.arguments import CHECKPOINTING, keep_activations
from yuantune.train.grouping import Collator
from yuantune.train.numbers import described
from yuantune.train.step import AnyBatch, SupervisedTrainer, computing

COMPUTED_AGAIN = 4 / 3
"""What a step costs with gradient checkpointing: a forward pass beside forward and backward."""
PORTIONS_FILE = "portions.json"
"""In a checkpoint, where memory ended before it: how many tokens are computed at once since, and whether
activations are computed again."""

Rows = list[Example]


def cut(rows: Sequence[Example], lay_out: Collator, most_tokens: int | None) -> list[AnyBatch]:
    """Batches of `most_tokens` computed tokens at most, or of one row. Rows that share the most, or, padded, are of
    one length, stay together."""
    batch = lay_out(rows)
    if most_tokens is None or batch["input_ids"].numel() <= most_tokens or len(rows) == 1:
        return [batch]
    ordered = sorted(rows, key=lambda row: row.ids if "layout" in batch else [len(row.ids)])
    half = len(rows) // 2
    return [part for rest in (ordered[:half], ordered[half:]) for part in cut(rest, lay_out, most_tokens)]


class RowsTrainer(SupervisedTrainer):
    """SupervisedTrainer over examples, which it lays out itself. `most_tokens` are computed at once (None: without
    a bound); with `may_checkpoint`, gradient checkpointing may be turned on where memory ends."""

    def __init__(
        self,
        lay_out: Collator,
        most_tokens: int | None = None,
        may_checkpoint: bool = False,
        **further: Any,
    ) -> None:
        self.lay_out, self.most_tokens, self.may_checkpoint = lay_out, most_tokens, may_checkpoint
        self._lowered = False
        self._rows: Rows = []
        super().__init__(**further, data_collator=list)

    # --------------------------------------------------------------------------------------------- the step
    def get_batch_samples(
        self, epoch_iterator: Iterator[Rows], num_batches: int, device: torch.device
    ) -> tuple[list[Rows], torch.Tensor | int | None]:
        """The micro-batches of a step: all their rows in the last of them, the others empty, so that the Trainer
        counts as many as it asked for."""
        taken = [rows for _, rows in zip(range(num_batches), epoch_iterator, strict=False)]
        self._rows = [row for rows in taken for row in rows]
        items = self._get_num_items_in_batch([{"weight_S": _learnt(rows)} for rows in taken], device)
        if self.args.world_size == 1 and taken:
            taken = [[] for _ in taken[1:]] + [self._rows]
        return taken, items

    def training_step(
        self, model: nn.Module, inputs: Rows, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Forward, loss and backward of all portions."""
        total = torch.zeros((), device=self.args.device)
        if not inputs:
            return total
        parts = self.batches_of(inputs)
        while True:
            state = _random_state(self.args.device)
            try:
                for part in parts:
                    total = total + super().training_step(model, part, num_items_in_batch)
                return total
            except (RuntimeError, MemoryError) as error:
                if not is_exhausted(error) or self.args.world_size > 1:
                    raise
                if len(parts) == len(inputs) and not self.may_checkpoint:
                    raise
            # Outside of the handler: the error holds what the step had computed.
            model.zero_grad(set_to_none=True)
            _free(self.args.device)
            _set_random_state(state, self.args.device)
            total = self._step_loss = torch.zeros_like(total)
            parts = self._smaller(inputs, parts)

    def batches_of(self, inputs: Any) -> list[AnyBatch]:
        """The portions of some rows."""
        return cut(inputs, self.lay_out, self.most_tokens if self.args.world_size == 1 else None)

    def _smaller(self, rows: Rows, parts: list[AnyBatch]) -> list[AnyBatch]:
        """More parts than `parts`, or the same ones without their activations kept; now and from now on."""
        most = max(part["input_ids"].numel() for part in parts)
        smaller = parts
        while len(smaller) <= len(parts) < len(rows):
            smaller = cut(rows, self.lay_out, most)
            most = most if len(smaller) > len(parts) else most // 2
        again = f"step {self.state.global_step + 1} did not fit into memory; it begins again"
        self._lowered = True
        dear = _tokens(smaller) > COMPUTED_AGAIN * _tokens(cut(rows, self.lay_out, None))
        if self.may_checkpoint and (dear or smaller is parts):
            self._checkpoint()
            self.model.activation_checkpointing_enable(CHECKPOINTING)
            self.note(f"{again} with gradient checkpointing (train.gradient_checkpointing: true from the start)")
            return parts
        self.most_tokens = most
        self.note(
            f"{again} in {len(smaller)} portions of at most {most:,} tokens, and later steps keep to them "
            f"(data.max_batch_tokens: {most} would from the start)"
        )
        return smaller

    def _checkpoint(self) -> None:
        """From now on activations are computed again, and not kept."""
        self.may_checkpoint = False
        keep_activations(self.args, False)
        give_freed_memory_back()

    def losses_of(self, model: nn.Module, inputs: Any) -> torch.Tensor:
        """Of evaluation rows; where memory ends, of each half of them."""
        try:
            return super().losses_of(model, inputs)
        except (RuntimeError, MemoryError) as error:
            if not is_exhausted(error) or len(inputs) == 1:
                raise
        _free(self.args.device)
        half = len(inputs) // 2
        return self.losses_of(model, inputs[:half]) + self.losses_of(model, inputs[half:])

    # --------------------------------------------------------------------------------------------- the numbers
    def rows_of_step(self) -> Rows:
        """This process's rows of the step at hand."""
        return self._rows

    def at_fault(self, rows: Sequence[Any]) -> list[Problem]:
        """Those whose loss or gradient is no number, each computed by itself, without dropout."""
        problems = []
        state, model = _random_state(self.args.device), self.accelerator.unwrap_model(self.model)
        model.eval()
        for row in rows:
            batch, norm = self._prepare_inputs(self.lay_out([row])), 0.0
            with computing(model, batch):
                with self.compute_loss_context_manager():
                    loss = supervised_loss(model, **batch)
                if self.args.world_size == 1:  # Else the other processes would have to compute gradients, too.
                    loss.backward()
                    gradients = [each.grad for each in model.parameters() if each.grad is not None]
                    norm = float(torch.nn.utils.get_total_norm(gradients))
            model.zero_grad(set_to_none=True)
            value = loss.detach().item()
            if not (math.isfinite(value) and math.isfinite(norm)):
                problems.append(Problem(str(row.source), f"by itself, {described(value, norm)}"))
        _set_random_state(state, self.args.device)
        return problems

    scorer: Callable[[], dict[str, float]] | None = None
    """Scores the model as it is, in every evaluation."""

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """The loss, and the scores."""
        output = super().evaluation_loop(
            dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
        )
        if self.scorer is not None:
            state = _random_state(self.args.device)
            scores = self.scorer()
            _set_random_state(state, self.args.device)
            output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in scores.items()})
        return output

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the Trainer's formula knows neither shared prompts nor frozen weights."""
        return 0

    # --------------------------------------------------------------------------------------------- checkpoints
    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save and self._lowered:
            path = Path(output_dir or self.args.output_dir) / PORTIONS_FILE
            state = {"most_tokens": self.most_tokens, "checkpointing": bool(self.args.activation_checkpointing)}
            write_text(path, json.dumps(state) + "\n")

    def restore(self, checkpoint: Path) -> None:
        """Compute portions as they were when the checkpoint was written. Raises RunError where it is damaged."""
        path = checkpoint / PORTIONS_FILE
        if path.is_file():
            try:
                state = parse_json(path.read_text(encoding="utf-8"))
                most, checkpointing = state["most_tokens"], bool(state["checkpointing"])
                self.most_tokens = None if most is None else int(most)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise RunError(f"{path} is damaged", hint="remove the checkpoint") from error
            self._lowered = True
            if checkpointing:
                self._checkpoint()


def _tokens(parts: Sequence[AnyBatch]) -> int:
    return sum(part["input_ids"].numel() for part in parts)


def _learnt(rows: Rows) -> torch.Tensor:
    """How many supervised tokens each row has; nothing predicts the first of a row."""
    return torch.tensor([float(sum(row.supervised[1:])) for row in rows])


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _random_state(device: torch.device) -> list[torch.Tensor]:
    more = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *more]


def _set_random_state(state: list[torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
