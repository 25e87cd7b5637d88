"""`report.html`: the scores of an evaluation and every error in it, in one file that needs no network.

The page is `resources/report.html`; this fills it with data. Texts come from anywhere, so nothing of them is
written as HTML: they are JSON within a script, and the page sets them as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import Any

from yuantune.data.labels import LabelSchema
from yuantune.score.entities import score_entities
from yuantune.score.errors import NOTHING, Judged, RowErrors, confusion, judge
from yuantune.score.evaluation import Answered

MOST_ROWS = 2000
"""Rows with errors that the page holds, the first ones."""
BUCKETS = (25, 50, 100, 200, 400)
"""Borders of text lengths, in characters."""


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A row that was scored: where it stands, and whether its answer came to its end."""

    source: str
    answered: Answered
    raw: str
    finished: bool


def report(
    title: str,
    scores: Mapping[str, Any],
    rows: Sequence[ReportRow],
    schema: LabelSchema,
    *,
    log: Sequence[Mapping[str, Any]] = (),
    language: str = "en",
) -> str:
    """The page. `log` are the lines of the run's log.jsonl; `language` (en, zh) is what it opens in."""
    judged = [judge(row.answered.text, row.answered.gold, row.answered.labels, schema) for row in rows]
    wrong = [(row, errors) for row, errors in zip(rows, judged, strict=True) if not errors.right]
    types = [*schema.types, *dict.fromkeys(kind for kind in scores["per_type"] if kind not in schema.types)]
    data = {
        "title": title,
        "language": language,
        "scores": {name: value for name, value in scores.items() if name != "per_type"},
        "types": [{"name": name, **scores["per_type"][name]} for name in types if name in scores["per_type"]],
        "curve": _curve(log),
        "confusion": _matrix(judged, types),
        "lengths": _lengths(rows),
        "rows": [_row(row, errors) for row, errors in wrong[:MOST_ROWS]],
        "wrong": len(wrong),
    }
    page = (resources.files("yuantune.resources") / "report.html").read_text(encoding="utf-8")
    # Within a script, `</` and `<!--` would end it or change how it is read.
    filled = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")
    return page.replace("/*DATA*/null", filled.replace("\u2029", "\\u2029"))


def _row(row: ReportRow, errors: RowErrors) -> dict[str, Any]:
    return {
        "source": row.source,
        "text": row.answered.text,
        "gold": [_span(each) for each in errors.gold],
        "answered": [_span(each) for each in errors.answered],
        "raw": row.raw if row.answered.labels is None else "",
        "finished": row.finished,
    }


def _span(each: Judged) -> list[Any]:
    return [each.span.kind, each.span.start, each.span.stop, each.fate]


def _curve(log: Sequence[Mapping[str, Any]]) -> dict[str, list[list[float]]]:
    return {name: [[line["step"], line[name]] for line in log if name in line] for name in ("loss", "eval_loss")}


def _matrix(judged: Sequence[RowErrors], types: Sequence[str]) -> dict[str, Any]:
    """Gold types down, answered ones across; the last of each is nothing."""
    counts = confusion(judged)
    names = [*types, NOTHING]
    return {"types": list(types), "counts": [[counts[gold, answered] for answered in names] for gold in names]}


def _lengths(rows: Sequence[ReportRow]) -> list[dict[str, Any]]:
    """F1 of the rows whose texts are so long."""
    found = []
    borders = [0, *BUCKETS, None]
    for low, high in pairwise(borders):
        some = [
            row.answered
            for row in rows
            if (low or 0) <= len(row.answered.text) and (high is None or len(row.answered.text) < high)
        ]
        if some:
            micro = score_entities([(row.gold, row.labels) for row in some]).micro
            found.append({"from": low, "to": high, "rows": len(some), "f1": micro.f1, "gold": micro.gold})
    return found
