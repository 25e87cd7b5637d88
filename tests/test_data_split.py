"""Held-out rows and weighted mixes: no text on both sides, the same on every machine."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yuantune.data.record import Record, Source
from yuantune.data.split import mix, split
from yuantune.errors import DataError


def rows(texts: list[str]) -> list[Record]:
    return [Record(Source("x", line), text) for line, text in enumerate(texts, 1)]


@settings(deadline=None)
@given(st.lists(st.text("ab三", max_size=3), min_size=2), st.integers(0, 5), st.data())
def test_nothing_is_lost_and_no_text_on_both_sides(texts: list[str], seed: int, data: st.DataObject) -> None:
    records = rows(texts)
    count = data.draw(st.integers(1, len(records) - 1))
    try:
        train, held_out = split(records, count=count, seed=seed)
    except DataError:
        assert len(set(texts)) < 2 or min(Counter(texts).values()) > count
        return
    assert train
    assert 0 < len(held_out) <= count
    assert not {record.text for record in train} & {record.text for record in held_out}
    assert sorted(train + held_out, key=lambda record: record.source.line) == records
    for side in (train, held_out):
        assert side == sorted(side, key=lambda record: record.source.line)
    assert split(records, count=count, seed=seed) == (train, held_out)
    if len(set(texts)) == len(texts):
        assert len(held_out) == count


def test_sizes_seeds_and_stability() -> None:
    records = rows([f"text {i}" for i in range(1000)])
    train, held_out = split(records, fraction=0.1, seed=1)
    assert (len(train), len(held_out)) == (900, 100)
    assert len(split(records[:3], fraction=0.01, seed=1)[1]) == 1
    other = split(records, fraction=0.1, seed=2)[1]
    assert 0 < len({record.text for record in held_out} & {record.text for record in other}) < 40
    # Rows in another order fall on the same sides; of a grown set most do.
    assert set(split(records[::-1], fraction=0.1, seed=1)[1]) == set(held_out)
    grown = split(rows([f"text {i}" for i in range(1100)]), fraction=0.1, seed=1)[1]
    assert len({record.text for record in grown} & {record.text for record in held_out}) > 85


def test_independent_of_pythons_hash() -> None:
    code = (
        "from yuantune.data.record import Record, Source\n"
        "from yuantune.data.split import mix, split\n"
        "rows = [Record(Source('x', i), str(i)) for i in range(50)]\n"
        "print([r.text for r in split(rows, count=5, seed=3)[1]], [r.text for r in mix([(rows, 0.1)], seed=3)])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize(
    ("sizes", "what"),
    [
        ({}, "a fraction or a count"),
        ({"fraction": 0.5, "count": 1}, "a fraction or a count"),
        ({"fraction": 0.0}, "must lie between 0 and 1"),
        ({"fraction": 1.0}, "must lie between 0 and 1"),
        ({"fraction": math.nan}, "must lie between 0 and 1"),
        ({"count": 0}, "cannot hold out 0 of 3 rows"),
        ({"count": 3}, "cannot hold out 3 of 3 rows"),
    ],
)
def test_impossible_splits(sizes: dict[str, float], what: str) -> None:
    with pytest.raises(DataError, match=what):
        split(rows(["a", "b", "c"]), seed=1, **sizes)  # type: ignore[arg-type]


def test_too_few_texts() -> None:
    with pytest.raises(DataError, match="3 rows with 1 different texts"):
        split(rows(["a", "a", "a"]), count=1, seed=1)
    with pytest.raises(DataError, match="every text occurs more often"):
        split(rows(["a", "a", "b", "b"]), count=1, seed=1)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 300)), max_size=3), st.integers(0, 3))
def test_mix_counts(sets: list[tuple[int, int]], seed: int) -> None:
    datasets = [(rows([f"{n} {i}" for i in range(size)]), weight / 100) for n, (size, weight) in enumerate(sets)]
    mixed = mix(datasets, seed=seed)
    assert mixed == mix(datasets, seed=seed)
    counts = Counter(record.text for record in mixed)
    for n, (size, weight) in enumerate(sets):
        times = [counts[f"{n} {i}"] for i in range(size)]
        assert set(times) <= {weight // 100, weight // 100 + 1}
        if size:
            assert abs(sum(times) - size * weight / 100) <= 0.5 or sum(times) == 1
    # A set's rows keep their order, and any beginning holds of each set what its share is.
    for n, (size, _) in enumerate(sets):
        first = [record for record in dict.fromkeys(mixed) if record.text.startswith(f"{n} ")]
        assert first == sorted(first, key=lambda record: record.source.line) or len(first) < size or size < 2
        share = sum(record.text.startswith(f"{n} ") for record in mixed) / max(len(mixed), 1)
        for end in range(len(mixed)):
            found = sum(record.text.startswith(f"{n} ") for record in mixed[:end])
            assert abs(found - share * end) <= len(sets)


def test_mix_draws_by_seed_and_refuses_weights() -> None:
    records = rows([str(i) for i in range(100)])
    assert mix([(records, 0.3)], seed=1) != mix([(records, 0.3)], seed=2)
    assert mix([(records, 1.0)], seed=1) == records
    with pytest.raises(DataError) as caught:
        mix([(records, 0.0), (records, 1.0), (records, -1.0), (records, math.inf), (records, math.nan)], seed=1)
    assert [problem.where for problem in caught.value.problems] == [f"data set {n}" for n in (1, 3, 4, 5)]
