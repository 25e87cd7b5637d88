"""Attention over a row of prefix groups, for every model that attends through transformers' `AttentionInterface`.

A prefix attends over itself; branches attend, side by side, over their prefix and themselves. No mask over the
whole row is made, and no pair of tokens of two branches is computed.

Shapes: N tokens of the row, A heads, K of them for keys and values, E width of a head, P tokens of a prefix,
R branches, L tokens of the longest, V virtual tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yuantune.errors import ModelError
from yuantune.models.loss import plain_head
from yuantune.models.probe import attending_by, configs_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "yuantune_groups"
LAYERS = ("full_attention", "sliding_attention", "yuan")
"""Kinds of layers that attention alone mixes tokens in, or, Yuan2's, that are told each token's predecessor."""


@dataclass(frozen=True, slots=True)
class Block:
    """Branches of one prefix that attend together: `token_RL` is where their tokens stand in the row (0, where a
    branch has none), `has_RL` whether there is one. They lie behind each other in the row, in this order."""

    token_RL: torch.Tensor
    has_RL: torch.Tensor


@dataclass(frozen=True, slots=True)
class Span:
    """One group in the row: its prefix is the tokens [start, start + prefix), and its blocks follow."""

    start: int
    prefix: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The groups of a row, in their order, and how many examples there are; `longest` is the longest of them,
    prefix and branch together."""

    spans: tuple[Span, ...]
    examples: int
    longest: int

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Layout:
        """The same on `device`: transformers moves whatever has this method."""
        return replace(
            self,
            spans=tuple(
                replace(
                    span,
                    blocks=tuple(
                        Block(
                            block.token_RL.to(device, non_blocking=non_blocking),
                            block.has_RL.to(device, non_blocking=non_blocking),
                        )
                        for block in span.blocks
                    ),
                )
                for span in self.spans
            ),
        )


def grouped_attention(
    module: nn.Module,
    query_1ANE: Tensor,
    key_1KNE: Tensor,
    value_1KNE: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    virtual: Sequence[tuple[Tensor, Tensor]] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """An attention function as transformers calls it: [1, A, N, E] and [1, K, N, E] to [1, N, A, E]. `virtual` are
    each layer's keys and values [K, V, E] that stand before every group (`yuantune.models.virtual`).

    Raises ModelError for what it does not compute: capped scores, or a window shorter than an example."""
    if softcap is not None:
        raise ModelError("prefix groups have no capped attention scores")
    if sliding_window is not None and sliding_window < layout.longest:
        raise ModelError(f"the model attends over {sliding_window} tokens, and an example has {layout.longest}")
    options = {"scale": scaling, "dropout_p": dropout if module.training else 0.0}
    if query_1ANE.shape[1] != key_1KNE.shape[1]:
        options["enable_gqa"] = True
    layer: Any = getattr(module, "layer_idx", 0)
    ahead = None if virtual is None else tuple(each.to(key_1KNE.dtype) for each in virtual[layer])
    parts_NAE = [
        part
        for span in layout.spans
        for part in _span(query_1ANE[0], key_1KNE[0], value_1KNE[0], span, ahead, options)
    ]
    return torch.cat(parts_NAE)[None], None


def _span(
    query_ANE: Tensor,
    key_KNE: Tensor,
    value_KNE: Tensor,
    span: Span,
    ahead: tuple[Tensor, ...] | None,
    options: Any,
) -> Iterator[Tensor]:
    """The tokens of one group, each part [n, A, E], in their order in the row; `ahead` are keys and values that all
    of them see."""
    prefix = slice(span.start, span.start + span.prefix)
    key_KPE, value_KPE = key_KNE[:, prefix], value_KNE[:, prefix]
    if ahead is not None:
        key_KPE, value_KPE = torch.cat((ahead[0], key_KPE), 1), torch.cat((ahead[1], value_KPE), 1)
    before = key_KPE.shape[1]
    if span.prefix:
        attended = F.scaled_dot_product_attention(
            query_ANE[None, :, prefix],
            key_KPE[None],
            value_KPE[None],
            **_causal(span.prefix, before, query_ANE.device),
            **options,
        )
        yield attended[0].transpose(0, 1)
    for block in span.blocks:
        rows, longest = block.token_RL.shape
        query_RALE, key_RKLE, value_RKLE = (
            branches(each, block.token_RL) for each in (query_ANE, key_KNE, value_KNE)
        )
        if before:
            key_RKLE = torch.cat((key_KPE.expand(rows, -1, -1, -1), key_RKLE), 2)
            value_RKLE = torch.cat((value_KPE.expand(rows, -1, -1, -1), value_RKLE), 2)
        how = _causal(longest, before + longest, query_ANE.device)
        attended = F.scaled_dot_product_attention(query_RALE, key_RKLE, value_RKLE, **how, **options)
        yield attended.transpose(1, 2)[block.has_RL]


def _causal(queries: int, keys: int, device: torch.device) -> dict[str, Any]:
    """How the last `queries` of `keys` tokens attend: each over itself and all before it."""
    if queries == keys:
        return {"is_causal": True}
    seen = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
    return {"attn_mask": seen}


def branches(each_ANE: Tensor, token_RL: Tensor) -> Tensor:
    """[A, N, E] to [R, A, L, E]: the tokens of the branches."""
    heads, tokens, width = each_ANE.shape
    # An embedding lookup, as in Yuan2's filter: the fastest gather, and its gradient sums in a fixed order.
    table = each_ANE.transpose(0, 1).reshape(tokens, heads * width)
    return F.embedding(token_RL, table).unflatten(-1, (heads, width)).transpose(1, 2)


def register() -> None:
    """Make the attention known to transformers. Twice does no harm."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, grouped_attention)
    AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)


def obstacle_of(model: PreTrainedModel, longest: int) -> str | None:
    """Why a model cannot attend by groups, as far as its config tells; `longest` is the longest example in tokens.

    What it does not tell, a trial shows (`yuantune.train.grouping`)."""
    text = model.config.get_text_config()
    kinds = getattr(text, "layer_types", None) or []
    if others := sorted(set(kinds) - set(LAYERS)):
        return f"it has layers of another kind than attention ({', '.join(others)})"
    if not model._supports_attention_backend:
        return "its attention cannot be replaced"
    window = getattr(text, "sliding_window", None)
    if window is not None and longest > window and (not kinds or "sliding_attention" in kinds):
        return f"it attends over {window} tokens, and the longest row has {longest}"
    return None


@contextmanager
def grouped(model: PreTrainedModel) -> Iterator[None]:
    """Within, the model attends by groups; the backward pass belongs within too, since gradient checkpointing
    computes layers again there. `model` is the one under PEFT and distributed wrappers."""
    register()
    plain_head(model)  # Looked at once, by a forward pass of two tokens, which are no groups.
    with attending_by(NAME, configs_of(model)):
        yield
