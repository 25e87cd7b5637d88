"""Prefix groups or padded rows: what a run's batches are, decided before the first step and never during it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from yuantune.batch.collate import collate
from yuantune.batch.layout import lay_out
from yuantune.data.examples import Example, ExampleSet
from yuantune.errors import ModelError
from yuantune.models.grouped import grouped, obstacle_of
from yuantune.models.loss import supervised_loss
from yuantune.models.probe import ROUNDING, inner, trial
from yuantune.models.virtual import root_of, virtual_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Collator = Callable[[Sequence[Example]], Any]


def choose_collator(
    model: PreTrainedModel,
    sets: Sequence[ExampleSet],
    *,
    how: str,
    pad_id: int,
    autocast: torch.dtype | None = None,
) -> tuple[Collator, str | None]:
    """The collator of a run, and why it pads where prefix groups were wanted (None: it groups, or was told not to).

    `how` is `data.shared_prefixes`, `autocast` the type to which training lowers products. Before groups are
    chosen, the loss of two rows is computed both ways. Raises ModelError where `how` is on and the model cannot."""
    padded = functools.partial(collate, pad_id=pad_id)
    if how == "off":
        return padded, None
    bare = inner(model)
    longest = max(length for each in sets for length in each.lengths)
    why = obstacle_of(bare, longest + virtual_tokens(model)) or _differs(model, list(sets[0][:2]), padded, autocast)
    if why is None:
        return lay_out, None
    if how == "on":
        raise ModelError(
            f"data.shared_prefixes: {type(bare).__name__} cannot compute a shared prompt once: {why}",
            hint="say `data.shared_prefixes: auto` to train it on padded rows",
        )
    return padded, why


def may_checkpoint(model: PreTrainedModel, collator: Collator) -> bool:
    """Whether gradient checkpointing leaves what is learnt as it is: a prefix's keys and values before padded rows
    lie in a cache, which it drops."""
    root = root_of(model)
    return collator is lay_out or root is None or root.keys_values is None


def _differs(
    model: PreTrainedModel, examples: list[Example], padded: Collator, autocast: torch.dtype | None
) -> str | None:
    """How the loss of examples in groups differs from that in padded rows, None where it does not."""
    device, dtype = next(inner(model).parameters()).device, autocast or next(inner(model).parameters()).dtype
    try:
        with trial(model), torch.autocast(device.type, autocast, enabled=autocast is not None):
            expected = _loss(model, padded(examples), device)
            with grouped(inner(model)):
                found = _loss(model, lay_out(examples, least=1), device)
    except (TypeError, ValueError, RuntimeError, ModelError) as error:
        return f"a trial failed ({next(iter(str(error).splitlines()), type(error).__name__)})"
    if abs(found - expected) <= ROUNDING.get(dtype, 1e-3) * max(abs(expected), 1.0):
        return None
    return f"the loss of two rows is {found:.6g} so, and {expected:.6g} in padded rows"


def _loss(model: PreTrainedModel, batch: Any, device: torch.device) -> float:
    return float(supervised_loss(model, **{name: each.to(device) for name, each in batch.items()}))
