"""Word lists of the folder lexicon/, one entry a line, and weighted choice among them."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

FOLDER = Path(__file__).parent / "lexicon"


@cache
def words(name: str) -> tuple[str, ...]:
    """The entries of lexicon/NAME.txt, in file order."""
    return tuple((FOLDER / f"{name}.txt").read_text(encoding="utf-8").split("\n")[:-1])


def listed(text: str) -> tuple[str, ...]:
    """The words of a text: a short list that stands in the code."""
    return tuple(text.split())


class Weighted(Generic[T]):
    """A choice among weighted values: `pick` costs one random number."""

    def __init__(self, pairs: Iterable[tuple[float, T]]) -> None:
        weights, values = zip(*pairs, strict=True)
        self.values: tuple[T, ...] = values
        self.bounds = tuple(accumulate(weights))

    def pick(self, draw: random.Random) -> T:
        """A value, by weight."""
        return self.values[bisect(self.bounds, draw.random() * self.bounds[-1], 0, len(self.values) - 1)]


@cache
def weighted(name: str) -> Weighted[str]:
    """The entries of lexicon/NAME.txt, where a weight and a blank stand before each."""
    pairs = (entry.split(" ", 1) for entry in words(name))
    return Weighted((float(weight), value) for weight, value in pairs)


def by_rank(values: Sequence[T], flat: float = 8.0) -> Weighted[T]:
    """Earlier entries are likelier, as surnames and cities are: weight 1 / (rank + flat)."""
    return Weighted((1 / (rank + flat), value) for rank, value in enumerate(values))


def characters_of_gb2312(rows: range) -> str:
    """The Han characters of some rows of GB 2312: 16 to 55 hold the common ones, 56 to 87 the rare ones."""
    cells = (bytes((0xA0 + row, 0xA0 + cell)) for row in rows for cell in range(1, 95))
    return "".join(cell.decode("gb2312", errors="ignore") for cell in cells)


COMMON_CHARACTERS = characters_of_gb2312(range(16, 56))
"""3,755 characters."""
RARE_CHARACTERS = characters_of_gb2312(range(56, 88))
"""3,008 characters."""
OTHER_CHARACTERS = "".join(sorted(set(map(chr, range(0x4E00, 0x9FA6))) - {*COMMON_CHARACTERS, *RARE_CHARACTERS}))
"""The 14,139 further Han characters of Unicode 1.1; hardly any is a piece of its own to a small tokenizer."""


def any_character(draw: random.Random) -> str:
    """A Han character that nothing else tells of: a reader must copy it and cannot know it."""
    return draw.choice(_ANY.pick(draw))


_ANY = Weighted(((50, COMMON_CHARACTERS), (46, RARE_CHARACTERS), (4, OTHER_CHARACTERS)))
