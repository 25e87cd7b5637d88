"""The mixture of exercises: who makes how many, which are left out, and how they become rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from recipes.yuan2_mini.careers import career
from recipes.yuan2_mini.held_out import HeldOut
from recipes.yuan2_mini.passages import passages
from recipes.yuan2_mini.render import RESUME, render, resume_exercise
from recipes.yuan2_mini.resumes import dense, executive
from recipes.yuan2_mini.segments import Exercise

MIX = {"executive": 33, "dense": 27, "career": 15, "passage": 25}
"""Parts of each generator in a hundred exercises."""
LONGEST = 900
"""Characters of question and answer together, which is nearly the number of tokens: a model reads 1,024."""


_RESUMES = {"executive": executive, "dense": dense, "career": career}


def exercises(
    lines: Mapping[str, Sequence[str]], names: Sequence[str], draw: Random
) -> Iterator[tuple[str, Exercise]]:
    """Exercises without end, each with the name of its generator. `lines` is the corpus by
    source, `names` are short names of firms."""
    makers, parts = list(MIX), list(MIX.values())
    from_passages = passages(lines, names, draw)
    while True:
        maker = draw.choices(makers, parts)[0]
        if maker == "passage":
            yield maker, next(from_passages)
        else:
            yield maker, resume_exercise(_RESUMES[maker](draw, names))


class Rows:
    """Rows of exercises, none twice and none that touches a held-out row. `counts` says what became of them."""

    def __init__(self, held_out: HeldOut) -> None:
        self._held_out = held_out
        self._questions: set[int] = set()
        self.counts: Counter[str] = Counter()

    def rows(self, made: Iterator[tuple[str, Exercise]], count: int, draw: Random) -> Iterator[dict[str, str]]:
        """The next `count` rows of `made`."""
        example: Exercise | None = None
        while count:
            maker, exercise = next(made)
            row = render(exercise, draw, example=example if exercise.kind == RESUME else None)
            fate = self._fate(row)
            self.counts[fate or maker] += 1
            if fate:
                continue
            count -= 1
            if exercise.kind == RESUME:
                example = exercise
            yield row

    def _fate(self, row: dict[str, str]) -> str:
        """Why the row is left out; empty where it is kept."""
        if len(row["input"]) + len(row["output"]) > LONGEST:
            return "too long"
        # Within one process only: a hash of a string is another one in the next, a comparison comes out the same.
        key = hash(row["input"])
        if key in self._questions:
            return "repeated"
        if self._held_out.touches(row["input"]) or self._held_out.touches(row["output"]):
            return "held out"
        self._questions.add(key)
        return ""
