"""Records of a source that can be walked through again and again, none of them kept in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from yuantune.data.readers import ROW_BYTES, read
from yuantune.data.record import Record
from yuantune.errors import DataError


@dataclass(frozen=True, slots=True)
class Rows:
    """The first `limit` records of a file, folder or hub dataset (None: all of them).

    A `strict` walk raises, behind the good rows, what is wrong with the others, and fills `notes` with what the
    reader decided on its own; another passes over both. `row_bytes` and `file_bytes` bound rows and files as in
    `read`."""

    source: str
    format: str | None = None
    strict: bool = False
    limit: int | None = None
    notes: list[str] = field(default_factory=list)
    row_bytes: int = ROW_BYTES
    file_bytes: int | None = None

    def __iter__(self) -> Iterator[Record]:
        rows = read(
            self.source,
            format=self.format,
            limit_row_bytes=self.row_bytes,
            limit_file_bytes=self.file_bytes,
            notes=self.notes if self.strict else [],
        )
        try:
            yield from islice(rows, self.limit)
        except DataError as error:
            if self.strict or not error.problems:
                raise

    def lenient(self) -> Rows:
        """The same rows, what is wrong passed over: for a first look before the walk that counts."""
        return replace(self, strict=False)


@dataclass(frozen=True, slots=True)
class Joined:
    """Several sources of records, one behind the other."""

    parts: tuple[Iterable[Record], ...]

    def __iter__(self) -> Iterator[Record]:
        for part in self.parts:
            yield from part
