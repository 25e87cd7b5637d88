"""What pretraining may not see: the rows that fine-tuning is scored on, as a block list.

A text is compared by its Han characters alone, so neither punctuation nor spacing nor figures hide a match. A
window is WINDOW Han characters in a row of a held-out row, of which at least one belongs to an entity (or which
stand on both sides of an entity without Han characters, such as EMBA). A row with fewer than WINDOW Han characters
is one window as a whole, where it has at least SHORTEST of them; a shorter one (a bare post, 公司董事) is no text
that somebody would recognise, and blocking it would empty the corpus."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from yuantune.data.readers import read
from yuantune.data.record import Record

WINDOW = 13
SHORTEST = 8

_OTHER = re.compile("[^\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")


def han(text: str) -> str:
    """The Han characters of `text`."""
    return _OTHER.sub("", text)


class HeldOut:
    """A block list of windows. `rows` counts the rows that it was made from."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.rows = 0
        windows: set[str] = set()
        for record in records:
            self.rows += 1
            windows.update(_windows(record))
        self.windows = frozenset(windows)
        starts: dict[str, list[str]] = {}
        for window in sorted(windows):
            starts.setdefault(window[:SHORTEST], []).append(window)
        self._starts = {start: tuple(several) for start, several in starts.items()}

    @classmethod
    def read(cls, sources: Iterable[Path]) -> HeldOut:
        """From labelled files in any form that yuantune reads."""
        return cls(record for source in sources for record in read(source))

    def touches(self, text: str) -> bool:
        """Whether a window occurs in `text`. About a microsecond for five characters."""
        found = han(text)
        starts = self._starts
        for at in range(len(found) - SHORTEST + 1):
            start = found[at : at + SHORTEST]
            if start in starts and any(found.startswith(window, at) for window in starts[start]):
                return True
        return False

    def look(self, text: str) -> tuple[int, int]:
        """How many stretches of `text` were compared, and how many are windows: every length at every place.

        Slower than `touches`, and simple enough to be believed."""
        found = han(text)
        looked = hits = 0
        for size in range(SHORTEST, WINDOW + 1):
            for start in range(len(found) - size + 1):
                looked += 1
                hits += found[start : start + size] in self.windows
        return looked, hits


def _windows(record: Record) -> Iterator[str]:
    """The windows of one row. Labels are strings: wherever one occurs it counts, labelled there or not."""
    whole = han(record.text)
    if len(whole) < SHORTEST:
        return
    size = min(WINDOW, len(whole))
    spans = [
        span
        for strings in (record.labels or {}).values()
        for string in strings
        for span in _spans(string, record.text)
    ]
    for start in range(len(whole) - size + 1):
        if any(_touching(start, start + size, *span) for span in spans):
            yield whole[start : start + size]


def _spans(string: str, text: str) -> Iterator[tuple[int, int]]:
    """Where `string` occurs in `text`, counted in Han characters; empty spans for strings without any."""
    length = len(han(string))
    at = text.find(string) if string else -1
    while at >= 0:
        before = len(han(text[:at]))
        yield before, before + length
        at = text.find(string, at + 1)


def _touching(start: int, end: int, first: int, last: int) -> bool:
    """Whether the window [start, end) holds a character of [first, last), or the place of an empty one."""
    return first < end and last > start
