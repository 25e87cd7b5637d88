"""The Trainer of a pretraining run: rows straight from the packer, whose place is saved with the weights.

Rows are not read ahead (transformers' loaders hold the next batch already), so the place that is saved after a
step is that of the rows it has learnt from.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from yuantune.batch.pack import PackedBatch, Packer, Row, collate_rows
from yuantune.data.strict_json import parse_json
from yuantune.data.writing import write_text
from yuantune.errors import RunError
from yuantune.train.progress import EVAL_OF
from yuantune.train.step import SupervisedTrainer, perplexity

STREAM_FILE = "stream.json"
"""In a checkpoint: the packer's place, and the losses since the last line of the log."""


@dataclass(frozen=True, slots=True)
class RowLoader:
    """Batches of `rows` for this process, without end; each process reads all rows and takes its own."""

    packer: Packer
    rows: int
    process: int
    processes: int

    def __iter__(self) -> Iterator[PackedBatch]:
        while True:
            everyones = [next(self.packer) for _ in range(self.rows * self.processes)]
            yield collate_rows(everyones[self.process * self.rows : (self.process + 1) * self.rows])


class PackedTrainer(SupervisedTrainer):
    """SupervisedTrainer over a packer's rows; `eval_rows` are held-out rows of each evaluation source."""

    control: TrainerControl

    def __init__(self, packer: Packer, eval_rows: Mapping[str, Sequence[Row]], **further: Any) -> None:
        self.packer, self.eval_rows = packer, eval_rows
        self._unlogged: tuple[float, int] | None = (
            None  # Sum of losses since a line of the log, and the line's step.
        )
        self._mark = (0.0, 0)  # Time and tokens when the last line of the log was written.
        super().__init__(**further, eval_dataset=list(eval_rows) or None)
        self.add_callback(_Begin(self))

    def get_train_dataloader(self) -> RowLoader:
        """The rows of this process."""
        args = self.args
        return RowLoader(self.packer, args.train_batch_size, args.process_index, args.world_size)

    # --------------------------------------------------------------------------------------------- checkpoints
    def restore(self, checkpoint: Path) -> None:
        """Put the packer where it stood at a checkpoint, before training goes on from there.

        Raises RunError where the checkpoint has no place, DataError where a source has become shorter."""
        try:
            state = parse_json((checkpoint / STREAM_FILE).read_text(encoding="utf-8"))
            place, self._unlogged = state["packer"], (state["loss"], state["logged"])
        except (OSError, ValueError, KeyError) as error:
            raise RunError(
                f"{checkpoint / STREAM_FILE} is missing or damaged", hint="remove the checkpoint"
            ) from error
        self.packer.restore(place)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        started = time.monotonic()
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            state = {
                "packer": self.packer.state(),
                "loss": self._tr_loss.item(),
                "logged": self._globalstep_last_logged,
            }
            write_text(Path(output_dir or self.args.output_dir) / STREAM_FILE, json.dumps(state))
        self._pause(started)

    def go_on(self) -> None:
        """After transformers has reset its counts: the losses that a checkpoint fell among, and the clock."""
        if self._unlogged is not None:
            loss, self._globalstep_last_logged = self._unlogged
            self._tr_loss += loss
            self._unlogged = None
        self._mark = (time.monotonic(), sum(self.packer.drawn))

    # --------------------------------------------------------------------------------------------- log
    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's, with the tokens learnt from so far and their rate since the last line, pauses aside."""
        if "loss" in logs:
            now, tokens = time.monotonic(), sum(self.packer.drawn)
            before, had = self._mark
            self._mark = (now, tokens)
            logs = {
                **logs,
                "tokens": tokens,
                "tokens_per_second": round((tokens - had) / max(now - before, 1e-9), 1),
            }
        super().log(logs, start_time)

    def _pause(self, started: float) -> None:
        """Leave the time since `started` out of the rate."""
        self._mark = (self._mark[0] + time.monotonic() - started, self._mark[1])

    # --------------------------------------------------------------------------------------------- evaluation
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """`eval_loss` over all held-out tokens; loss and perplexity of each source."""
        started = time.monotonic()
        model = self._wrap_model(self.model, training=False)
        model.eval()
        if self.optimizer is not None:
            self.optimizer.eval()
        total, tokens = 0.0, 0.0
        each: dict[str, float] = {}
        for name, rows in self.eval_rows.items():
            loss_sum, count, _ = self.sum_losses(model, self._eval_batches(rows))
            loss = loss_sum / max(count, 1.0)
            each |= {f"{EVAL_OF}{name}": loss, f"eval_perplexity_{name}": perplexity(loss)}
            total, tokens = total + loss_sum, tokens + count
        metrics = {"eval_loss": total / max(tokens, 1.0), **each}
        self._pause(started)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _eval_batches(self, rows: Sequence[Row]) -> Iterator[PackedBatch]:
        own = rows[self.args.process_index :: self.args.world_size]
        for start in range(0, len(own), self.args.eval_batch_size):
            yield collate_rows(own[start : start + self.args.eval_batch_size])


class _Begin(TrainerCallback):
    """What has to happen between transformers' preparations and the first step, and at the last one."""

    def __init__(self, trainer: PackedTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Restore the counts; and let the options of now hold, not those in the checkpoint."""
        state.compute_steps(args, state.max_steps)
        self.trainer.go_on()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """The last steps are logged too, where they are fewer than logging_steps."""
        if state.global_step >= state.max_steps:
            control.should_log = True
        return control
