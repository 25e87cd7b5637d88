"""Collecting what is wrong in files of data, so that one `DataError` names all of it."""

from __future__ import annotations

from yuantune.errors import DataError, Problem

MANY = 100_000
"""Problems kept before reading stops: beyond it the file is of the wrong kind, and the list eats memory."""


class BadRow(ValueError):
    """One row cannot become a record; `findings` says why, each in a few words, `hint` how to mend it."""

    def __init__(self, *findings: str, hint: str = "") -> None:
        super().__init__("; ".join(findings))
        self.findings = findings
        self.hint = hint


class TooManyProblems(Exception):
    """`Problems` is full: stop reading."""


class Problems:
    """The problems of one reading, in the order of the files, and the hints that go with them."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._hints: dict[str, None] = {}

    def add(self, where: object, what: str, *, hint: str = "") -> None:
        """Add one problem. Raises TooManyProblems where `MANY` are reached."""
        # Half a surrogate pair, quoted from a row, could not be printed.
        printable = what.encode("utf-8", "backslashreplace").decode()
        self._problems.append(Problem(str(where), printable))
        if hint:
            self._hints[hint] = None
        if len(self._problems) >= MANY:
            raise TooManyProblems

    def add_row(self, where: object, row: BadRow) -> None:
        """Add every finding of a bad row."""
        for finding in row.findings:
            self.add(where, finding, hint=row.hint)

    def __len__(self) -> int:
        return len(self._problems)

    def error(self, source: str) -> DataError:
        """The one error that names every problem found in `source`."""
        many = len(self._problems) >= MANY
        count = f"more than {MANY}" if many else str(len(self._problems))
        noun = "problem" if len(self._problems) == 1 else "problems"
        stopped = "; reading stopped there" if many else ""
        return DataError(f"{source}: {count} {noun}{stopped}", problems=self._problems, hint="\n".join(self._hints))
