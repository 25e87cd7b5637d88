"""Scores by place, by chance and by what was seen, against brute force and cases counted by hand."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nervaluate import Evaluator

from yuantune.data.labels import LabelSchema
from yuantune.score.entities import score_entities
from yuantune.score.evaluation import Answered, counts_of, evaluate_labels, forms_of
from yuantune.score.intervals import f1_difference, f1_interval
from yuantune.score.spans import score_spans, spans_of
from yuantune.score.text import rouge_l, score_text

SCHEMA = LabelSchema(("name", "firm"))
labels = st.dictionaries(
    st.sampled_from(SCHEMA.types), st.lists(st.sampled_from(["ab", "abc", "c", "cd", "zz"]), max_size=3), max_size=2
)
rows = st.lists(st.tuples(st.text("abcd ", max_size=14), labels, st.none() | labels), max_size=5)


@given(rows)
def test_spans_are_those_of_nervaluate(
    data: list[tuple[str, dict[str, list[str]], dict[str, list[str]] | None]],
) -> None:
    found = score_spans(data, SCHEMA)
    gold, predicted = (
        [
            [
                {"label": s.kind, "start": s.start, "end": s.stop - 1}
                for s in spans_of(row[place] or {}, row[0], SCHEMA)
            ]
            for row in data
        ]
        for place in (1, 2)
    )
    hits = 0
    for one, other in zip(gold, predicted, strict=True):
        left = [tuple(each.values()) for each in one]
        for each in other:
            if tuple(each.values()) in left:
                left.remove(tuple(each.values()))
                hits += 1
    assert (found.exact.hits, found.exact.gold, found.exact.predicted) == (
        hits, sum(map(len, gold)), sum(map(len, predicted))
    )  # fmt: skip
    if not data:
        return
    overall = Evaluator(gold, predicted, tags=list(SCHEMA.types), loader="dict").evaluate()["overall"]
    for mine, theirs in (("strict", "strict"), ("exact", "exact"), ("partial", "partial"), ("type", "ent_type")):
        near, other_result = found.schemes[mine], overall[theirs]
        for count in ("correct", "incorrect", "partial", "missed", "spurious"):
            assert getattr(near, count) == getattr(other_result, count)
        assert near.precision == pytest.approx(other_result.precision)
        assert near.recall == pytest.approx(other_result.recall)
        assert near.f1 == pytest.approx(other_result.f1)


def test_a_string_that_the_text_lacks_is_nowhere() -> None:
    score = score_spans([("ab", {"name": ["ab"]}, {"name": ["xy"], "firm": ["xy"]})], SCHEMA)
    assert (score.exact.hits, score.exact.predicted) == (0, 2)
    assert score.schemes["type"].spurious == 2 and score.schemes["type"].missed == 1


def test_near_misses() -> None:
    gold = {"name": ["ab"], "firm": ["cd"]}
    score = score_spans([("ab cd", gold, {"name": ["b"], "firm": ["cd"]})], SCHEMA)
    assert score.schemes["strict"].f1 == 0.5
    assert score.schemes["partial"].f1 == 0.75
    assert score.schemes["type"].f1 == 1.0


def test_seen_and_unseen() -> None:
    data = [
        Answered("ab cd", {"name": ["ab"], "firm": ["cd"]}, {"name": ["ab", "cd"]}),
        Answered("zz", {"name": ["zz"]}, None),
    ]
    scores = evaluate_labels(data, SCHEMA, seen=forms_of([{"name": ["ab", "zz"]}]))
    assert {name: scores["seen"][name] for name in ("hits", "predicted", "gold")} == {
        "hits": 1,
        "predicted": 1,
        "gold": 2,
    }
    assert {name: scores["unseen"][name] for name in ("hits", "predicted", "gold")} == {
        "hits": 0, "predicted": 1, "gold": 1
    }  # fmt: skip
    assert scores["valid"] == scores["schema"] == scores["grounded"] == 0.5 and scores["exact"] == 0
    assert "seen" not in evaluate_labels(data, SCHEMA)


@pytest.mark.parametrize(
    ("answer", "schema", "grounded"),
    [({"name": ["ab"]}, 1, 1), ({"post": ["ab"]}, 0, 1), ({"name": ["x"]}, 1, 0), ({}, 1, 1), (None, 0, 0)],
)
def test_shares(answer: dict[str, list[str]] | None, schema: int, grounded: int) -> None:
    scores = evaluate_labels([Answered("ab", {"name": ["ab"]}, answer)], SCHEMA)
    assert (scores["valid"], scores["schema"], scores["grounded"]) == (answer is not None, schema, grounded)


def resampled(rows: list[tuple[int, int, int]], draws: random.Random) -> float:
    drawn = [draws.choice(rows) for _ in rows]
    hits, predicted, gold = (sum(column) for column in zip(*drawn, strict=True))
    return 2 * hits / (predicted + gold) if predicted + gold else 0.0


def test_the_interval_is_that_of_naive_resampling() -> None:
    draw = random.Random(0)
    data = [(draw.randint(0, 3), draw.randint(3, 5), draw.randint(3, 5)) for _ in range(60)]
    scores = sorted(resampled(data, draw) for _ in range(4000))
    interval = f1_interval(data)
    assert interval.low == pytest.approx(scores[100], abs=0.01)
    assert interval.high == pytest.approx(scores[3900], abs=0.01)
    assert interval == f1_interval(data)
    micro = 2 * sum(row[0] for row in data) / sum(row[1] + row[2] for row in data)
    assert interval.low < micro < interval.high


def test_a_difference_is_paired() -> None:
    """Rows of all kinds, of which one model finds one entity more: small beside the rows' spread, and certain."""
    draw = random.Random(1)
    first = [(draw.randint(0, 9), 10, 10) for _ in range(80)]
    second = [(hits + 1, 10, 10) for hits, _, _ in first]
    found = f1_difference(first, second)
    assert found.value == pytest.approx(0.1) and found.p == 0
    assert found.interval.low == pytest.approx(0.1) and found.interval.high == pytest.approx(0.1)
    same = f1_difference(first, first)
    assert (same.value, same.p) == (0, 1)
    shuffled = [(10 - hits, 10, 10) for hits, _, _ in first]
    assert f1_difference(first, shuffled).p > 0.01
    assert f1_difference([], []).p == 1


def test_counts_of_rows_add_up() -> None:
    pairs = [({"a": ["x", "x"]}, {"a": ["x"]}), ({}, {"b": ["y"]}), ({"a": ["z"]}, None)]
    micro = score_entities(pairs).micro
    assert tuple(map(sum, zip(*counts_of(pairs), strict=True))) == (micro.hits, micro.predicted, micro.gold)


def longest_common(one: str, other: str) -> int:
    if not one or not other:
        return 0
    if one[0] == other[0]:
        return 1 + longest_common(one[1:], other[1:])
    return max(longest_common(one[1:], other), longest_common(one, other[1:]))


@given(st.text("甲乙丙", max_size=7), st.text("甲乙丙", max_size=7))
def test_rouge_l(expected: str, given_text: str) -> None:
    both = len(expected) + len(given_text)
    assert rouge_l(expected, given_text) == pytest.approx(
        2 * longest_common(expected, given_text) / both if both else 1
    )


def test_text() -> None:
    assert rouge_l("The cat sat", "the dog sat") == pytest.approx(2 / 3)
    score = score_text([("a b", " a b "), ("甲乙", "甲")])
    assert score.to_dict() == {"exact_match": 0.5, "rouge_l": pytest.approx((1 + 2 / 3) / 2), "rows": 2}
    assert Counter(score_text([]).to_dict())["rows"] == 0
