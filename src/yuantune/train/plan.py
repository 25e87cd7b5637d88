"""Within which memory a run computes its steps: how many tokens at once, and whether activations are kept.

Two things make a step fit. In portions, what its rows share is computed again in each of them; with gradient
checkpointing, every layer is. `gradient_checkpointing: auto` takes what costs less, on the longest rows that a step
can meet, before the first step: the same on a machine at any time, so that a resumed run computes as it did.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yuantune.data.examples import Example, ExampleSet
from yuantune.models.memory import tokens_that_fit
from yuantune.train.grouping import Collator
from yuantune.train.portions import COMPUTED_AGAIN, cut

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """`most_tokens` are computed at once (None: without a bound). `turned_on` says why activations are computed
    again though nobody asked for it; empty where they are kept, or somebody did. `may_turn_on`: they may still be,
    where memory ends."""

    most_tokens: int | None
    checkpointing: bool
    turned_on: str = ""
    may_turn_on: bool = False


def fitting(model: PreTrainedModel, device: torch.device) -> dict[bool, int | None]:
    """Tokens that half of the memory that `device` has beside the model holds, by estimate, without gradient
    checkpointing (False) and with it; `model` is as its method's `apply` leaves it."""
    return {each: tokens_that_fit(model, device=device, checkpointing=each) for each in (False, True)}


def plan_rows(
    asked: bool | str,
    most_tokens: int | None,
    fits: Mapping[bool, int | None],
    rows: list[Example],
    lay_out: Collator,
    *,
    whole: bool = False,
) -> MemoryPlan:
    """The plan of a run whose largest step has `rows`. `most_tokens` are those that the config allows at once, and
    `fits` comes from `fitting`. With `whole`, batches are not cut (several processes)."""
    if asked != "auto":
        return MemoryPlan(most_tokens or fits[bool(asked)], bool(asked))
    kept, again = fits[False], fits[True]
    if kept is None or again is None:
        return MemoryPlan(most_tokens, False)
    if whole:
        return plan_tokens(asked, lay_out(rows)["input_ids"].numel(), fits)
    cost = _cost(rows, lay_out, most_tokens, kept)
    if cost < math.inf and cost <= COMPUTED_AGAIN * _cost(rows, lay_out, most_tokens, again):
        return MemoryPlan(most_tokens or kept, False, may_turn_on=True)
    return MemoryPlan(most_tokens or again, True, turned_on=_reason(kept))


def _cost(rows: list[Example], lay_out: Collator, most_tokens: int | None, fit: int) -> float:
    """Tokens that are computed in portions of so many, infinite where a row of them does not fit."""
    sizes = [part["input_ids"].numel() for part in cut(rows, lay_out, min(fit, most_tokens or fit))]
    return sum(sizes) if max(sizes) <= fit else math.inf


def plan_tokens(asked: bool | str, tokens: int, fits: Mapping[bool, int | None]) -> MemoryPlan:
    """The plan of a run whose batches all have `tokens` and are not cut."""
    if asked != "auto":
        return MemoryPlan(None, bool(asked))
    kept = fits[False]
    if kept is None or tokens <= kept:
        return MemoryPlan(None, False)
    return MemoryPlan(None, True, turned_on=_reason(kept))


def _reason(kept: int) -> str:
    return (
        "gradient checkpointing is on: without it, half of the memory beside the model holds about "
        f"{kept:,} tokens of a step (`train.gradient_checkpointing: false` turns it off)"
    )


def longest(examples: ExampleSet, count: int) -> list[Example]:
    """The `count` longest examples."""
    lengths = examples.lengths
    return [examples[at] for at in heapq.nlargest(count, range(len(lengths)), key=lengths.__getitem__)]
