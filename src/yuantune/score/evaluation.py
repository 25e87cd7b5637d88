"""Everything that is said about answers that are labels: one dictionary, written as `scores.json`.

`micro` (with its 95 % interval), `macro` and `per_type` count (type, string) pairs; `span` counts places; `seen`
and `unseen` split the pairs by whether a string stands, with that type, in the training data. `valid`, `schema` and
`grounded` are shares of rows: an answer that is a JSON object of string lists, of the run's types only, of pieces
of the text only. `exact` is the share of rows in which everything is right.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from yuantune.data.labels import LabelSchema
from yuantune.data.record import Labels
from yuantune.score.entities import Entities, score_entities
from yuantune.score.intervals import Row, f1_interval
from yuantune.score.spans import score_spans

Form = tuple[str, str]
"""Type and string."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A row with gold labels and what was answered; `labels` is None where that could not be parsed."""

    text: str
    gold: Labels
    labels: Labels | None


def evaluate_labels(
    rows: Sequence[Answered], schema: LabelSchema, *, seen: Collection[Form] | None = None
) -> dict[str, Any]:
    """The scores of rows. `seen`: the forms of the training data, where they are known."""
    pairs = [(row.gold, row.labels) for row in rows]
    score = score_entities(pairs)
    found = score.to_dict()
    found["micro"] = {**score.micro.to_dict(), "interval": f1_interval(counts_of(pairs)).to_list()}
    found["span"] = score_spans(((row.text, row.gold, row.labels) for row in rows), schema).to_dict()
    if seen is not None:
        for name, known in (("seen", True), ("unseen", False)):
            kept = [(_only(gold, seen, known), labels and _only(labels, seen, known)) for gold, labels in pairs]
            found[name] = score_entities(kept).micro.to_dict()
    return {**found, **_shares(rows, schema), "exact": score.exact / max(len(rows), 1)}


def counts_of(pairs: Iterable[tuple[Entities, Entities | None]]) -> list[Row]:
    """Hits, predicted and gold entities of each row."""
    rows = []
    for pair in pairs:
        micro = score_entities([pair]).micro
        rows.append((micro.hits, micro.predicted, micro.gold))
    return rows


def forms_of(labels: Iterable[Entities]) -> set[Form]:
    """The (type, string) pairs of labels."""
    return {(kind, string) for each in labels for kind, strings in each.items() for string in strings}


def _only(labels: Labels, seen: Collection[Form], known: bool) -> Labels:
    kept = {
        kind: [string for string in strings if ((kind, string) in seen) == known]
        for kind, strings in labels.items()
    }
    return {kind: strings for kind, strings in kept.items() if strings}


def _shares(rows: Sequence[Answered], schema: LabelSchema) -> dict[str, float]:
    types = set(schema.types)
    checks: dict[str, Callable[[str, Labels], bool]] = {
        "valid": lambda text, labels: True,
        "schema": lambda text, labels: labels.keys() <= types,
        "grounded": lambda text, labels: all(string in text for strings in labels.values() for string in strings),
    }
    return {
        name: sum(row.labels is not None and check(row.text, row.labels) for row in rows) / max(len(rows), 1)
        for name, check in checks.items()
    }
