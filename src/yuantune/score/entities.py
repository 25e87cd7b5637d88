"""Entity scores: precision, recall and F1 over each record's multiset of (type, string).

A prediction is right as often as its string is labelled with that type in that record: a string labelled twice and
predicted three times gives two hits and one false positive. No torch here, so that scores run anywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Entities = Mapping[str, Sequence[str]]
"""One record's entities: type to strings, repeats kept."""


@dataclass(slots=True)
class Counts:
    """Hits, predicted and gold entities; the ratios are 0 where they have no denominator."""

    hits: int = 0
    predicted: int = 0
    gold: int = 0

    @property
    def precision(self) -> float:
        """Hits over predicted."""
        return self.hits / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Hits over gold."""
        return self.hits / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        both = self.predicted + self.gold
        return 2 * self.hits / both if both else 0.0

    def to_dict(self) -> dict[str, float | int]:
        """Counts and ratios, for JSON."""
        ratios = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {**ratios, "hits": self.hits, "predicted": self.predicted, "gold": self.gold}


@dataclass(slots=True)
class EntityScore:
    """Scores over many records. `valid` counts predictions that were a JSON object of string lists at all,
    `exact` records whose whole multiset is right."""

    micro: Counts = field(default_factory=Counts)
    per_type: dict[str, Counts] = field(default_factory=dict)
    rows: int = 0
    valid: int = 0
    exact: int = 0

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the types that occur in the gold labels."""
        types = [counts for counts in self.per_type.values() if counts.gold]
        return sum(counts.f1 for counts in types) / len(types) if types else 0.0

    def to_dict(self) -> dict[str, object]:
        """Everything, for JSON."""
        return {
            "micro": self.micro.to_dict(),
            "macro": {"f1": self.macro_f1},
            "per_type": {name: counts.to_dict() for name, counts in self.per_type.items()},
            "rows": self.rows,
            "valid": self.valid,
            "exact": self.exact,
        }


def score_entities(pairs: Iterable[tuple[Entities, Entities | None]]) -> EntityScore:
    """Score `(gold, predicted)` pairs, one a record; None is an answer that could not be parsed: it predicts
    nothing and finds nothing. Per-type scores come in the order in which types first occur."""
    score = EntityScore()
    for gold, predicted in pairs:
        gold_bag, predicted_bag = _bag(gold), _bag(predicted or {})
        for kind, _ in [*gold_bag, *predicted_bag]:
            score.per_type.setdefault(kind, Counts())
        hits = gold_bag & predicted_bag
        for bag, name in ((hits, "hits"), (predicted_bag, "predicted"), (gold_bag, "gold")):
            for (kind, _), count in bag.items():
                counts = score.per_type[kind]
                setattr(counts, name, getattr(counts, name) + count)
                setattr(score.micro, name, getattr(score.micro, name) + count)
        score.rows += 1
        score.valid += predicted is not None
        score.exact += predicted is not None and gold_bag == predicted_bag
    return score


def _bag(entities: Entities) -> Counter[tuple[str, str]]:
    return Counter((kind, string) for kind, strings in entities.items() for string in strings)
