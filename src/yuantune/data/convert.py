"""Tagged, annotated or tabular data to extraction records on disk, or to the tutorial's input and output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from yuantune.data.labels import LabelSchema, in_text_order
from yuantune.data.readers import read
from yuantune.data.record import Labels, Record
from yuantune.data.writing import check_target, written_whole
from yuantune.errors import DataError, Problem, nearest

_OTHERS = 1000

SUFFIXES = (".jsonl", ".ndjson", ".json")
"""What a target can be: JSON lines, or (.json) one array, as `pandas.read_json` wants it by default."""


@dataclass(frozen=True, slots=True)
class ConvertReport:
    """What `convert` wrote: rows, how many of them have no entity, entities by type (as renamed), and
    what was decided on the way."""

    target: Path
    rows: int
    empty: int
    entities: Mapping[str, int]
    notes: tuple[str, ...]


def convert(
    source: str | Path,
    target: str | Path,
    *,
    format: str | None = None,
    names: Mapping[str, str] | None = None,
    template: Callable[[Record], tuple[str, str]] | None = None,
    overwrite: bool = False,
) -> ConvertReport:
    """Write the extraction records of `source` to `target`, one row a line, whole or not at all.

    A row is `{"text", "labels"}`, or `{"input", "output"}` where `template` makes these two of a record.
    `names` renames label types (NAME to 姓名); two may become one. Rows without annotation are left out,
    with a note.

    Raises DataError for every problem of the source (see `read`), a name in `names` that no label has,
    rows with other answers than labels, a source without labels, a target that exists (unless
    `overwrite`); WorkFailed where the disk refuses."""
    path = Path(target)
    if nameless := [name for name, renamed in (names or {}).items() if not renamed]:
        raise DataError(f"label types cannot be renamed to nothing: {', '.join(nameless)}")
    if path.suffix not in SUFFIXES:
        raise DataError(f"{target}: cannot write this kind of file", hint=f"end its name in {', '.join(SUFFIXES)}")
    check_target(path, overwrite=overwrite)
    tally = _Tally(dict(names or {}))
    records = read(source, format=format, notes=tally.notes)
    array = path.suffix == ".json"
    with written_whole(path, overwrite=overwrite) as file:
        file.write(b"[\n" if array else b"")
        for number, record in enumerate(tally.renamed(records)):
            if array and number:
                file.write(b",\n")
            file.write(_row(record, template).encode())
            file.write(b"" if array else b"\n")
        file.write(b"\n]\n" if array else b"")
        tally.refuse(str(source))
    return ConvertReport(path, tally.rows, tally.empty, tally.entities, tuple(tally.notes))


class _Tally:
    """Renames labels and counts them on their way through."""

    def __init__(self, names: dict[str, str]) -> None:
        self.rows = 0
        self.empty = 0
        self.unlabelled = 0
        self.entities: dict[str, int] = {}
        self.notes: list[str] = []
        self._names = names
        self._merges = len(set(names.values())) < len(names)
        self._found: set[str] = set()
        self._others = 0
        self._first_others: list[Problem] = []

    def renamed(self, records: Iterator[Record]) -> Iterator[Record]:
        for record in records:
            if record.labels is None:
                self._refuse_other(record)
                self.unlabelled += 1
                continue
            labels: Labels = {}
            for label, strings in record.labels.items():
                self._found.add(label)
                name = self._names.get(label, label)
                labels.setdefault(name, []).extend(strings)
                self.entities[name] = self.entities.get(name, 0) + len(strings)
            if self._merges or set(self._names.values()) & set(record.labels):
                labels = in_text_order(labels, record.text, LabelSchema(tuple(labels)))
            self.rows += 1
            self.empty += not labels
            yield replace(record, labels=labels)

    def _refuse_other(self, record: Record) -> None:
        if record.has_answer:
            self._others += 1
            if self._others <= _OTHERS:
                what = "no labels to convert: its answer is text or a chat"
                self._first_others.append(Problem(str(record.source), what))

    def refuse(self, source: str) -> None:
        """Raise DataError for what only the whole source can show."""
        if self._others:
            raise DataError(
                f"{source}: rows that are no extraction records: {self._others}", problems=self._first_others
            )
        if not self.rows:
            raise DataError(f"{source}: none of {self.unlabelled} rows has labels")
        unknown = [name for name in self._names if name not in self._found]
        if unknown:
            raise DataError(
                "names for label types that the data does not have",
                problems=[Problem(name, f"no such type{nearest(name, self._found)}") for name in unknown],
                hint=f"its types: {', '.join(sorted(self._found)) or 'none'}",
            )
        if self.unlabelled:
            self.notes.append(f"{source}: rows without annotation, left out: {self.unlabelled}")


def _row(record: Record, template: Callable[[Record], tuple[str, str]] | None) -> str:
    if template is None:
        return json.dumps({"text": record.text, "labels": record.labels}, ensure_ascii=False)
    prompt, answer = template(record)
    return json.dumps({"input": prompt, "output": answer}, ensure_ascii=False)
