"""Runs beside each other: on the same rows only, with the differences that brute force finds."""

from __future__ import annotations

import pytest

from yuantune.errors import DataError
from yuantune.score.compare import Evaluated, compare, markdown
from yuantune.score.entities import score_entities
from yuantune.score.evaluation import Answered


def evaluated(name: str, answers: list[dict[str, list[str]] | None]) -> Evaluated:
    gold = {"a": ["x"], "b": ["y"]}
    return Evaluated(name, {f"f:{i}": Answered("x y", gold, each) for i, each in enumerate(answers, 1)})


WHOLE = {"a": ["x"], "b": ["y"]}
FIRST = evaluated("one", [WHOLE, {"a": ["x"]}, None, WHOLE])
SECOND = evaluated("two", [WHOLE, WHOLE, {"b": ["y"]}, {}])


def test_differences() -> None:
    first, second = compare([FIRST, SECOND])
    scores = [score_entities([(row.gold, row.labels) for row in run.rows.values()]) for run in (FIRST, SECOND)]
    assert [first.score.micro.f1, second.score.micro.f1] == [each.micro.f1 for each in scores]
    assert first.difference is None and (first.better, first.worse) == ([], [])
    assert second.difference is not None
    assert second.difference.value == pytest.approx(scores[1].micro.f1 - scores[0].micro.f1)
    assert (second.better, second.worse) == (["f:2"], ["f:4"])
    assert 0 < second.difference.p <= 1 and second.to_dict()["difference"]["p"] == second.difference.p


def test_a_table_to_paste() -> None:
    lines = markdown(compare([FIRST, SECOND, FIRST])).splitlines()
    assert lines[0] == "| | one | two | one |"
    assert all(line.count("|") == 5 for line in lines)
    assert "| newly right, newly wrong | 0, 0 | 1, 1 | 0, 0 |" in lines
    assert any(line.startswith("| a |") for line in lines) and any(line.startswith("| b |") for line in lines)


def test_other_rows_are_refused() -> None:
    with pytest.raises(DataError, match="1 rows are in one only, such as f:4"):
        compare([FIRST, evaluated("two", [WHOLE, WHOLE, WHOLE])])
    other = evaluated("two", [WHOLE] * 4)
    other.rows["f:2"] = Answered("x y", {"a": ["x"]}, WHOLE)
    with pytest.raises(DataError, match="text or labels of f:2 differ"):
        compare([FIRST, other])
