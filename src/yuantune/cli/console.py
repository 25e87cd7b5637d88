"""Where a command writes: data to stdout, everything for the eye to stderr, errors without a traceback."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from yuantune.errors import Problem, YuantuneError

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
"""What a terminal would obey instead of show: control characters but tab and line end, and those that turn the
direction of writing around."""


def visible(text: str) -> str:
    """`text` with control characters as `\\u001b`, which in JSON is the same character."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class PlainConsole(Console):
    """A console that shows control characters in texts and names, and obeys none."""

    def render_str(self, text: str, **options: Any) -> Text:
        """rich's, for every string that is printed, or stands in a table."""
        return super().render_str(visible(text), **options)


out = PlainConsole(highlight=False, soft_wrap=True, emoji=False)
"""Standard output: what a pipe would read. (With `emoji`, rich would write `:x:` in a text as a picture.)"""
err = PlainConsole(stderr=True, highlight=False, soft_wrap=True, emoji=False)
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
