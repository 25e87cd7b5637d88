"""The report holds what was scored, whatever the texts hold; each entity is judged once."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from yuantune.data.labels import LabelSchema
from yuantune.score.errors import NOTHING, confusion, judge
from yuantune.score.evaluation import Answered, evaluate_labels
from yuantune.score.report import ReportRow, report

SCHEMA = LabelSchema(("name", "firm"))
labels = st.dictionaries(
    st.sampled_from(SCHEMA.types), st.lists(st.sampled_from(["ab", "abc", "c", "cd", "zz"]), max_size=3), max_size=2
)


@given(st.text("abcd ", max_size=14), labels, st.none() | labels)
def test_every_entity_is_judged_once(
    text: str, gold: dict[str, list[str]], answer: dict[str, list[str]] | None
) -> None:
    row = judge(text, gold, answer, SCHEMA)
    theirs, mine = (Counter((each.span.kind, each.fate) for each in side) for side in (row.gold, row.answered))
    assert sum(theirs.values()) == sum(map(len, gold.values()))
    assert sum(mine.values()) == sum(map(len, (answer or {}).values()))
    for fate in ("right", "type", "boundary"):  # They come in pairs.
        assert sum(n for (_, each), n in theirs.items() if each == fate) == sum(
            n for (_, each), n in mine.items() if each == fate
        )
    spans = [Counter(each.span for each in side) for side in (row.gold, row.answered)]
    right = Counter(each.span for each in row.gold if each.fate == "right")
    assert right == Counter(each.span for each in row.answered if each.fate == "right") == spans[0] & spans[1]
    counts = confusion([row])
    for kind in SCHEMA.types:
        assert sum(n for (one, _), n in counts.items() if one == kind) == len(gold.get(kind, []))
        assert sum(n for (_, other), n in counts.items() if other == kind) == len((answer or {}).get(kind, []))
    assert counts[NOTHING, NOTHING] == 0
    assert row.right == (spans[0] == spans[1])


def test_kinds_of_errors() -> None:
    row = judge("ab cd zz ab", {"name": ["ab", "cd"]}, {"name": ["a"], "firm": ["cd", "zz"]}, SCHEMA)
    assert [each.fate for each in row.gold] == ["boundary", "type"]
    assert [each.fate for each in row.answered] == ["boundary", "type", "spurious"]
    assert confusion([row]) == {("name", "name"): 1, ("name", "firm"): 1, (NOTHING, "firm"): 1}


HOSTILE = "</script><script>alert(1)</script><!-- \u2028 😀 & \" ' \\"


def page(rows: list[Answered], **options: Any) -> tuple[str, dict[str, Any]]:
    scores = evaluate_labels(rows, SCHEMA)
    shown = [ReportRow(f"f:{i}", row, "raw " + HOSTILE, True) for i, row in enumerate(rows, 1)]
    html = report("run " + HOSTILE, scores, shown, SCHEMA, **options)
    found = re.search(r"const data = (\{.*\});\nconst words", html)
    assert found is not None
    return html, json.loads(found[1])


def test_the_page_holds_the_scores_and_the_errors() -> None:
    rows = [
        Answered("ab cd", {"name": ["ab"]}, {"name": ["ab"]}),
        Answered("ab cd" * 12, {"name": ["ab"]}, {"firm": ["ab"]}),
        Answered(HOSTILE, {"name": ["alert"]}, None),
    ]
    log = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"step": 2, "eval_loss": 1.5}]
    html, data = page(rows, log=log, language="zh")
    assert html.count("<script") == 1 and html.count("</script>") == 1 and "<!--" not in html
    assert not re.search(r"(?:src|href|url)\s*[=(]", html)  # No network.
    assert data["title"].endswith(HOSTILE) and data["language"] == "zh"
    assert (data["wrong"], [row["source"] for row in data["rows"]]) == (2, ["f:2", "f:3"])
    assert data["rows"][0]["answered"] == [["firm", 0, 2, "type"]]
    assert data["rows"][1]["text"] == HOSTILE and data["rows"][1]["raw"].endswith(HOSTILE)
    assert data["rows"][1]["gold"] == [["name", HOSTILE.index("alert"), HOSTILE.index("alert") + 5, "missed"]]
    assert data["curve"] == {"loss": [[1, 2.0], [2, 1.0]], "eval_loss": [[2, 1.5]]}
    assert data["confusion"]["counts"] == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert [(each["from"], each["to"], each["rows"]) for each in data["lengths"]] == [(0, 25, 1), (50, 100, 2)]
    assert data["scores"]["micro"]["hits"] == 1 and [each["name"] for each in data["types"]] == ["name", "firm"]


def test_a_page_without_errors() -> None:
    _, data = page([Answered("ab", {"name": ["ab"]}, {"name": ["ab"]})])
    assert data["wrong"] == 0 and data["rows"] == [] and data["language"] == "en"
