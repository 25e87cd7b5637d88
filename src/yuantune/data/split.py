"""Held-out rows, and mixes of several data sets: both the same for the same seed, on every machine."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence

from yuantune.data.record import Record
from yuantune.errors import DataError, Problem


def split(
    records: Sequence[Record], *, fraction: float | None = None, count: int | None = None, seed: int
) -> tuple[list[Record], list[Record]]:
    """Rows to train on and rows to evaluate on, each in their order in `records`.

    `count` rows, or a `fraction` of all (at least one), are held out. Rows with equal text stay on one
    side, so the number can come out a little smaller. Which side a text falls on depends on its hash with
    `seed`: rows that are added or moved later leave most of the others where they were.

    Raises DataError unless one of the two sizes is given and leaves rows on both sides."""
    wanted = _wanted(len(records), fraction, count)
    groups: dict[str, int] = {}
    for record in records:
        groups[record.text] = groups.get(record.text, 0) + 1
    if len(groups) < 2:
        raise DataError(f"{len(records)} rows with {len(groups)} different texts cannot be split")
    held_out: set[str] = set()
    left = wanted
    for text in sorted(groups, key=lambda text: _hash(text, seed)):
        if groups[text] <= left and len(held_out) < len(groups) - 1:
            held_out.add(text)
            left -= groups[text]
    if not held_out:
        raise DataError(f"cannot hold out {wanted} of {len(records)} rows: every text occurs more often")
    train = [record for record in records if record.text not in held_out]
    return train, [record for record in records if record.text in held_out]


def mix(datasets: Sequence[tuple[Sequence[Record], float]], *, seed: int) -> list[Record]:
    """The rows of several data sets, each as often as its weight says, evenly mixed: any beginning holds of every
    set what its share is, and a set's rows in their order.

    A weight of 2.25 gives every row twice, and a quarter of them (drawn with `seed`) once more; of 0.1, a
    tenth of them, at least one. Raises DataError for weights that are not above 0."""
    problems = [
        Problem(f"data set {number}", f"its weight is {weight}, and must be above 0")
        for number, (_, weight) in enumerate(datasets, 1)
        if not (math.isfinite(weight) and weight > 0)
    ]
    if problems:
        raise DataError("weights of data sets", problems=problems)
    mixed: list[tuple[float, int, Record]] = []
    for number, (records, weight) in enumerate(datasets):
        copies = math.floor(weight)
        sample = round((weight - copies) * len(records))
        if not copies and records:
            sample = max(sample, 1)
        # Seeded by text, whose hash in `random` is its own (SHA-512), not Python's.
        drawn = random.Random(f"{seed}:{number}").sample(range(len(records)), sample)
        taken = [*list(records) * copies, *(records[i] for i in sorted(drawn))]
        mixed += [((place + 0.5) / len(taken), number, record) for place, record in enumerate(taken)]
    mixed.sort(key=lambda item: item[:2])
    return [record for *_, record in mixed]


def _wanted(rows: int, fraction: float | None, count: int | None) -> int:
    if (fraction is None) == (count is None):
        raise DataError("a split needs a fraction or a count, one of the two")
    if fraction is not None:
        if not 0 < fraction < 1:
            raise DataError(f"cannot hold out a fraction of {fraction}: it must lie between 0 and 1")
        return max(1, round(fraction * rows))
    assert count is not None
    if not 0 < count < rows:
        raise DataError(f"cannot hold out {count} of {rows} rows")
    return count


def _hash(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{text}".encode("utf-8", "surrogatepass")).digest()
