"""Texts longer than the model reads: cut into windows that overlap, and their labels put together again.

A window ends at a sentence where it can. Of two windows, each answers for its side of the middle of what they
share: what stands near a window's border may be cut off by it, and stands whole in the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from yuantune.data.labels import LabelSchema, Place, places
from yuantune.data.record import Labels

Window = tuple[int, int]
"""From a character of the text to before another."""

_SHARED = 4
"""Windows share one part in so many of the shorter one."""
_SENTENCE = re.compile(r"[。！？；;!?\n]")


def windows(text: str, fits: Callable[[str], bool]) -> list[Window]:
    """The windows of a text that does not fit as a whole; none where not even a character fits."""
    found: list[Window] = []
    start = 0
    while True:
        longest = _longest(text, start, fits)
        if not longest:
            return []
        stop = start + longest
        if stop == len(text):
            return [*found, (start, stop)]
        stop = _behind_a_sentence(text, stop - longest // _SHARED, stop)
        found.append((start, stop))
        shared = max((stop - start) // _SHARED, 1)
        start = min(max(_behind_a_sentence(text, stop - shared, stop - shared // 2), start + 1), stop)


def _longest(text: str, start: int, fits: Callable[[str], bool]) -> int:
    """How many characters from `start` fit."""
    low, high = 0, len(text) - start
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(text[start : start + middle]) else (low, middle - 1)
    return low


def _behind_a_sentence(text: str, first: int, last: int) -> int:
    """The last place in the range behind which a sentence begins; its end where there is none."""
    ends = [match.end() for match in _SENTENCE.finditer(text, first, last)]
    return ends[-1] if ends else last


def merged(text: str, found: Sequence[tuple[Window, Labels]], schema: LabelSchema) -> Labels:
    """The labels of a text from those of its windows, in canonical order."""
    kept: list[Place] = []
    labels: Labels = {}
    for number, ((start, stop), own) in enumerate(found):
        before = (start + found[number - 1][0][1]) // 2 if number else 0
        behind = (found[number + 1][0][0] + stop) // 2 if number + 1 < len(found) else len(text)
        others = list(kept)
        for place in places(own, text[start:stop], schema):
            here = Place(place.kind, place.string, start + place.start, start + place.stop, place.found)
            mine = before <= here.start < behind or not here.found
            if mine and not any(_meet(here, other) for other in others):
                kept.append(here)
    for place in sorted(kept, key=lambda each: (each.start, -each.stop)):
        labels.setdefault(place.kind, []).append(place.string)
    return {name: labels[name] for name in schema.in_order(labels)}


def _meet(one: Place, other: Place) -> bool:
    """Whether two windows say the same, or parts of the same."""
    return (
        one.kind == other.kind and one.found and other.found and one.start < other.stop and other.start < one.stop
    )
