"""Any source of data to `Record`s: a file, a folder of files, or a data set on a hub.

A source is read as a stream; what is wrong with it is collected and raised as one error behind the good
rows."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from yuantune.data import hub
from yuantune.data.fields import to_record
from yuantune.data.files import DAMAGE, Lines, open_bytes, suffix_of
from yuantune.data.problems import BadRow, Problems, TooManyProblems
from yuantune.data.record import Record, Source
from yuantune.data.strict_json import StrictDecoder, document_rows
from yuantune.data.tables import csv_rows, parquet_rows
from yuantune.data.tagged import SUFFIXES as TAGGED_SUFFIXES
from yuantune.data.tagged import looks_tagged, read_tagged
from yuantune.errors import DataError, nearest

FORMATS = ("json", "jsonl", "csv", "tsv", "parquet", "tagged", "text")
"""What `format` can be. "json" is one document (an array, an object, or an object with "data"), "tagged" one
token and tag a line in any scheme, "text" one text to be answered a line."""

ROW_BYTES = 64 << 20
DOCUMENT_BYTES = 1 << 30

_BY_SUFFIX = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
    **dict.fromkeys(TAGGED_SUFFIXES, "tagged"),
}
_TABLES = ("csv", "tsv", "parquet")
_HEAD = 1 << 16

_log = logging.getLogger(__name__)


def read(
    source: str | Path,
    *,
    format: str | None = None,
    limit_row_bytes: int = ROW_BYTES,
    limit_file_bytes: int | None = None,
    notes: list[str] | None = None,
) -> Iterator[Record]:
    """Stream the records of `source`.

    `source` is a file, a folder (all its data files, in the order of their names), or, where no such path
    exists, a hub name: `org/name`, `hf:org/name`, `modelscope:org/name`, perhaps with `#split`. `format`, one
    of FORMATS, overrides what suffix and content say. A JSON document is loaded whole; everything else is
    streamed in rows of at most `limit_row_bytes`. A file of more than `limit_file_bytes` on the disk is refused.
    What readers decide on their own is appended to `notes`, or logged where that is None.

    Raises DataError at once where there is nothing to read. Raises DataError *behind the last good row* with
    every problem in the source, each with file and line: so drain the iterator before acting on its rows."""
    if format is not None and format not in FORMATS:
        raise DataError(f"unknown format '{format}'{nearest(format, FORMATS)}; known: {', '.join(FORMATS)}")
    path = Path(source)
    if path.exists():
        found = _data_files(path, format)
        _check_sizes(str(source), [file for file, _ in found], limit_file_bytes)
        return _read_files(str(source), found, limit_row_bytes, notes)
    name = hub.parse(str(source)) if isinstance(source, str) else None
    if name is None or _meant_as_file(path):
        raise DataError(f"{source}: no such file or folder{_near(path)}")
    if name.hub == "hf":
        return _read_hub(name, hub.stream(name))
    files = hub.split_files(hub.download(name), name, frozenset(_BY_SUFFIX) - {".txt"})
    return _read_files(str(name), [(file, _format_of(file) or "") for file in files], limit_row_bytes, notes)


def read_all(
    source: str | Path,
    *,
    format: str | None = None,
    limit_row_bytes: int = ROW_BYTES,
    limit_file_bytes: int | None = None,
    notes: list[str] | None = None,
) -> list[Record]:
    """All records of `source`, as `read` gives them. Raises DataError where anything is wrong with them."""
    return list(
        read(source, format=format, limit_row_bytes=limit_row_bytes, limit_file_bytes=limit_file_bytes, notes=notes)
    )


def _check_sizes(source: str, files: list[Path], limit: int | None) -> None:
    """Raises DataError that names every file of more than `limit` bytes."""
    if limit is None:
        return
    problems = Problems()
    for file in files:
        if (size := file.stat().st_size) > limit:
            problems.add(file, f"the file has {size:,} bytes, and data.max_file_bytes allows {limit:,}")
    if problems:
        raise problems.error(source)


def _read_files(
    source: str, files: list[tuple[Path, str]], limit: int, notes: list[str] | None
) -> Iterator[Record]:
    problems = Problems()
    noted: list[str] = [] if notes is None else notes
    try:
        for path, format in files:
            before = len(problems)
            count = 0
            for record in _read_file(path, format, problems, limit, noted):
                count += 1
                yield record
            if not count and len(problems) == before:
                problems.add(path, "the file holds no rows")
    except TooManyProblems:
        pass
    if notes is None:
        for note in noted:
            _log.warning(note)
    if problems:
        raise problems.error(source)


def _read_file(path: Path, format: str, problems: Problems, limit: int, notes: list[str]) -> Iterator[Record]:
    if format == "tagged":
        yield from read_tagged(path, problems, limit=limit, notes=notes)
        return
    for where, row in _rows(path, format, problems, limit):
        try:
            record = to_record(row, where, cells=format in _TABLES)
        except BadRow as bad:
            problems.add_row(where, bad)
        else:
            yield record


def _read_hub(name: hub.HubName, rows: Iterator[Mapping[str, object]]) -> Iterator[Record]:
    problems = Problems()
    number = 0
    try:
        for number, row in enumerate(rows, 1):
            where = Source(str(name), number)
            try:
                record = to_record(row, where, cells=True)
            except BadRow as bad:
                problems.add_row(where, bad)
            else:
                yield record
        if not number:
            problems.add(name, "the split holds no rows")
    except TooManyProblems:
        pass
    if problems:
        raise problems.error(str(name))


def _rows(path: Path, format: str, problems: Problems, limit: int) -> Iterator[tuple[Source, object]]:
    """Place and fields of every row of a file."""
    if format == "json":
        return _document_rows(path, problems)
    numbered = _numbered_rows(path, format, problems, limit)
    return ((Source(str(path), line), row) for line, row in numbered)


def _numbered_rows(path: Path, format: str, problems: Problems, limit: int) -> Iterator[tuple[int, object]]:
    if format == "csv":
        return csv_rows(path, ",", problems, limit=limit)
    if format == "tsv":
        return csv_rows(path, "\t", problems, limit=limit)
    if format == "parquet":
        return parquet_rows(path, problems, limit=limit)
    lines = Lines(path, problems, limit=limit)
    if format == "jsonl":
        return _jsonl_rows(lines, problems)
    return ((lines.number, {"text": line}) for line in lines if line.strip())


def _jsonl_rows(lines: Lines, problems: Problems) -> Iterator[tuple[int, object]]:
    decoder = StrictDecoder()
    for line in lines:
        if not line.strip():
            continue
        try:
            row = decoder.whole(line)
        except json.JSONDecodeError as error:
            problems.add(lines.source(), f"broken JSON at column {error.colno}: {error.msg}")
            continue
        for finding in decoder.findings:
            problems.add(lines.source(), finding)
        if not decoder.findings:
            yield lines.number, row


def _document_rows(path: Path, problems: Problems) -> Iterator[tuple[Source, object]]:
    """Rows of a JSON document, with the line where each begins; its number too, where the line does not tell it."""
    before = len(problems)
    parts: list[str] = []
    size = 0
    for part in Lines(path, problems, limit=DOCUMENT_BYTES, keep_ends=True):
        parts.append(part)
        size += len(part)
        if size > DOCUMENT_BYTES:
            problems.add(path, f"a JSON document of more than {DOCUMENT_BYTES >> 30} GiB", hint=_TOO_LARGE)
            return
    if len(problems) > before:
        return
    text = "".join(parts)
    parts.clear()
    if not text.strip():
        return
    decoder = StrictDecoder()
    one_line = text.lstrip().startswith("[") and "\n" not in text.strip()
    line, at, last = 1, 0, 0
    try:
        for number, (position, row) in enumerate(document_rows(decoder, text), 1):
            line, at = line + text.count("\n", at, position), position
            where = Source(str(path), line, number if one_line or line == last else 0)
            last = line
            for finding in decoder.findings:
                problems.add(where, finding)
            if not decoder.findings:
                rows = _columns(row)
                yield from (
                    (replace(where, row=each) if len(rows) > 1 else where, one) for each, one in enumerate(rows, 1)
                )
    except json.JSONDecodeError as error:
        problems.add(Source(str(path), error.lineno), f"broken JSON at column {error.colno}: {error.msg}")


_TOO_LARGE = "Write it as JSONL, one object a line: that is read as a stream."


def _columns(document: object) -> list[object]:
    """The rows of a table by columns, as pandas' `to_json()` or `to_dict("list")` gives it; else one row."""
    if isinstance(document, Mapping) and document:
        columns = list(document.values())
        if all(isinstance(column, Mapping) and all(key.isdecimal() for key in column) for column in columns):
            keys = dict.fromkeys(key for column in columns for key in column)
            return [{name: column.get(key) for name, column in document.items()} for key in keys]
        texts = [document.get(name) for name in ("text", "input", "instruction", "output")]
        listed = all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns)
        if listed and any(isinstance(text, list) for text in texts):
            return [dict(zip(document, values, strict=True)) for values in zip(*columns, strict=True)]
    return [document]


def _data_files(path: Path, format: str | None) -> list[tuple[Path, str]]:
    """The files to read and their formats. Raises DataError where there are none, or one cannot be told."""
    if not path.is_dir():
        known = format or _format_of(path)
        if known is None:
            raise DataError(
                f"{path}: cannot tell the format from its name or content",
                hint=f"give format, one of: {', '.join(FORMATS)}",
            )
        return [(path, known)]
    entries = sorted(entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
    files = [(entry, format or _format_of(entry)) for entry in entries if suffix_of(entry) in _BY_SUFFIX]
    found = [(entry, known) for entry, known in files if known]
    # Beside data files, a plain text is a README or a licence.
    found = [(entry, known) for entry, known in found if known != "text" or format] or found
    if not found:
        raise DataError(f"{path}: no data files in this folder", hint=f"known suffixes: {', '.join(_BY_SUFFIX)}")
    return found


def _format_of(path: Path) -> str | None:
    """The format by suffix and content, or None."""
    known = _BY_SUFFIX.get(suffix_of(path))
    if known is not None and known not in ("json", "jsonl", "text"):
        return known
    try:
        with open_bytes(path) as file:
            raw = file.read(_HEAD)
    except DAMAGE:
        return known
    if known is None and raw.startswith(b"PAR1"):
        return "parquet"
    head = raw.decode("utf-8-sig", "replace")
    if known != "text" and head.lstrip()[:1] in ("{", "["):
        return _json_or_jsonl(head.lstrip(), known)
    if known in (None, "text") and looks_tagged(head.splitlines()[:50]):
        return "tagged"
    return known


def _json_or_jsonl(head: str, known: str | None) -> str:
    """Which of the two begins with `head`, whatever its suffix says: they are often taken for each other."""
    if head.startswith("["):
        return "json"
    first, _, rest = head.partition("\n")
    if first.strip() == "{":
        return "json"
    try:
        StrictDecoder().whole(first)
    except json.JSONDecodeError:
        return known or "jsonl"
    return "jsonl" if rest.lstrip().startswith("{") else known or "jsonl"


def _meant_as_file(path: Path) -> bool:
    """Whether a missing path is a mistyped file, not a hub name: known suffix, or its folder exists."""
    return suffix_of(path) in _BY_SUFFIX or (len(path.parts) > 1 and path.parent.is_dir())


def _near(path: Path) -> str:
    try:
        siblings = [entry.name for entry in islice(path.parent.iterdir(), 10_000)]
    except OSError:
        return ""
    return nearest(path.name, siblings)
