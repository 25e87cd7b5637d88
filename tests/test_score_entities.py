"""Entity scores against brute force and hand-counted cases."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yuantune.score.entities import Counts, score_entities

entities = st.dictionaries(
    st.sampled_from(["姓名", "职位", "组织名"]),
    st.lists(st.sampled_from(["甲", "乙", "丙"]), max_size=4),
    max_size=3,
)


def brute_force(gold: dict[str, list[str]], predicted: dict[str, list[str]] | None) -> tuple[int, int, int]:
    """Hits by crossing off gold entities one at a time."""
    left = [(kind, string) for kind, strings in gold.items() for string in strings]
    hits, total_gold, total_predicted = 0, len(left), 0
    for kind, strings in (predicted or {}).items():
        for string in strings:
            total_predicted += 1
            if (kind, string) in left:
                left.remove((kind, string))
                hits += 1
    return hits, total_predicted, total_gold


@given(st.lists(st.tuples(entities, st.none() | entities), max_size=6))
def test_equals_crossing_off_one_by_one(
    pairs: list[tuple[dict[str, list[str]], dict[str, list[str]] | None]],
) -> None:
    score = score_entities(pairs)
    hits, predicted, gold = (
        (sum(column) for column in zip(*(brute_force(g, p) for g, p in pairs), strict=True))
        if (pairs)
        else (0, 0, 0)
    )
    assert (score.micro.hits, score.micro.predicted, score.micro.gold) == (hits, predicted, gold)
    assert score.rows == len(pairs)
    assert score.valid == sum(p is not None for _, p in pairs)
    for kind, counts in score.per_type.items():
        per_type = [
            brute_force({kind: g.get(kind, [])}, None if p is None else {kind: p.get(kind, [])}) for g, p in pairs
        ]
        assert (counts.hits, counts.predicted, counts.gold) == tuple(map(sum, zip(*per_type, strict=True)))


def test_hand_counted() -> None:
    pairs = [
        # 董事 is labelled twice and found three times: two hits, one too many.
        ({"姓名": ["张三"], "职位": ["董事", "董事"]}, {"姓名": ["张三"], "职位": ["董事", "董事", "董事"]}),
        # A right string of the wrong type is a miss and a false positive.
        ({"组织名": ["江州大学"]}, {"地名": ["江州大学"]}),
        # An answer that is no JSON finds nothing.
        ({"姓名": ["李四"]}, None),
        # Nothing to find and nothing found.
        ({}, {}),
    ]
    score = score_entities(pairs)
    assert score.micro == Counts(hits=3, predicted=5, gold=5)
    assert score.micro.precision == pytest.approx(0.6)
    assert score.micro.recall == pytest.approx(0.6)
    assert score.micro.f1 == pytest.approx(0.6)
    assert score.per_type["职位"] == Counts(hits=2, predicted=3, gold=2)
    assert score.per_type["姓名"].f1 == pytest.approx(2 * 1 / (1 + 2))
    # 姓名 2/3, 职位 4/5, 组织名 0; 地名 has no gold and does not count.
    assert score.macro_f1 == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert (score.rows, score.valid, score.exact) == (4, 3, 1)


def test_no_rows_score_zero() -> None:
    assert score_entities([]).to_dict()["micro"] == {
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "hits": 0,
        "predicted": 0,
        "gold": 0,
    }


def test_needs_no_torch() -> None:
    code = "import sys, yuantune.score.entities; sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
