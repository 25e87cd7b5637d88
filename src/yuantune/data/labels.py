"""Labels: the types a run knows, and the one canonical form in which an answer is written.

An answer is a JSON object from type to strings: types in schema order, only those present, strings in text
order with repeats kept, `", "` and `": "` between, `{}` when there is nothing, characters as they are (no
`\\u` escapes). Training, constrained decoding and scores all mean this form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yuantune.data.record import Labels, Record
from yuantune.data.strict_json import StrictDecoder


@dataclass(frozen=True, slots=True)
class LabelSchema:
    """The label types in the order in which answers name them.

    `codes` gives the short names that tagged files use (`NAME`), each with its type (`姓名`)."""

    types: tuple[str, ...] = ()
    codes: Mapping[str, str] = field(default_factory=dict)

    def in_order(self, labels: Mapping[str, Sequence[str]]) -> list[str]:
        """The types of `labels` in schema order; types that the schema lacks follow in their given order."""
        place = {name: i for i, name in enumerate(self.types)}
        return sorted(labels, key=lambda name: place.get(name, len(place)))

    def to_dict(self) -> dict[str, Any]:
        """For `yuantune.json`."""
        return {"types": list(self.types), "codes": dict(self.codes)}


def infer_schema(records: Iterable[Record]) -> LabelSchema:
    """The types that occur in `records`, in order of first appearance."""
    types: dict[str, None] = {}
    for record in records:
        types.update(dict.fromkeys(record.labels or ()))
    return LabelSchema(tuple(types))


@dataclass(frozen=True, slots=True)
class Place:
    """A label's string and where it stands in its text, from `start` to before `stop`; `found` is False where the
    text lacks it, and both are then the text's end."""

    kind: str
    string: str
    start: int
    stop: int
    found: bool


def places(labels: Labels, text: str, schema: LabelSchema) -> list[Place]:
    """Each string with its place: by type in schema order, then in text order; types without strings left out.

    Strings carry no positions, so they claim them: longer strings first, and the k-th repeat of a string
    takes its k-th occurrence that no longer string covers (a nested label, all of whose occurrences are
    covered, takes the first that it has not taken yet). Strings that the text lacks go last, in their
    given order."""
    types = [name for name in schema.in_order(labels) if labels[name]]
    wanted = [(name, i, string) for name in types for i, string in enumerate(labels[name])]
    taken = bytearray(len(text))
    used: dict[str, set[int]] = {}
    place_of: dict[tuple[str, int], Place] = {}
    # A stable sort by text position makes the claims independent of the given order.
    for name, i, string in sorted(wanted, key=lambda item: (-len(item[2]), item[2])):
        occurrences = _occurrences(string, text)
        mine = used.setdefault(string, set())
        free = next((at for at in occurrences if 1 not in taken[at : at + len(string)]), None)
        at = free if free is not None else next((at for at in occurrences if at not in mine), None)
        if at is None:
            # More repeats than occurrences: with the last of them, or behind everything.
            at = occurrences[-1] if occurrences else None
        else:
            taken[at : at + len(string)] = b"\1" * len(string)
            mine.add(at)
        start, stop = (len(text), len(text)) if at is None else (at, at + len(string))
        place_of[name, i] = Place(name, string, start, stop, at is not None)
    ordered = []
    for name in types:
        mine_of_type = [place_of[name, i] for i in range(len(labels[name]))]
        ordered += sorted(mine_of_type, key=lambda place: _order(place.start, place.string, len(text)))
    return ordered


def in_text_order(labels: Labels, text: str, schema: LabelSchema) -> Labels:
    """The same labels in canonical order, as `places` has them, types without strings left out."""
    ordered: Labels = {}
    for place in places(labels, text, schema):
        ordered.setdefault(place.kind, []).append(place.string)
    return ordered


def _order(start: int, string: str, end: int) -> tuple[int, int, str]:
    """Sorts by position, the longer string first; strings at `end` (not in the text) keep their order."""
    return (start, -len(string), string) if start < end else (end, 0, "")


def _occurrences(string: str, text: str) -> list[int]:
    """Where `string` starts in `text`, overlaps included; nowhere, if it is empty."""
    places: list[int] = []
    at = text.find(string) if string else -1
    while at >= 0:
        places.append(at)
        at = text.find(string, at + 1)
    return places


def canonical(labels: Labels, text: str, schema: LabelSchema) -> str:
    """The answer that a model learns to write for `text` (see the module's docstring)."""
    return json.dumps(in_text_order(labels, text, schema), ensure_ascii=False)


def gold_labels(record: Record) -> Labels | None:
    """A record's labels: as they are, or read from an output that is an answer in their form; None without."""
    if record.labels is not None or record.output is None:
        return record.labels
    return parse(record.output)


def parse(answer: str) -> Labels | None:
    """The labels that an answer states, or None where it is not one JSON object from type to list of strings.

    White space around the object is allowed, nothing else is. An object that names a type twice is None too:
    JSON leaves its meaning open, and canonical answers never do it."""
    decoder = StrictDecoder()
    try:
        value = decoder.whole(answer.strip())
    except json.JSONDecodeError:
        return None
    if decoder.findings or not isinstance(value, dict):
        return None
    for strings in value.values():
        if not isinstance(strings, list) or not all(isinstance(string, str) for string in strings):
            return None
    return value
