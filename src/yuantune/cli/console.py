"""Where a command writes: data to stdout, everything for the eye to stderr, errors without a traceback."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from yuantune.errors import YuantuneError

out = Console(highlight=False, soft_wrap=True, emoji=False)
"""Standard output: what a pipe would read. (With `emoji`, rich would write `:x:` in a text as a picture.)"""
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
"""Standard error: progress, tables, notes, errors."""

SHOWN = 20
"""Problems printed before the rest is counted."""


def print_error(error: YuantuneError) -> None:
    """Print an error's message, its problems and its hint to stderr, readable without colour."""
    err.print(f"[bold red]error:[/] {escape(error.message)}")
    for problem in error.problems[:SHOWN]:
        err.print(f"  {escape(str(problem))}")
    if len(error.problems) > SHOWN:
        err.print(f"  … and {len(error.problems) - SHOWN} more")
    if error.hint:
        err.print(f"[bold]hint:[/] {escape(error.hint)}")
