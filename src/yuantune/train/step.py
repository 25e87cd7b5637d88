"""The training step, and the evaluation loss, as a subclass of transformers' Trainer.

The loss of an optimizer step is the sum over its supervised tokens, divided once by their number: over all
micro-batches of the accumulation and all processes. A mean a micro-batch would weigh short ones more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import EvalLoopOutput

from yuantune.batch.collate import Batch
from yuantune.batch.layout import GroupedBatch
from yuantune.batch.pack import PackedBatch
from yuantune.errors import Problem, WorkFailed
from yuantune.models.allocator import give_freed_memory_back, keep_freed_memory
from yuantune.models.grouped import Layout, grouped
from yuantune.models.loss import supervised_loss
from yuantune.models.needed import only_needed
from yuantune.models.probe import inner
from yuantune.train import checkpoint
from yuantune.train.folder import check_free
from yuantune.train.muon import muon_beside_adamw
from yuantune.train.numbers import UNCHANGED, Seen, Watch, check_weights, described, diverged
from yuantune.train.space import bytes_of, trained_bytes

AnyBatch = Batch | GroupedBatch | PackedBatch


class SupervisedTrainer(Trainer):
    """Trainer over `Batch`es (`yuantune.batch.collate`), `GroupedBatch`es (`yuantune.batch.layout`) or
    `PackedBatch`es (`yuantune.batch.pack`); all but step, loss and evaluation is Trainer's own."""

    # The loss below is already divided by the tokens of the whole accumulation.
    loss_is_scaled_for_ga = True
    save_weights: Callable[[nn.Module, Path], None]
    """Set by whoever makes the trainer: the `save` of the run's method."""
    restore_weights: Callable[[nn.Module, Path], None] | None = None
    """Its `restore`: puts what it has saved into the model as it is. None: the Trainer reads it itself."""
    faster: tuple[str, float] | None = None
    """Parameters whose name holds the first learn at the second times the learning rate."""
    optimizer: Any
    muon: dict[str, Any] | None = None
    """Options of Muon, where it moves the hidden matrices."""
    note: Callable[[str], None] = staticmethod(lambda text: None)
    """Told what a person should know."""
    skip_nonfinite: bool = False
    """Leave out a step whose loss or gradient is no number, instead of ending the run."""

    _step_loss: torch.Tensor
    _step_tokens: torch.Tensor

    def __init__(self, **further: Any) -> None:
        self._beside: Path | None = None
        self.watch = Watch(lambda text: self.note(text))
        self._skipped = 0  # Steps left out since the last line of the log.
        super().__init__(**further)
        # The Trainer would remove old checkpoints before the new one is whole, and the last one for the best.
        self.keep, self.args.save_total_limit = self.args.save_total_limit, None

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's, with an allocator that does not have to ask for every step's memory anew."""
        if self.args.activation_checkpointing:
            give_freed_memory_back()  # An earlier run in this process may have kept it.
        else:
            keep_freed_memory()
        return super().train(*args, **kwargs)

    # --------------------------------------------------------------------------------------------- the step
    def training_step(
        self, model: nn.Module, inputs: Any, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """One micro-batch: forward, loss, backward. The optimizer moves after the last one of the step."""
        model.train()
        self.optimizer.train()  # A schedule-free optimizer evaluates other weights than it trains.
        batch = self._prepare_inputs(inputs)
        with computing(model, batch):
            with self.compute_loss_context_manager():
                loss_sum = supervised_loss(model, **batch)
                # Distributed processes average their gradients; the sum over all of them is wanted.
                loss = loss_sum * self.accelerator.num_processes / num_items_in_batch
            self.accelerator.backward(loss)
        self._step_loss = self._step_loss + loss.detach()
        return loss.detach()

    def _prepare_inputs(self, inputs: AnyBatch) -> AnyBatch:
        """Trainer's, which moves tensors only."""
        batch: Any = super()._prepare_inputs(inputs)
        if (layout := layout_of(batch)) is not None:
            batch["layout"] = layout.to(self.args.device)
        moved: AnyBatch = batch
        return moved

    def _get_num_items_in_batch(
        self, batch_samples: Sequence[Mapping[str, Any]], device: torch.device
    ) -> torch.Tensor | int | None:
        """Supervised weight of a whole optimizer step, over micro-batches and processes."""
        total = sum((batch["weight_S"].sum() for batch in batch_samples), torch.zeros(())).to(device)
        self._step_loss = torch.zeros((), device=device)
        self._before = self._tr_loss.clone()
        self._step_tokens = self.accelerator.gather(total).sum()
        return self._step_tokens.clamp(min=1.0)

    def autocast_smart_context_manager(self, cache_enabled: bool | None = True) -> AbstractContextManager[Any]:
        """Around the loss too: the head may be applied outside the model, where accelerate does not lower it."""
        autocast: AbstractContextManager[Any] = self.accelerator.autocast()
        return autocast

    # --------------------------------------------------------------------------------------------- the optimizer
    def create_optimizer(self, model: Any = None) -> Any:
        """Trainer's, or Muon beside AdamW; parameters that are to learn faster are in groups of their own."""
        if self.optimizer is not None:
            return super().create_optimizer(model)
        args = self.args
        if self.muon is not None:
            self.optimizer = muon_beside_adamw(
                self.model,
                self.get_decay_parameter_names(self.model),
                muon=self.muon,
                adamw={
                    "lr": args.learning_rate,
                    "betas": (args.adam_beta1, args.adam_beta2),
                    "eps": args.adam_epsilon,
                },
                decay=args.weight_decay,
            )
            return self.optimizer
        optimizer = super().create_optimizer(model)
        if self.faster is not None:
            part, ratio = self.faster
            fast = {id(p) for name, p in (model or self.model).named_parameters() if part in name}
            for group in list(optimizer.param_groups):
                chosen = [each for each in group["params"] if id(each) in fast]
                group["params"] = [each for each in group["params"] if id(each) not in fast]
                if chosen:
                    optimizer.add_param_group({**group, "params": chosen, "lr": ratio * group["lr"]})
        return optimizer

    # --------------------------------------------------------------------------------------------- the numbers
    def rows_of_step(self) -> Sequence[Any]:
        """What the step at hand learns from; none where rows are not known one by one."""
        return ()

    def at_fault(self, rows: Sequence[Any]) -> list[Problem]:
        """Which of these rows give no number by themselves."""
        return []

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """Trainer's: gradients are complete here, and the weights have yet to move. None for a step left out."""
        norm = super()._get_grad_norm(model, grad_norm)
        if self.args.fp16:  # The loss scaler leaves such steps out, and its gradients are infinite at first.
            return norm
        step, rows = self.state.global_step + 1, self.rows_of_step()
        if step == 1:
            self.watch.begin(self.model)
        loss = self._step_loss
        if self.args.world_size > 1:  # One decision for all.
            loss = self.accelerator.reduce(loss, "sum") / self.args.world_size
        places = [row.source for row in rows]
        whole = norm.full_tensor() if isinstance(norm, DTensor) else torch.as_tensor(norm)
        self.watch.add(Seen(step, loss, whole.to(loss.device), self._step_tokens, places))
        if not self.skip_nonfinite and self.args.device.type != "cpu":
            return norm
        if (bad := self.watch.look()) is None:
            self.watch.sound()
            return norm
        what = described(bad.loss.item(), bad.norm.item())
        model.zero_grad(set_to_none=True)
        problems = self.at_fault(rows) or [Problem(str(place), "is in that step") for place in places]
        if not self.skip_nonfinite:
            raise diverged(what, step, problems)
        self._tr_loss.copy_(self._before)
        self._skipped += 1
        self.watch.leave_out(step, what, problems)
        return None

    def _maybe_log_save_evaluate(self, *args: Any, **more: Any) -> None:
        """Trainer's, of steps that have been looked at."""
        if self.control.should_log:
            self._look()
        step = self.state.global_step
        if step == self.args.get_warmup_steps(self.state.max_steps) + UNCHANGED:
            self.watch.check_moved(self.model, step)
        self._logged = self._globalstep_last_logged
        super()._maybe_log_save_evaluate(*args, **more)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's; its mean counts steps that were left out, whose number is logged."""
        if self._skipped and "loss" in logs:
            steps = self.state.global_step - self._logged
            loss = logs.pop("loss") * steps
            if steps > self._skipped:
                logs = {"loss": loss / (steps - self._skipped), **logs}
            logs["skipped"], self._skipped = self._skipped, 0
        super().log(logs, start_time)

    def check(self) -> None:
        """After the last step: raises WorkFailed where a step that has not been looked at gave no number, or where
        a weight is none."""
        self._look()
        check_weights(self.model, self.state.global_step)

    def _look(self) -> None:
        """At the steps that have not been looked at; the weights have moved since.

        Raises WorkFailed where one of them gave no number."""
        if (bad := self.watch.look()) is not None:
            problems = [Problem(str(place), "is in that step") for place in bad.rows]
            raise diverged(described(bad.loss.item(), bad.norm.item()), bad.step, problems)

    # --------------------------------------------------------------------------------------------- checkpoints
    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Trainer's files, whole or absent: each process writes its own beside, and the first one names the folder.
        An old checkpoint goes when the new one stands.

        Raises WorkFailed where a weight is no number, or where the disk has no room for it."""
        self.check()
        run, name = Path(self.args.output_dir), f"checkpoint-{self.state.global_step}"
        writes = self.args.should_save
        if writes:
            check_free(run, name, trained_bytes(self.model) + bytes_of(self.optimizer.state_dict()))
            checkpoint.begin(run)
        self.accelerator.wait_for_everyone()
        self._beside = run / checkpoint.TEMPORARY
        try:
            super()._save_checkpoint(model, trial)
        except BaseException:
            if writes:
                checkpoint.tidy(run)
            raise
        finally:
            self._beside = None
        best = self.state.best_global_step
        if best and (best == self.state.global_step or (run / f"checkpoint-{best}").is_dir()):
            # The Trainer has looked for it beside.
            self.state.best_model_checkpoint = str(run / f"checkpoint-{best}")
        self.accelerator.wait_for_everyone()
        if writes:
            self.state.save_to_json(str(run / checkpoint.TEMPORARY / name / TRAINER_STATE_NAME))
            checkpoint.publish(run, name, self.state.global_step)
            checkpoint.prune(run, run / name, self.keep, best)
        self.accelerator.wait_for_everyone()

    def _get_output_dir(self, trial: Any) -> str:
        """Trainer's; while it saves, the place beside."""
        return str(self._beside or super()._get_output_dir(trial))

    def _load_best_model(self) -> None:
        """Trainer's. Raises WorkFailed where the best checkpoint is not what was written."""
        best = Path(str(self.state.best_model_checkpoint))
        if (best / checkpoint.MARKER).exists() and (problems := checkpoint.flaws(best)):
            raise WorkFailed(
                f"the best checkpoint, {best}, cannot be loaded",
                problems=problems,
                hint="training is done; without eval.every, a resume leaves the weights of the last step",
            )
        if self._restores:
            self._load_from_checkpoint(str(best))
        else:
            super()._load_best_model()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Trainer's, or as the run's method reads it."""
        if self.restore_weights is not None and self._restores:
            self.restore_weights(self.accelerator.unwrap_model(model or self.model), Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    @property
    def _restores(self) -> bool:
        """Whether weights are read as the run's method does it; sharded ones are accelerate's."""
        return self.restore_weights is not None and not self.is_fsdp_enabled

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Trainer's files; the weights as the run's method writes them."""
        folder = Path(output_dir or self.args.output_dir)
        if self.args.should_save:
            folder.mkdir(parents=True, exist_ok=True)
            self.save_weights(self.accelerator.unwrap_model(self.model), folder)
            torch.save(self.args, folder / TRAINING_ARGS_NAME)

    # --------------------------------------------------------------------------------------------- evaluation
    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Trainer's, without the rows that it repeats until all processes have as many: they would count twice."""
        even, self.accelerator.even_batches = self.accelerator.even_batches, False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.accelerator.even_batches = even

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """`{prefix}_loss` over all supervised tokens of the evaluation data, and its perplexity."""
        model = self._wrap_model(self.model, training=False)
        model.eval()
        if self.optimizer is not None:
            self.optimizer.eval()
        state = torch.get_rng_state()  # A DataLoader draws from it; evaluating must not change what is trained.
        self.callback_handler.eval_dataloader = dataloader
        loss_sum, tokens, rows = self.sum_losses(model, dataloader)
        torch.set_rng_state(state)
        loss = loss_sum / max(tokens, 1.0)
        metrics = {f"{metric_key_prefix}_loss": loss, f"{metric_key_prefix}_perplexity": perplexity(loss)}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=rows)

    def batches_of(self, inputs: Any) -> list[AnyBatch]:
        """What the loader gives, as forward passes."""
        return [inputs]

    def sum_losses(self, model: nn.Module, batches: Iterable[Any]) -> tuple[float, float, int]:
        """The sum of the supervised tokens' losses, their number, both over all processes, and this one's rows."""
        total = torch.zeros(3, dtype=torch.float64)
        with torch.no_grad():
            for inputs in batches:
                total += self.losses_of(model, inputs)
        rows = int(total[2])
        exact = torch.float32 if self.args.device.type == "mps" else torch.float64
        loss_sum, tokens = self.accelerator.reduce(total[:2].to(self.args.device, exact)).tolist()
        return loss_sum, tokens, rows

    def losses_of(self, model: nn.Module, inputs: Any) -> torch.Tensor:
        """What `sum_losses` sums, of one batch that the loader gives: [3], on the CPU."""
        total = torch.zeros(3, dtype=torch.float64)
        for batch in map(self._prepare_inputs, self.batches_of(inputs)):
            with computing(model, batch), self.compute_loss_context_manager():
                loss_sum = supervised_loss(model, **batch)
            layout = layout_of(batch)
            rows = layout.examples if layout is not None else len(batch["input_ids"])
            total[:2] += torch.stack([loss_sum.double(), batch["weight_S"].sum().double()]).cpu()
            total[2] += rows
        return total


@contextmanager
def computing(model: nn.Module, batch: AnyBatch) -> Iterator[None]:
    """Around forward and backward pass of a batch: attention as it is laid out, and what of it is needed."""
    attention = nullcontext() if layout_of(batch) is None else grouped(inner(model))
    with only_needed(model, batch["input_ids"], batch["row_S"], batch["position_S"]), attention:
        yield


def layout_of(batch: AnyBatch) -> Layout | None:
    """The layout of a batch of prefix groups, None of another."""
    layout: Layout | None = cast("Mapping[str, Any]", batch).get("layout")
    return layout


def perplexity(loss: float) -> float:
    """Of a mean loss in nats; finite for any."""
    return math.exp(min(loss, 700.0))
