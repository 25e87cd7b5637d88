"""What a person sees of a run while it goes, and what `log.jsonl` and `loss.png` keep of it."""

from __future__ import annotations

import json
import math
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from yuantune.data.strict_json import parse_json
from yuantune.data.writing import replacing, write_lines

LOG_FILE = "log.jsonl"
PLOT_FILE = "loss.png"
EVAL_OF = "eval_loss_"
"""Before the name of a source, whose own loss it is."""


class LogFile(TrainerCallback):
    """Appends every logged value to `log.jsonl`: one JSON object a line, with `step` and `epoch`.

    Values whose name ends as one of `without` stay out: durations, so that equal runs leave equal logs. On a
    resume, lines after the resumed step are dropped first: they are about to be written again."""

    def __init__(self, folder: Path, *, without: tuple[str, ...] = ("runtime", "per_second")) -> None:
        self.path = folder / LOG_FILE
        self.without = without

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Cut the log back to the step that training goes on from."""
        if state.is_world_process_zero and self.path.exists():
            kept = [line for line in read_log(self.path) if line["step"] <= state.global_step]
            write_lines(self.path, (json.dumps(line) + "\n" for line in kept))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Append one line; the mean since the last start stays out."""
        if state.is_world_process_zero and logs and "train_loss" not in logs:
            values = {name: value for name, value in logs.items() if not name.endswith(self.without)}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **values}) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a `log.jsonl`; a last line cut short by a kill is left out."""
    lines: list[dict[str, Any]] = []
    if path.exists():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(parse_json(text))
            except ValueError:
                break
    return lines


class ProgressBar(TrainerCallback):
    """A bar with loss, rate and time left on a terminal; about so many plain `lines` elsewhere.

    The rate counts `per_step` of the `unit` for each optimizer step."""

    def __init__(self, console: Console, per_step: int, *, unit: str = "rows", lines: int = 20) -> None:
        self.console = console
        self.per_step, self.unit, self.lines = per_step, unit, lines
        self.loss = math.nan
        self.progress: Progress | None = None
        self._started = 0.0
        self._first_step = 0
        self._printed = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock and, on a terminal, the bar."""
        self._started, self._first_step = time.monotonic(), state.global_step
        if state.is_world_process_zero and self.console.is_terminal:
            self.progress = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self.progress.start()
            self.task = self.progress.add_task("", total=state.max_steps, completed=state.global_step, note="")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember the loss; print the evaluation's."""
        if logs and "loss" in logs:
            self.loss = logs["loss"]
            self._show(state)
        if logs and "eval_loss" in logs and state.is_world_process_zero:
            place = f"epoch {state.epoch or 0:.2f}" if self.unit == "rows" else f"step {state.global_step}"
            parts = [f"{name[len(EVAL_OF) :]} {logs[name]:.4f}" for name in logs if name.startswith(EVAL_OF)]
            each = f" ({', '.join(parts)})" if len(parts) > 1 else ""
            self.console.print(f"{place}: evaluation loss {logs['eval_loss']:.4f}{each}", markup=False)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Give the terminal back, also after a failure."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None

    def _show(self, state: TrainerState) -> None:
        done = state.global_step - self._first_step
        seconds = time.monotonic() - self._started
        speed = done * self.per_step / seconds if done and seconds else 0.0
        rate = f"{speed:,.{0 if speed >= 100 else 1}f} {self.unit}/s" if speed else ""
        if self.progress is not None:
            self.progress.update(self.task, completed=state.global_step, note=f"loss {self.loss:.4f}  {rate}")
        elif state.is_world_process_zero and done and self._due(state):
            left = seconds / done * (state.max_steps - state.global_step)
            self.console.print(
                f"step {state.global_step}/{state.max_steps}  loss {self.loss:.4f}  {rate}  {_duration(left)} left"
            )

    def _due(self, state: TrainerState) -> bool:
        """Whether a plain line is due: at every so many steps, or the first time that something is logged after."""
        due = state.global_step // max(1, state.max_steps // self.lines)
        if due == self._printed and state.global_step < state.max_steps:
            return False
        self._printed = due
        return True


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


class StopOnSignal(TrainerCallback):
    """SIGINT and SIGTERM finish the step, save a checkpoint and stop; a second signal stops at once.

    A signal between a step's end and the next one's start (while a checkpoint is written, or the evaluation runs)
    takes effect after that next step; after the last step there is nothing left to stop.

    `received` is the signal's number, or 0. Used as a context manager around training; outside the main thread,
    where handlers cannot be set, it does nothing."""

    def __init__(self) -> None:
        self.received = 0
        self._saved = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._receive)
            except ValueError:
                break
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Ask the Trainer for a checkpoint and the end, once a signal has come."""
        if self.received:
            self._saved = True
            control.should_save = True
            control.should_training_stop = True
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """The Trainer takes the stop for an epoch's end, which it is not, unless the step was the epoch's last one:
        a resume begins with the next epoch then, and would never evaluate this one."""
        if self._saved:
            control.should_save = False
            control.should_evaluate = control.should_evaluate and (state.epoch or 0.0) % 1 == 0
        return control


class StopAfter(TrainerCallback):
    """Saves a checkpoint and stops once the clock (`time.monotonic`) has passed `deadline`, unless it was the
    last step anyway. `reached` says whether it was."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.reached = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Ask the Trainer for a checkpoint and the end, once it is time."""
        due = torch.tensor(time.monotonic() >= self.deadline, dtype=torch.int32, device=args.device)
        if (
            args.world_size > 1
        ):  # One clock for all: a process that went on alone would wait for the others for ever.
            torch.distributed.broadcast(due, 0)
        if due and state.global_step < state.max_steps:
            self.reached = True
            control.should_save = True
            control.should_training_stop = True
        return control


class StopAt(TrainerCallback):
    """Saves a checkpoint and stops behind a step, whatever the config says of its end."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Ask the Trainer for a checkpoint and the end, behind the step."""
        if state.global_step >= self.step:
            control.should_save = True
            control.should_training_stop = True
        return control


class Paused(Exception):
    """Training has paused where `PauseAt` says. The run's folder is as a kill at that moment would leave it."""


class PauseAt(TrainerCallback):
    """Ends training by `Paused` once it has been evaluated `evaluations` times and a checkpoint stands behind the
    last of them, unless the run ends there anyway.

    Nothing is evaluated or saved that the run would not have, so that a resume makes the same run of it."""

    def __init__(self, evaluations: int) -> None:
        self.evaluations = evaluations

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Raises Paused when it is time."""
        done = sum("eval_loss" in line for line in state.log_history)
        if done >= self.evaluations and not control.should_training_stop:
            raise Paused


def plot_losses(log: list[dict[str, Any]], path: Path) -> None:
    """Draw training and evaluation loss over steps as a PNG, whole or not at all.

    Raises OSError where the disk refuses."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    train = [(line["step"], line["loss"]) for line in log if "loss" in line]
    evaluation = [(line["step"], line["eval_loss"]) for line in log if "eval_loss" in line]
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    if train:
        # A line of few points is short, or none at all: they are marked.
        mark = "o" if len(train) < 20 else None
        axes.plot(
            *zip(*train, strict=True), color="#2f6f9f", linewidth=1.3, marker=mark, ms=4, label="training loss"
        )
    if evaluation:
        axes.plot(*zip(*evaluation, strict=True), "o-", color="#c8553d", label="evaluation loss")
    axes.set(xlabel="optimizer step", ylabel="cross-entropy per supervised token (nats)")
    axes.margins(y=0.08)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if train or evaluation:
        axes.legend(frameon=False)
    with replacing(path) as file:
        figure.savefig(file, format="png")
