"""Scores of free text: exact match and ROUGE-L of what was answered, accuracy and perplexity of what was expected.

ROUGE-L: the longest common subsequence of two answers, as F1 of its share in each. Units are words of letters and
digits, and every other character, so Chinese is compared character by character. Source: Lin, "ROUGE: A Package for
Automatic Evaluation of Summaries" (2004).

Token accuracy is the share of the expected answers' tokens that the model finds the likeliest behind the expected
ones before them; perplexity is e to the mean of their negative logarithms. Both weigh tokens, not rows, and compare
models of one tokenizer only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_UNIT = re.compile(r"[A-Za-z0-9]+|\S")


@dataclass(frozen=True, slots=True)
class TextScore:
    """Means over rows: answers that are the expected ones (white space around them aside), and their ROUGE-L."""

    exact: float
    rouge_l: float
    rows: int

    def to_dict(self) -> dict[str, float | int]:
        """Everything, for JSON."""
        return {"exact_match": self.exact, "rouge_l": self.rouge_l, "rows": self.rows}


def score_text(pairs: Iterable[tuple[str, str]]) -> TextScore:
    """Score pairs of an expected answer and a given one."""
    rows, exact, total = 0, 0, 0.0
    for expected, given in pairs:
        rows += 1
        exact += expected.strip() == given.strip()
        total += rouge_l(expected, given)
    return TextScore(exact / max(rows, 1), total / max(rows, 1), rows)


def score_tokens(answers: Iterable[tuple[int, int, float]]) -> dict[str, float | int]:
    """Scores of expected answers, for JSON: of each, its tokens, how many of them are the likeliest, and the sum of
    their negative logarithms in nats. No scores where there is no token."""
    rows = list(answers)
    tokens, right, nats = (sum(column) for column in zip(*rows, strict=True)) if rows else (0, 0, 0.0)
    if not tokens:
        return {"answer_tokens": 0}
    # Beyond what a float holds, a perplexity says no more than "never".
    perplexity = math.exp(min(nats / tokens, 700.0))
    return {"token_accuracy": right / tokens, "perplexity": perplexity, "answer_tokens": int(tokens)}


def rouge_l(expected: str, given: str) -> float:
    """From 0 to 1; 1 for two empty texts."""
    theirs, mine = (_UNIT.findall(text.lower()) for text in (expected, given))
    if not theirs and not mine:
        return 1.0
    return 2 * _common(theirs, mine) / (len(theirs) + len(mine))


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    above = [0] * (len(other) + 1)
    for unit in one:
        row = [0]
        for at, candidate in enumerate(other):
            row.append(above[at] + 1 if unit == candidate else max(above[at + 1], row[at]))
        above = row
    return above[-1]
