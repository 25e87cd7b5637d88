"""Cross-entropy on supervised tokens only, for any causal language model.

Shape suffixes: B rows, T padded length, K kept positions, S supervised tokens, C of them in a chunk, D hidden size,
V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn import functional as F

from yuantune.models.probe import accepts, inner, instead_of, trial

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from yuantune.models.grouped import Layout

CHUNK_TOKENS = 256
"""About how many tokens' logits exist at once, at least: with fewer, adding up the head's gradient would cost more
than they."""
CHUNK_LOGITS = {"cpu": 2**21, "cuda": 2**25}
"""Logits that exist at once, about: what stays in a CPU's cache (a fifth faster than all of 4,096 tokens by 8,192
pieces), and what keeps a GPU busy."""


def supervised_loss(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    row_S: torch.Tensor,
    position_S: torch.Tensor,
    label_S: torch.Tensor,
    weight_S: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    position_ids: torch.Tensor | None = None,
    parents: torch.Tensor | None = None,
    layout: Layout | None = None,
) -> torch.Tensor:
    """The weighted sum of the supervised tokens' cross-entropies, float32 (float64 in a float64 model), a scalar.

    The arguments are a batch's fields: `input_ids` BT with `attention_mask` BT (padded rows), or `position_ids` BT
    (packed rows: they restart with each document), or, of one row of prefix groups, `position_ids`, `parents` and
    `layout` (within `grouped.grouped`); the others S. The caller divides, once, by the supervised tokens
    of the whole optimizer step; a mean here would weigh short micro-batches more.

    Where the head is a plain linear layer, only the supervised tokens reach it, and the logits are made a chunk
    at a time (`ChunkedCrossEntropy`). Else positions from the first supervised one on are projected
    (`logits_to_keep`, where the model has it): a shared prompt costs no logits."""
    place: dict[str, Any] = (
        {"attention_mask": attention_mask} if position_ids is None else {"position_ids": position_ids}
    )
    if layout is not None:
        place["layout"] = layout
        if accepts(model, "parents"):
            place["parents"] = parents
    head = plain_head(model)
    if head is not None and len(position_S):
        with instead_of(head, lambda hidden: hidden):  # The model itself is called: wrappers stand around it.
            hidden_BTD = model(input_ids=input_ids, use_cache=False, **place).logits
        hidden_SD = hidden_BTD[row_S, position_S]
        if not torch.is_autocast_enabled(hidden_SD.device.type):
            hidden_SD = hidden_SD.to(head.weight.dtype)  # What a model's forward widens for the caller.
        learning = torch.is_grad_enabled()
        loss: torch.Tensor = ChunkedCrossEntropy.apply(
            hidden_SD, head.weight, head.bias, label_S, weight_S, learning
        )
        return loss
    return _loss_of_logits(model, input_ids, place, row_S, position_S, label_S, weight_S)


def _loss_of_logits(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    place: dict[str, Any],
    row_S: torch.Tensor,
    position_S: torch.Tensor,
    label_S: torch.Tensor,
    weight_S: torch.Tensor,
) -> torch.Tensor:
    """The loss by the model's own logits, from the first supervised position on where it can leave out others."""
    length = input_ids.shape[1]
    if not len(position_S):  # every parameter still takes part, so that ranks of a distributed run stay in step
        keep, first = 1, length - 1
    else:
        first = int(position_S.min())
        keep = length - first
    kept: dict[str, Any] = {"logits_to_keep": keep} if accepts(model, "logits_to_keep") else {}
    if kept and "layout" in place and len(position_S):  # One row: its supervised tokens can be named.
        kept = {"logits_to_keep": position_S}
        position_S = first + torch.arange(len(position_S), device=position_S.device)
    logits_BKV = model(input_ids=input_ids, use_cache=False, **place, **kept).logits
    logits_SV = logits_BKV[row_S, position_S - (first if kept else 0)]
    loss_S = F.cross_entropy(_wide(logits_SV), label_S, reduction="none")
    return (loss_S * weight_S).sum() + (0.0 * logits_BKV[:, -1:].sum() if not len(position_S) else 0.0)


# ------------------------------------------------------------------------------------------------------ in chunks


class ChunkedCrossEntropy(torch.autograd.Function):
    """`sum(weight · cross_entropy(linear(hidden), label))`, a chunk of logits at a time.

    The gradient is taken chunk by chunk in the forward pass, while the logits are there: as many products as the
    plain loss, and nothing is computed twice. Source: Hsu et al., "Liger Kernel: Efficient Triton Kernels for LLM
    Training" (arXiv:2410.10989), section 3.2."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_SD: torch.Tensor,
        head_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        label_S: torch.Tensor,
        weight_S: torch.Tensor,
        learning: bool,
    ) -> torch.Tensor:
        """A scalar, as wide as the logits are made for the softmax."""
        wanted = [learning and needed for needed in ctx.needs_input_grad[:3]]
        inputs = (hidden_SD, head_VD, bias_V)
        grads = [
            torch.zeros_like(each, dtype=torch.promote_types(each.dtype, torch.float32))
            if want and each is not None
            else None
            for each, want in zip(inputs, wanted, strict=True)
        ]
        total = torch.zeros((), device=hidden_SD.device, dtype=torch.promote_types(hidden_SD.dtype, torch.float32))
        most = max(CHUNK_TOKENS, CHUNK_LOGITS.get(head_VD.device.type, 2**25) // len(head_VD))
        # As many chunks as come nearest, of one size: a small one would read the whole head for little.
        size = max(-(-len(label_S) // max(round(len(label_S) / most), 1)), 1)
        for start in range(0, len(label_S), size):
            chunk = slice(start, start + size)
            hidden_CD, label_C1, weight_C1 = hidden_SD[chunk], label_S[chunk, None], weight_S[chunk, None]
            logits_CV = F.linear(hidden_CD, head_VD, bias_V)
            log_CV = F.log_softmax(_wide(logits_CV), -1)
            total -= (log_CV.gather(1, label_C1) * weight_C1).sum()
            if not any(wanted):
                continue
            slope_CV = log_CV.exp_().mul_(weight_C1).scatter_add_(1, label_C1, -weight_C1.to(log_CV.dtype))
            slope_CV = slope_CV.to(logits_CV.dtype)
            if grads[0] is not None:
                grads[0][chunk] = slope_CV @ head_VD
            if grads[1] is not None:
                _add_product(grads[1], slope_CV.T, hidden_CD)
            if grads[2] is not None:
                grads[2] += slope_CV.sum(0)
        ctx.save_for_backward(*(None if grad is None else grad.to(hidden_SD.dtype) for grad in grads))
        return total

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> Any:
        """Scale what the forward pass has found."""
        hidden_SD, head_VD, bias_V = (
            None if grad is None else grad * slope.to(grad.dtype) for grad in ctx.saved_tensors
        )
        return hidden_SD, head_VD, bias_V, None, None, None


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """`total += left @ right`, without a product beside it where one type is enough."""
    if total.dtype == left.dtype == right.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def plain_head(model: PreTrainedModel) -> nn.Linear | None:
    """The model's head, where its logits are this linear layer's output and nothing else; None where they are
    scaled or capped afterwards, the layer is wrapped by an adapter, or its weight is spread over devices."""
    bare = inner(model)
    if bare not in _HEADS:
        _HEADS[bare] = _find_head(bare)
    return bare.get_output_embeddings() if _HEADS[bare] else None


_HEADS: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _find_head(model: PreTrainedModel) -> bool:
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear or type(head.weight) is not nn.Parameter or not head.weight.numel():
        return False
    if head._forward_hooks or head._forward_pre_hooks or "forward" in vars(head):
        return False
    # Whatever the code of a model says: does what the head gives come out as it is?
    device, dtype = head.weight.device, head.weight.dtype
    given_12V = torch.linspace(-300, 300, 2 * len(head.weight), device=device, dtype=dtype).view(1, 2, -1)
    with trial(model), instead_of(head, lambda hidden: given_12V.clone()):
        logits = model(input_ids=torch.zeros(1, 2, dtype=torch.int64, device=device)).logits
    return logits.shape == given_12V.shape and bool((logits == given_12V).all())


def _wide(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
