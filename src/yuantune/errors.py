"""The exceptions that yuantune raises on purpose, and how each ends a command.

    YuantuneError                 exit 1
    ├── UserError (ValueError)    exit 2: the person can mend it; nothing has been written
    │   ├── ConfigError           a config file or an option
    │   ├── DataError             records, labels, files of data
    │   ├── TemplateError         a template, or a tokenizer that lacks its tokens
    │   ├── ModelError            a model name, folder, weights or tokenizer
    │   └── RunError              a run folder
    ├── WorkFailed                exit 1: the work itself failed (diverged, out of memory)
    │   └── DiskFailed            the disk refuses, or has no room
    └── Interrupted               exit 130 or 143: stopped by a signal, the state can be resumed

A message says what is wrong and where; ``problems`` lists every problem of the same kind at once;
``hint`` says what to do next, one way out a line. `yuantune.cli` prints all three without a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: `where` names a file and line, an option or a row; `what` says what is wrong there."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class YuantuneError(Exception):
    """The root: carries the message, all `problems` of its kind, and a `hint`."""

    exit_code = 1

    def __init__(self, message: str, *, problems: Sequence[Problem] = (), hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.problems = tuple(problems)
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message, *(f"  {problem}" for problem in self.problems)]
        lines += [f"hint: {line}" for line in self.hint.splitlines()]
        return "\n".join(lines)


class UserError(YuantuneError, ValueError):
    """Bad usage or bad input. Nothing has been written."""

    exit_code = 2


class ConfigError(UserError):
    """A config file or an option is wrong."""


class DataError(UserError):
    """Records, labels or files of data are wrong."""


class TemplateError(UserError):
    """A template is wrong, or the tokenizer lacks one of its tokens."""


class ModelError(UserError):
    """A model cannot be found, read or used."""


class RunError(UserError):
    """A run folder is missing, damaged, or already there."""


class WorkFailed(YuantuneError):
    """The work itself failed although the input was good."""


class DiskFailed(WorkFailed):
    """The disk refuses, or has no room: whatever is tried next would fail as well."""


class Interrupted(YuantuneError):
    """A signal stopped the work; the state on disk can be resumed.

    `signal_number` is the signal's number (2 for Ctrl-C, 15 for SIGTERM)."""

    def __init__(self, message: str, *, signal_number: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = 128 + signal_number


def nearest(name: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""
