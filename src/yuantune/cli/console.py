"""Where a command writes: data to stdout, everything for the eye to stderr, errors without a traceback."""

from __future__ import annotations

import re

from rich.console import Console
from rich.markup import escape

from yuantune.errors import Problem, YuantuneError

out = Console(highlight=False, soft_wrap=True, emoji=False)
"""Standard output: what a pipe would read. (With `emoji`, rich would write `:x:` in a text as a picture.)"""
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
"""Standard error: progress, tables, notes, errors."""

SHOWN = 5
"""Problems of one kind that are printed; the rest is counted."""
KINDS_SHOWN = 20
"""Kinds of problems that are printed."""

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|\d+|\(.*\)")


def print_error(error: YuantuneError) -> None:
    """Print an error's message, its problems and its hints to stderr, readable without colour.

    Problems of one file that differ only in numbers and in what they quote are of one kind, and listed together."""
    err.print(f"[bold red]error:[/] {escape(error.message)}")
    kinds: dict[tuple[str, str], list[Problem]] = {}
    for problem in error.problems:
        kinds.setdefault((problem.where.partition(":")[0], _QUOTED.sub("", problem.what)), []).append(problem)
    for problems in list(kinds.values())[:KINDS_SHOWN]:
        for problem in problems[:SHOWN]:
            err.print(f"  {escape(str(problem))}")
        if len(problems) > SHOWN:
            err.print(f"  … and {len(problems) - SHOWN} more like these")
    if more := sum(map(len, list(kinds.values())[KINDS_SHOWN:])):
        err.print(f"  … and {more} more")
    for line in error.hint.splitlines():
        err.print(f"[bold]hint:[/] {escape(line)}")
