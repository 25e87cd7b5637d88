"""Several evaluations of the same rows beside each other: what differs, and whether it may be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from yuantune.errors import DataError
from yuantune.score.entities import EntityScore, score_entities
from yuantune.score.evaluation import Answered, counts_of
from yuantune.score.intervals import Difference, Interval, f1_difference, f1_interval


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One run's answers: rows by their source."""

    name: str
    rows: dict[str, Answered]


@dataclass(frozen=True, slots=True)
class Compared:
    """One run beside the first: its scores; how its F1 differs (None for the first itself); sources of rows that
    only it has right (`better`), and that only the first has (`worse`)."""

    name: str
    score: EntityScore
    interval: Interval
    difference: Difference | None
    better: list[str]
    worse: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        gap = self.difference
        return {
            "name": self.name,
            "micro": {**self.score.micro.to_dict(), "interval": self.interval.to_list()},
            "macro": {"f1": self.score.macro_f1},
            "per_type": {kind: counts.to_dict() for kind, counts in self.score.per_type.items()},
            "exact": self.score.exact,
            "difference": gap and {"f1": gap.value, "interval": gap.interval.to_list(), "p": gap.p},
            "better": self.better,
            "worse": self.worse,
        }


def compare(runs: Sequence[Evaluated]) -> list[Compared]:
    """Each run beside the first. Raises DataError where they were not scored on the same rows and labels."""
    first = runs[0]
    for run in runs[1:]:
        if differing := _differing(first, run):
            raise DataError(
                f"{first.name} and {run.name} were not scored on the same rows: {differing}",
                hint="score both on one file: `yuantune eval RUN --data FILE`",
            )
    sources = list(first.rows)
    pairs = {run.name: [(run.rows[each].gold, run.rows[each].labels) for each in sources] for run in runs}
    counts = {name: counts_of(each) for name, each in pairs.items()}
    right = {
        name: {source for source, (gold, labels) in zip(sources, each, strict=True) if _right(gold, labels)}
        for name, each in pairs.items()
    }
    return [
        Compared(
            run.name,
            score_entities(pairs[run.name]),
            f1_interval(counts[run.name]),
            None if run is first else f1_difference(counts[first.name], counts[run.name]),
            [each for each in sources if each in right[run.name] - right[first.name]],
            [each for each in sources if each in right[first.name] - right[run.name]],
        )
        for run in runs
    ]


def _differing(one: Evaluated, other: Evaluated) -> str:
    if missing := sorted(one.rows.keys() ^ other.rows.keys()):
        return f"{len(missing)} rows are in one only, such as {missing[0]}"
    changed = [
        each
        for each, row in one.rows.items()
        if (row.text, row.gold) != (other.rows[each].text, other.rows[each].gold)
    ]
    return f"text or labels of {changed[0]} differ" if changed else ""


def _right(gold: Any, labels: Any) -> bool:
    return score_entities([(gold, labels)]).exact == 1


def markdown(compared: Sequence[Compared]) -> str:
    """A table that can be pasted: F1 by type, and the difference to the first."""
    types = list(dict.fromkeys(kind for each in compared for kind in each.score.per_type))
    lines = ["| | " + " | ".join(each.name for each in compared) + " |", "| --- |" + " ---: |" * len(compared)]

    def row(name: str, cells: list[str]) -> None:
        lines.append(f"| {name} | " + " | ".join(cells) + " |")

    row("micro F1", [_percent(each.score.micro.f1) for each in compared])
    row("95 %", [f"{_percent(each.interval.low)} to {_percent(each.interval.high)}" for each in compared])
    row("difference", [_gap(each.difference) for each in compared])
    row("p, paired bootstrap", ["" if each.difference is None else f"{each.difference.p:.3f}" for each in compared])
    row("macro F1", [_percent(each.score.macro_f1) for each in compared])
    row("rows right", [f"{each.score.exact}/{each.score.rows}" for each in compared])
    row("newly right, newly wrong", [f"{len(each.better)}, {len(each.worse)}" for each in compared])
    for kind in types:
        counts = [each.score.per_type.get(kind) for each in compared]
        row(kind, ["" if each is None else _percent(each.f1) for each in counts])
    return "\n".join(lines)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _gap(gap: Difference | None) -> str:
    if gap is None:
        return ""
    return f"{100 * gap.value:+.1f} ({100 * gap.interval.low:+.1f} to {100 * gap.interval.high:+.1f})"
