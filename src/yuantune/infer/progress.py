"""How far answering has come: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console

SECONDS = 20.0
"""Between two lines where there is no terminal."""


class Answering:
    """Counts answers within a `with` block: rate and time left. `total` is None where it is not known; `done` of
    them were there before."""

    def __init__(self, console: Console, total: int | None, done: int = 0) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console, self._total, self._before, self.done = console, total, done, done
        columns = (
            TextColumn("answering"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=total, completed=done, rate="")
        self._started = self._said = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @property
    def rate(self) -> float:
        """Answers a second, those that were there before aside."""
        return (self.done - self._before) / max(time.monotonic() - self._started, 1e-9)

    def advance(self) -> None:
        """One more."""
        self.done += 1
        self._bar.update(self._task, advance=1, rate=f"{self.rate:.1f} rows/s")
        now = time.monotonic()
        if not self._console.is_terminal and now - self._said > SECONDS:
            self._said = now
            of = "" if self._total is None else f" of {self._total:,}"
            left = (
                "" if self._total is None else f", {(self._total - self.done) / max(self.rate, 1e-9):,.0f} s left"
            )
            self._console.print(f"answered {self.done:,}{of}, {self.rate:.1f} rows/s{left}", markup=False)
