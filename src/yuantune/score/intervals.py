"""How far a score may be chance: bootstrap intervals over rows.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993): percentiles of the score over rows drawn
with replacement, as many as there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """The middle 95 % of the resampled scores."""

    low: float
    high: float

    def to_list(self) -> list[float]:
        """For JSON."""
        return [self.low, self.high]


Row = tuple[int, int, int]
"""Of one row: hits, predicted and gold entities."""


def f1_interval(rows: Sequence[Row], seed: int = 0) -> Interval:
    """Of the micro F1. The same rows and seed give the same interval."""
    if not rows:
        return Interval(0.0, 0.0)
    return _interval(_f1(_resampled(rows, _draws(len(rows), seed))))


@dataclass(frozen=True, slots=True)
class Difference:
    """How two models' micro F1 differ on the same rows: the second less the first. `p` is how often, two-sided, a
    resampled difference has the other sign."""

    value: float
    interval: Interval
    p: float


def f1_difference(first: Sequence[Row], second: Sequence[Row], seed: int = 0) -> Difference:
    """Paired bootstrap: both models are scored on the same resampled rows. Source: Berg-Kirkpatrick et al., "An
    Empirical Investigation of Statistical Significance in NLP" (2012)."""
    assert len(first) == len(second)
    if not first:
        return Difference(0.0, Interval(0.0, 0.0), 1.0)
    counts = _draws(len(first), seed)
    gaps = _f1(_resampled(second, counts)) - _f1(_resampled(first, counts))
    whole = np.ones((1, len(first)))
    value = float((_f1(_resampled(second, whole)) - _f1(_resampled(first, whole)))[0])
    p = min(1.0, 2 * min(float((gaps <= 0).mean()), float((gaps >= 0).mean())))
    return Difference(value, _interval(gaps), p)


def _draws(rows: int, seed: int) -> NDArray[np.float64]:
    """How often each row is drawn in each resample, [RESAMPLES, rows]."""
    random = np.random.default_rng(seed)
    return random.multinomial(rows, np.full(rows, 1 / rows), size=RESAMPLES).astype(np.float64)


def _resampled(rows: Sequence[Row], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    sums: NDArray[np.float64] = counts @ np.asarray(rows, dtype=np.float64)
    return sums


def _f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    both = sums[:, 1] + sums[:, 2]
    return np.divide(2 * sums[:, 0], both, out=np.zeros_like(both), where=both > 0)


def _interval(values: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(float(low), float(high))
