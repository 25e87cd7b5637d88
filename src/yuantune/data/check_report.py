"""What the check of a data set found: findings row by row, and totals."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from yuantune.data.record import Source
from yuantune.errors import DataError, Problem

KEPT = 1000
"""Findings of one kind that are kept; the rest is counted."""

KINDS = {
    "unreadable": "rows that cannot be read",
    "empty": "nothing to learn from",
    "no-answer": "rows without an answer",
    "template": "rows that do not fit the template",
    "overflow": "rows longer than max_length",
    "invalid-json": "answers that are not labels as JSON",
    "unknown-label": "label types outside the schema",
    "shortened": "rows whose text was cut to fit",
    "cut-away": "labels whose string was cut away",
    "not-in-text": "labels whose string the text lacks",
    "not-canonical": "answers not in canonical form",
    "conflict": "equal texts with different answers",
    "duplicate": "duplicate rows",
    "overlap": "evaluation texts that are also training texts",
    "empty-text": "rows with an empty text",
    "empty-answer": "rows with an empty answer",
    "unused-instruction": "instructions that the template leaves out",
}
"""Every kind of finding, in the order of the report."""

_WAYS_OUT = {
    "no-answer": "Give these rows an answer, or remove them. Answers are read from labels (in a table: JSON, "
    '{"type": ["string"]}), output and messages; other columns are passed over.',
    "invalid-json": 'An answer is a JSON object from type to strings: {"type": ["string"]}.',
    "unknown-label": "Correct the type, or add it to the template's labels.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about one row. An error stops training: the row would be lost, or teach something wrong."""

    kind: str
    severity: Literal["error", "warning"]
    where: str
    detail: str


@dataclass
class CheckReport:
    """Findings and totals of one data set. Token counts are of the rows as they are learnt: after shortening,
    without the dropped ones; a row too long for max_length counts with its full length."""

    role: str
    template: str
    max_length: int
    rows: int = 0
    examples: int = 0
    dropped: int = 0
    shortened: int = 0
    no_entity: int = 0
    """Rows whose labels are empty: a lawful answer."""
    shared_prefix: int = 0
    """Tokens with which every prompt begins."""
    text_characters: int = 0
    text_tokens: int = 0
    unknown_tokens: int = 0
    """Tokens of the records' own text that stand for characters the tokenizer does not know."""
    byte_tokens: int = 0
    """Tokens of the records' own text that are single bytes of a character without a token (line breaks apart)."""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Findings by kind and severity, those not kept included."""
    findings: list[Finding] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    prompt_lengths: array[int] = field(default_factory=lambda: array("i"), repr=False)
    answer_lengths: array[int] = field(default_factory=lambda: array("i"), repr=False)
    total_lengths: array[int] = field(default_factory=lambda: array("i"), repr=False)
    seen: dict[int, tuple[int, Source]] = field(default_factory=dict, repr=False)
    """Hash of a row's question to the hash of its answer and its source (hashes hold in this process only)."""

    def add(self, kind: str, severity: Literal["error", "warning"], where: object, detail: str) -> None:
        """Count a finding, and keep it while there are fewer than `KEPT` of its kind."""
        if self.counts[kind, severity] < KEPT:
            self.findings.append(Finding(kind, severity, str(where), detail))
        self.counts[kind, severity] += 1

    def number(self, severity: Literal["error", "warning"]) -> int:
        """How many findings of a severity there are."""
        return sum(count for (_, each), count in self.counts.items() if each == severity)

    @property
    def supervised_tokens(self) -> int:
        """Tokens that carry loss in one pass over the data."""
        return sum(self.answer_lengths)

    @property
    def shared_share(self) -> float:
        """Share of all prompt tokens that every row has in common from the start."""
        total = sum(self.prompt_lengths)
        return self.shared_prefix * len(self.prompt_lengths) / total if total else 0.0

    def raise_for_errors(self) -> None:
        """Raise DataError with every row that would be lost or is wrong, and the ways out."""
        raise_for_errors(self)

    def problems(self) -> list[Problem]:
        """The errors, a last line for those not kept."""
        problems = [Problem(each.where, each.detail) for each in self.findings if each.severity == "error"]
        if more := self.number("error") - len(problems):
            problems.append(Problem("", f"and {more} more"))
        return problems

    def ways_out(self) -> list[str]:
        """What can be done about the errors."""
        hints = list(self.hints)
        if self.counts["overflow", "error"]:
            hints.append(
                f"Raise data.max_length to {max(self.total_lengths)}, or set data.on_overflow to drop (leaves such"
                " rows out) or shorten-input (cuts their text, never the answer)."
            )
        return [*hints, *(way for kind, way in _WAYS_OUT.items() if self.counts[kind, "error"])]

    def summary(self) -> str:
        """One line for the terminal."""
        longest = max(self.total_lengths, default=0)
        parts = [
            f"{self.examples} examples of {self.rows} rows",
            f"{sum(self.total_lengths):,} tokens, {self.supervised_tokens:,} of them supervised",
            f"longest {longest} (max_length {self.max_length})",
            f"{self.shared_share:.0%} of prompt tokens shared",
        ]
        parts += [f"{KINDS[kind]}: {count}" for (kind, _), count in sorted(self.counts.items())]
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """For `--json` and `check.json`."""
        lengths = {
            "prompt": distribution(self.prompt_lengths),
            "answer": distribution(self.answer_lengths),
            "total": distribution(self.total_lengths),
        }
        return {
            "role": self.role,
            "template": self.template,
            "max_length": self.max_length,
            "rows": self.rows,
            "examples": self.examples,
            "dropped": self.dropped,
            "shortened": self.shortened,
            "no_entity": self.no_entity,
            "tokens": lengths,
            "supervised_tokens": self.supervised_tokens,
            "shared_prefix": self.shared_prefix,
            "shared_share": round(self.shared_share, 4),
            "characters_per_token": _ratio(self.text_characters, self.text_tokens),
            "unknown_share": _ratio(self.unknown_tokens, self.text_tokens),
            "byte_share": _ratio(self.byte_tokens, self.text_tokens),
            "errors": self.number("error"),
            "warnings": self.number("warning"),
            "counts": {
                kind: sum(count for (each, _), count in self.counts.items() if each == kind)
                for kind in KINDS
                if any(each == kind for each, _ in self.counts)
            },
            "findings": [
                {"kind": each.kind, "severity": each.severity, "where": each.where, "detail": each.detail}
                for each in self.findings
            ],
        }


def raise_for_errors(*reports: CheckReport) -> None:
    """Raise one DataError with every row of the reports that would be lost or is wrong, and the ways out."""
    counts = []
    for report in reports:
        if errors := report.number("error"):
            name = {"train": "training", "eval": "evaluation"}.get(report.role, report.role)
            counts.append(f"{errors} problem{'s' if errors > 1 else ''} in the {name} data")
    if counts:
        raise DataError(
            ", ".join(counts),
            problems=[problem for report in reports for problem in report.problems()],
            hint="\n".join(dict.fromkeys(way for report in reports for way in report.ways_out())),
        )


def distribution(lengths: array[int]) -> dict[str, int | float]:
    """Smallest, median, 95th percentile (nearest rank), largest and sum of token counts; `{}` for none."""
    ordered = sorted(lengths)
    if not ordered:
        return {}
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return {
        "min": ordered[0],
        "median": median,
        "p95": ordered[math.ceil(0.95 * len(ordered)) - 1],
        "max": ordered[-1],
        "sum": sum(ordered),
    }


def _ratio(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
