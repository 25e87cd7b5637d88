"""Rows of CSV, TSV and Parquet files, one (or one small batch) in memory at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from yuantune.data.files import Lines
from yuantune.data.problems import Problems
from yuantune.data.record import Source

_BATCH = 256
_OTHER_DELIMITERS = {"\t": "a tab", ";": "a semicolon", ",": "a comma"}


def csv_rows(path: Path, delimiter: str, problems: Problems, *, limit: int) -> Iterator[tuple[int, object]]:
    """The line where each row begins, and its cells by the names of the first row.

    Quoting as in RFC 4180, also in TSV: a cell with a delimiter, a quote at its start or a line end is
    quoted, quotes in it are doubled. `limit` bounds a cell's characters and a line's bytes."""
    # The limit is one for the whole process, and 128 KiB unless raised.
    csv.field_size_limit(max(csv.field_size_limit(), limit))
    lines = Lines(path, problems, limit=limit, keep_ends=True)
    begin = _Begin(lines)
    reader = csv.reader(begin, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        begin.line = 0
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add(lines.source(begin.line), f"broken table row: {error}", hint=_QUOTING)
            if header is None or "limit" in str(error):
                return
            continue
        if not cells:
            continue
        if header is None:
            header = cells
            if not _sound_header(header, delimiter, lines.source(begin.line), problems):
                return
        elif len(cells) != len(header):
            problems.add(
                lines.source(begin.line), f"{len(cells)} cells, the header has {len(header)}", hint=_QUOTING
            )
        else:
            yield begin.line, dict(zip(header, cells, strict=True))


_QUOTING = "A cell with a delimiter, a quote or a line end goes in quotes, with quotes in it doubled."


class _Begin:
    """Passes lines on to the csv reader and remembers in `line` the first one since it was set to 0."""

    def __init__(self, lines: Lines) -> None:
        self._numbered = ((lines.number, line) for line in lines)
        self.line = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, line = next(self._numbered)
        self.line = self.line or number
        return line


def _sound_header(header: list[str], delimiter: str, where: Source, problems: Problems) -> bool:
    before = len(problems)
    for name in dict.fromkeys(header):
        if header.count(name) > 1:
            problems.add(where, f"{header.count(name)} columns are named '{name}'")
    if len(header) == 1:
        for other, words in _OTHER_DELIMITERS.items():
            if other != delimiter and other in header[0]:
                problems.add(where, f"one column, '{header[0]}': the cells seem to be separated by {words}")
                break
    return len(problems) == before


def parquet_rows(path: Path, problems: Problems, *, limit: int) -> Iterator[tuple[int, object]]:
    """The 1-based number of each row, and its values by column; a map column becomes an object. A row of more than
    `limit` bytes is a problem, and left out."""
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                small = batch.nbytes <= limit
                for at in range(batch.num_rows):
                    number += 1
                    row = batch.slice(at, 1)
                    if small or row.nbytes <= limit:
                        yield number, row.to_pylist(maps_as_pydicts="strict")[0]
                    else:
                        problems.add(Source(str(path), number), f"the row is longer than {limit} bytes")
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        problems.add(Source(str(path), number + 1), f"cannot be read as Parquet: {str(error).splitlines()[0]}")
