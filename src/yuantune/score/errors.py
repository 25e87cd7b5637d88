"""What went wrong in each row: entities by place, what became of each, and which types are taken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from yuantune.data.labels import LabelSchema
from yuantune.score.entities import Entities
from yuantune.score.spans import Span, spans_of

Fate = Literal["right", "type", "boundary", "missed", "spurious"]
"""Of an entity: found as it is; found with another type; found with other borders; not found; not there."""
NOTHING = ""
"""Stands for no entity in `confusion`."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A span of the gold labels or of the answer, and what became of it."""

    span: Span
    fate: Fate


@dataclass(frozen=True, slots=True)
class RowErrors:
    """The spans of a row, judged, and pairs of the gold type and the answered one (`NOTHING`: there is none)."""

    gold: list[Judged]
    answered: list[Judged]
    pairs: list[tuple[str, str]]

    @property
    def right(self) -> bool:
        """Whether everything is."""
        return all(each.fate == "right" for each in (*self.gold, *self.answered))


def judge(text: str, gold: Entities, labels: Entities | None, schema: LabelSchema) -> RowErrors:
    """Pair the spans of a row: equal ones first, then those at one place, then those that overlap."""
    theirs, mine = spans_of(gold, text, schema), spans_of(labels or {}, text, schema)
    partner: dict[int, int] = {}
    fates: dict[int, Fate] = {}
    for fate in ("right", "type", "boundary"):
        for at, span in enumerate(mine):
            if at in partner:
                continue
            for other, target in enumerate(theirs):
                if other not in partner.values() and _matches(span, target, fate):
                    partner[at], fates[at] = other, fate
                    break
    of_gold: dict[int, Fate] = {other: fates[at] for at, other in partner.items()}
    pairs = [(theirs[other].kind, mine[at].kind) for at, other in partner.items()]
    pairs += [(span.kind, NOTHING) for other, span in enumerate(theirs) if other not in of_gold]
    pairs += [(NOTHING, span.kind) for at, span in enumerate(mine) if at not in partner]
    return RowErrors(
        [Judged(span, of_gold.get(other, "missed")) for other, span in enumerate(theirs)],
        [Judged(span, fates.get(at, "spurious")) for at, span in enumerate(mine)],
        pairs,
    )


def _matches(span: Span, target: Span, fate: str) -> bool:
    same_place = (span.start, span.stop) == (target.start, target.stop)
    if fate == "right":
        return span == target
    if fate == "type":
        return same_place
    return span.start < target.stop and target.start < span.stop


def confusion(rows: Sequence[RowErrors]) -> Counter[tuple[str, str]]:
    """How often a gold type was answered as which."""
    return Counter(pair for row in rows for pair in row.pairs)
