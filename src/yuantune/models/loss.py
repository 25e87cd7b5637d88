"""Cross-entropy on supervised tokens only, for any causal language model.

Shape suffixes: B rows, T padded length, K kept positions, S supervised tokens, V vocabulary.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def supervised_loss(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    row_S: torch.Tensor,
    position_S: torch.Tensor,
    label_S: torch.Tensor,
    weight_S: torch.Tensor,
) -> torch.Tensor:
    """The weighted sum of the supervised tokens' cross-entropies, float32 (float64 in a float64 model), a scalar.

    The arguments are a batch's fields: `input_ids` and `attention_mask` BT, the others S. Only positions from the
    first supervised one on are projected to the vocabulary (`logits_to_keep`, where the model has it): a shared
    prompt costs no logits. The caller divides, once, by the supervised tokens of the whole optimizer step; a mean
    here would weigh short micro-batches more."""
    length = input_ids.shape[1]
    if not len(position_S):  # every parameter still takes part, so that ranks of a distributed run stay in step
        keep, first = 1, length - 1
    else:
        first = int(position_S.min())
        keep = length - first
    kept = {"logits_to_keep": keep} if keeps_logits(model) else {}
    output = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **kept)
    logits_BKV = output.logits
    logits_SV = logits_BKV[row_S, position_S - (first if kept else 0)]
    logits_SV = logits_SV if logits_SV.dtype == torch.float64 else logits_SV.float()
    loss_S = F.cross_entropy(logits_SV, label_S, reduction="none")
    return (loss_S * weight_S).sum() + (0.0 * logits_BKV[:, -1:].sum() if not len(position_S) else 0.0)


def keeps_logits(model: PreTrainedModel) -> bool:
    """Whether the model under PEFT and distributed wrappers can project chosen positions only."""
    while True:
        inner = getattr(model, "module", None) or (
            model.get_base_model() if hasattr(model, "get_base_model") else None
        )
        if inner is None or inner is model:
            return "logits_to_keep" in inspect.signature(model.forward).parameters
        model = inner
