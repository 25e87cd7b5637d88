"""Scores by place: strings are put where they stand in the text, then compared as spans.

Exact spans are what the literature on named entities scores. The four schemes beside them say what kind of near
miss the others are: those of SemEval-2013 task 9, by the package nervaluate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from nervaluate.entities import Entity
from nervaluate.strategies import (
    EntityTypeEvaluation,
    EvaluationStrategy,
    ExactEvaluation,
    PartialEvaluation,
    StrictEvaluation,
)

from yuantune.data.labels import LabelSchema, places
from yuantune.score.entities import Counts, Entities

SCHEMES: dict[str, EvaluationStrategy] = {
    "strict": StrictEvaluation(),
    "exact": ExactEvaluation(),
    "partial": PartialEvaluation(),
    "type": EntityTypeEvaluation(),
}
"""Boundary and type right; boundary right; boundary overlaps; it overlaps, with the right type."""


@dataclass(frozen=True, slots=True)
class Span:
    """An entity by place: from the character `start` to before `stop`."""

    kind: str
    start: int
    stop: int


COUNTS = ("correct", "incorrect", "partial", "missed", "spurious")


@dataclass(slots=True)
class Near:
    """One scheme's counts. `partial` ones weigh half, in the schemes that have them."""

    correct: int = 0
    incorrect: int = 0
    partial: int = 0
    missed: int = 0
    spurious: int = 0

    @property
    def precision(self) -> float:
        """Right ones over predicted ones."""
        return self._over(self.correct + self.incorrect + self.partial + self.spurious)

    @property
    def recall(self) -> float:
        """Right ones over gold ones."""
        return self._over(self.correct + self.incorrect + self.partial + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0

    def _over(self, count: int) -> float:
        return (self.correct + self.partial / 2) / count if count else 0.0

    def to_dict(self) -> dict[str, float | int]:
        """Counts and ratios, for JSON."""
        ratios = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        counts = {name: getattr(self, name) for name in COUNTS}
        return {**ratios, **counts}


@dataclass(slots=True)
class SpanScore:
    """Exact spans as a multiset, and the four schemes."""

    exact: Counts = field(default_factory=Counts)
    schemes: dict[str, Near] = field(default_factory=lambda: {name: Near() for name in SCHEMES})

    def to_dict(self) -> dict[str, object]:
        """Everything, for JSON."""
        return {**self.exact.to_dict(), "schemes": {name: near.to_dict() for name, near in self.schemes.items()}}


def spans_of(entities: Entities, text: str, schema: LabelSchema) -> list[Span]:
    """The spans of entities; a string that the text lacks stands behind its end, where no gold span is."""
    labels = {kind: list(strings) for kind, strings in entities.items()}
    return [
        Span(place.kind, place.start, place.stop if place.found else place.stop + len(place.string))
        for place in places(labels, text, schema)
    ]


def score_spans(rows: Iterable[tuple[str, Entities, Entities | None]], schema: LabelSchema) -> SpanScore:
    """Score rows of (text, gold, predicted); None is an answer that could not be parsed."""
    score = SpanScore()
    for text, gold, predicted in rows:
        theirs, mine = spans_of(gold, text, schema), spans_of(predicted or {}, text, schema)
        score.exact.hits += (Counter(theirs) & Counter(mine)).total()
        score.exact.predicted += len(mine)
        score.exact.gold += len(theirs)
        for name, strategy in SCHEMES.items():
            found, _ = strategy.evaluate(_entities(theirs), _entities(mine), [])
            near = score.schemes[name]
            for count in COUNTS:
                setattr(near, count, getattr(near, count) + getattr(found, count))
    return score


def _entities(spans: Iterable[Span]) -> list[Entity]:
    """As nervaluate takes them: to the last character, not behind it."""
    return [Entity(span.kind, span.start, span.stop - 1) for span in spans]
