"""What a person sees of a sweep while it goes: a bar for the trial at work on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from yuantune.study.leaderboard import Standing, rows_of
from yuantune.study.sweep_plan import Trial


class SweepProgress:
    """The progress of `total` trials; a context manager."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total = console, total
        self.bar: Progress | None = None
        self.task: Any = None

    def __enter__(self) -> SweepProgress:
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            more = (TextColumn("{task.fields[note]}"), TimeElapsedColumn())
            self.bar = Progress(*columns, *more, console=self.console, transient=True)
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, markup=False)

    def begin(self, trial: Trial, rung: int) -> TrainerCallback:
        """A trial goes on to a rung (0: to its end); returns what its trainer has to tell."""
        to = f", to rung {rung}" if rung else ""
        what = f"trial {trial.number}/{self.total}{to}"
        if self.bar is None:
            self.say(f"{what}: {trial}")
        else:
            self.task = self.bar.add_task(f"{what}: {trial}"[:70], total=None, note="")
        return _Told(self)

    def step(self, state: TrainerState, note: str) -> None:
        """The trial at work has come to a step."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, total=state.max_steps, completed=state.global_step, note=note)

    def ended(self, standing: Standing) -> None:
        """The trial at work has come to a rung, or an end."""
        if self.bar is not None and self.task is not None:
            self.bar.remove_task(self.task)
            self.task = None
        row = rows_of([standing], [])[0]
        best = standing.best()
        score = f"{standing.metric} {best.score:.4f} at step {best.step}" if best and best.score is not None else ""
        what = standing.reason or f"{score}, {standing.steps} steps"
        self.say(f"trial {standing.trial}/{self.total}: {row['state']}, {what}, {standing.seconds:.1f} s")


class _Told(TrainerCallback):
    """Tells of a trial's steps and evaluations."""

    def __init__(self, progress: SweepProgress) -> None:
        self.progress = progress
        self.note = ""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Loss, and the scores of an evaluation."""
        logs = logs or {}
        if "loss" in logs:
            self.note = f"loss {logs['loss']:.4f}"
        if "eval_loss" in logs:
            names = [name for name in ("f1", "rouge_l", "loss") if f"eval_{name}" in logs]
            found = ", ".join(f"{name} {logs[f'eval_{name}']:.4f}" for name in names)
            if self.progress.bar is None:
                self.progress.say(f"  step {state.global_step}/{state.max_steps}: evaluation {found}")
        self.progress.step(state, self.note)
