"""`Example`: token ids and which of them carry loss. `ExampleSet`: many of them, small in memory, or on disk.

An example set keeps four bytes a token. Beyond `spill_bytes` the tokens go to a temporary file that is
read through a memory map, so data larger than memory can be trained on.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

from yuantune.data.record import Source
from yuantune.errors import WorkFailed

SPILL_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Example:
    """One record as the model sees it, made once by the template.

    `supervised[i]` says whether the model learns to predict `ids[i]`; `text_span` is the range of tokens that
    holds the record's own text (where a token crosses its border, that token too)."""

    ids: list[int]
    supervised: list[bool]
    text_span: tuple[int, int]
    source: Source


class ExampleSet(Sequence[Example]):
    """Examples in the order in which they were appended. Copies in other processes (DataLoader workers)
    read the same file; it goes when the set that wrote it goes. Appending is for the writer alone."""

    def __init__(self, examples: Iterable[Example] = (), *, spill_bytes: int = SPILL_BYTES) -> None:
        self._spill_bytes = spill_bytes
        self._tokens = array("i")  # Not yet on disk. A supervised token is stored as ~id, which is negative.
        self._stored = 0  # Tokens on disk.
        self._path: str | None = None
        self._map: memoryview | None = None
        self._ends = array("q")
        self._spans = array("i")
        self._lines = array("q")
        self._rows = array("q")
        self._file_of = array("i")
        self._files: list[str] = []
        self._file_number: dict[str, int] = {}
        for example in examples:
            self.append(example)

    def append(self, example: Example) -> None:
        """Add one example."""
        self._tokens.extend(
            ~token if supervised else token
            for token, supervised in zip(example.ids, example.supervised, strict=True)
        )
        self._ends.append(self._stored + len(self._tokens))
        self._spans.extend(example.text_span)
        self._lines.append(example.source.line)
        self._rows.append(example.source.row)
        self._file_of.append(self._number(example.source.file))
        if len(self._tokens) * self._tokens.itemsize > self._spill_bytes:
            self._spill()

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        tokens = self._slice(self._ends[at - 1] if at else 0, self._ends[at])
        return Example(
            ids=[token if token >= 0 else ~token for token in tokens],
            supervised=[token < 0 for token in tokens],
            text_span=(self._spans[2 * at], self._spans[2 * at + 1]),
            source=Source(self._files[self._file_of[at]], self._lines[at], self._rows[at]),
        )

    @property
    def lengths(self) -> list[int]:
        """Tokens of each example, without reading the tokens."""
        return [end - start for start, end in pairwise((0, *self._ends))]

    def _number(self, file: str) -> int:
        if file not in self._file_number:
            self._file_number[file] = len(self._files)
            self._files.append(file)
        return self._file_number[file]

    def _slice(self, start: int, stop: int) -> list[int]:
        """Stored tokens; an example lies on one side of the border between disk and memory."""
        if start >= self._stored:
            return self._tokens[start - self._stored : stop - self._stored].tolist()
        if self._map is None:
            assert self._path is not None
            with open(self._path, "rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._map = memoryview(mapped).cast("i")
        return self._map[start:stop].tolist()

    def _spill(self) -> None:
        try:
            if self._path is None:
                handle, self._path = tempfile.mkstemp(prefix="yuantune-examples-", suffix=".int32")
                os.close(handle)
                weakref.finalize(self, _remove, self._path, os.getpid())
            with open(self._path, "ab") as file:
                self._tokens.tofile(file)
        except OSError as error:
            raise WorkFailed(
                f"the tokens could not be kept in {tempfile.gettempdir()}: {error.strerror}",
                hint="set TMPDIR to a folder with more space",
            ) from error
        self._stored += len(self._tokens)
        self._tokens = array("i")
        self._map = None  # The file has grown: map it anew.

    def __getstate__(self) -> dict[str, Any]:
        if self._path is not None and self._tokens:
            self._spill()
        return {**self.__dict__, "_map": None}


def _remove(path: str, owner: int) -> None:
    """Delete the file, unless this is a forked copy of the process that wrote it."""
    if os.getpid() == owner:
        Path(path).unlink(missing_ok=True)
