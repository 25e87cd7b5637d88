"""What the trials of a sweep came to: each one's evaluations and budget, who is ahead, and the tables of it.

A trial's score is its best evaluation, as it is for the run itself, which keeps the checkpoint of that one. A trial
that goes on can therefore not fall behind one that was stopped when it was ahead of it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from yuantune.data.strict_json import parse_json
from yuantune.data.writing import write_text
from yuantune.errors import RunError

LEADERBOARD = "leaderboard"
State = Literal["waiting", "paused", "stopped", "finished", "failed"]


@dataclass(frozen=True, slots=True)
class Score:
    """One evaluation: after which step, the score (None where there was none), the loss in nats a token."""

    step: int
    score: float | None
    loss: float


@dataclass(slots=True)
class Standing:
    """One trial so far. `rows` and `steps` are what it has learnt from, `seconds` all the time that it took, `rung`
    the one that it was stopped at, from 1, and `reason` why it has no result."""

    trial: int
    options: dict[str, Any]
    metric: str = ""
    state: State = "waiting"
    evaluations: list[Score] = field(default_factory=list)
    steps: int = 0
    rows: int = 0
    seconds: float = 0.0
    rung: int = 0
    reason: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing will become of it any more."""
        return self.state in ("stopped", "finished", "failed")

    def best(self, evaluations: int | None = None) -> Score | None:
        """The best of its first `evaluations` (None: of all); of equals the first."""
        scored = [each for each in self.evaluations[:evaluations] if each.score is not None]
        return min(scored, key=lambda each: _worse(each, self.metric), default=None)

    def save(self, path: Path) -> None:
        """Write it as JSON, whole. Raises DiskFailed where the disk refuses."""
        write_text(path, json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n")


def read_standing(path: Path) -> Standing:
    """What `Standing.save` wrote. Raises RunError where it is damaged."""
    try:
        tree = parse_json(path.read_text(encoding="utf-8"))
        return Standing(**{**tree, "evaluations": [Score(**each) for each in tree["evaluations"]]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = f"remove it, and {path.with_suffix('')}: the trial is then trained anew"
        raise RunError(f"{path} is damaged", hint=hint) from error


def _worse(score: Score, metric: str) -> float:
    if score.score is None or not math.isfinite(score.score):
        return math.inf
    return score.score if metric == "loss" else -score.score


def ranked(standings: Sequence[Standing], evaluations: int | None = None) -> list[Standing]:
    """Those that have a score and have not failed, the best first, by their first `evaluations`. Of equals that one
    is ahead which got further in the halving, then that of the lower loss, then the first."""

    def order(each: Standing) -> tuple[float, float, float, int]:
        best = each.best(evaluations)
        assert best is not None
        return _worse(best, each.metric), -(each.rung or math.inf), best.loss, each.trial

    return sorted((each for each in standings if each.state != "failed" and each.best(evaluations)), key=order)


def in_order(standings: Sequence[Standing]) -> list[Standing]:
    """All of them: the ranked ones, then the others by their number."""
    first = ranked(standings)
    return [*first, *(each for each in standings if each not in first)]


def rows_of(standings: Sequence[Standing], names: Sequence[str]) -> list[dict[str, Any]]:
    """A row each, the best first, with the options `names`; None where there is no value."""
    count = len(ranked(standings))
    rows: list[dict[str, Any]] = []
    for place, each in enumerate(in_order(standings), 1):
        best = each.best() if place <= count else None
        rows.append(
            {
                "rank": place if place <= count else None,
                "trial": each.trial,
                **{name: each.options.get(name) for name in names},
                "metric": each.metric or None,
                "score": _finite(best.score) if best else None,
                "loss": _finite(best.loss) if best else None,
                "step": best.step if best else None,
                "steps": each.steps,
                "rows": each.rows,
                "seconds": round(each.seconds, 1),
                "state": f"stopped at rung {each.rung}" if each.state == "stopped" else each.state,
                "reason": each.reason,
            }
        )
    return rows


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def save_tables(standings: Sequence[Standing], names: Sequence[str], folder: Path) -> None:
    """Write `leaderboard.json` and `leaderboard.csv`. Raises DiskFailed where the disk refuses."""
    rows = rows_of(standings, names)
    write_text(folder / f"{LEADERBOARD}.json", json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / f"{LEADERBOARD}.csv", text.getvalue())
