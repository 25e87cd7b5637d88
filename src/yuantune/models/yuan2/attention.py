"""Yuan2's attention block: filtered queries and keys, plain values, heads interleaved over both projections.

Shapes: B rows, P tokens in the cache, N new ones, T = P + N, D hidden size, A heads, E width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import is_flash_attention_requested

from yuantune.errors import ModelError
from yuantune.models.yuan2.config import YuanConfig
from yuantune.models.yuan2.lineage import Lineage
from yuantune.models.yuan2.localized_filter import LocalizedFilter


class YuanAttention(nn.Module):
    """Attention whose queries and keys come from the localized filter.

    Heads are interleaved: `[q_proj(y), k_proj(y)]`, joined, is cut into A pieces, each a head's query and then
    its key. So `q_proj` makes both for the first half of the heads and `k_proj` both for the second."""

    def __init__(self, config: YuanConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.head_dim = config.head_dim
        self.scaling = self.head_dim**-0.5
        # Read by the attention functions of transformers.
        self.num_key_value_groups = 1
        self.is_causal = True
        width = config.hidden_size
        self.v_proj = nn.Linear(width, width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)
        self.lf_gate = LocalizedFilter(width, config.rms_norm_eps)
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)

    def forward(
        self,
        x_BND: Tensor,
        rotation: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        parents_BN: Tensor | None = None,
        past_key_values: Cache | None = None,
        reach: int | None = 1,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """The attended tokens [B, N, D], and the weights [B, A, N, T] where the attention function gives them.

        `rotation` is what `rotation` below returns; `parents_BN` and `reach` are `Lineage`'s; everything in
        `kwargs` goes to the attention function."""
        rows, length = x_BND.shape[:2]
        layer = past_key_values.layers[self.layer_idx] if past_key_values is not None else None
        filtered_BND, middle_BNM = self.lf_gate(x_BND, parents_BN, layer.filter_states() if layer else None)
        if layer is not None:
            layer.update_filter(x_BND, middle_BNM, reach)

        projected = torch.cat((self.q_proj(filtered_BND), self.k_proj(filtered_BND)), -1)
        pairs_BNA2E = rotate(projected.view(rows, length, -1, 2, self.head_dim), rotation)
        query_BANE, key_BATE = (part.transpose(1, 2) for part in pairs_BNA2E.unbind(3))
        value_BATE = self.v_proj(x_BND).view(rows, length, -1, self.head_dim).transpose(1, 2)
        if past_key_values is not None:
            key_BATE, value_BATE = past_key_values.update(key_BATE, value_BATE, self.layer_idx)

        attend: Callable[..., tuple[Tensor, Tensor | None]] = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention
        )
        attended_BNAE, weights = attend(
            self,
            query_BANE,
            key_BATE,
            value_BATE,
            attention_mask,
            dropout=0.0,
            scaling=self.scaling,
            **kwargs,
        )
        return self.o_proj(attended_BNAE.reshape(rows, length, -1)), weights


def eager_attention(
    module: nn.Module,
    query_BANE: Tensor,
    key_BATE: Tensor,
    value_BATE: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Attention in the open: `softmax(q·k·scaling + mask)·v`, with its weights."""
    scores_BANT = query_BANE @ key_BATE.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores_BANT = scores_BANT + attention_mask
    # At least float32: a sum over thousands of bfloat16 weights is off by percents.
    wide = torch.promote_types(scores_BANT.dtype, torch.float32)
    weights_BANT = nn.functional.softmax(scores_BANT, -1, dtype=wide).to(query_BANE.dtype)
    weights_BANT = nn.functional.dropout(weights_BANT, dropout, module.training)
    return (weights_BANT @ value_BATE).transpose(1, 2).contiguous(), weights_BANT


def rotation(positions_BN: Tensor, head_dim: int, base: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each [B, N, E/2], that turn a head at each position.

    Computed from the config in every pass rather than held in a buffer: a buffer would be stale in old
    checkpoints and empty after loading. Source: Su et al., "RoFormer" (arXiv:2104.09864)."""
    wide = torch.promote_types(dtype, torch.float32)
    steps = torch.arange(0, head_dim, 2, device=positions_BN.device, dtype=wide)
    angles = positions_BN[..., None].to(wide) * base ** (-steps / head_dim)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(pairs_BNA2E: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn queries and keys together: dimension i of a head with dimension i + E/2."""
    # In the type of the projections, which autocast may have lowered: values and keys stay alike.
    cos, sin = (part[:, :, None, None].to(pairs_BNA2E.dtype) for part in rotation)
    low, high = pairs_BNA2E.chunk(2, -1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), -1)


def attention_inputs(
    config: YuanConfig, x_BND: Tensor, lineage: Lineage, cache: Cache | None
) -> tuple[Tensor | None, dict[str, Any]]:
    """The mask for the attention function (of the kind that it takes), and further arguments for it.

    Raises:
        ModelError: the attention function cannot keep apart what the lineage says is apart."""
    kind = config._attn_implementation or "eager"
    if kind.startswith("paged"):
        raise ModelError("Yuan2 has no paged cache, so continuous batching cannot be used with it")
    flash = is_flash_attention_requested(config)
    mask, sequence_BT = lineage.mask, lineage.sequence_BT
    if mask is not None and mask.dim() == 4:
        if flash:
            raise ModelError(f"{kind} cannot use a 4-D mask", hint="load the model with attn_implementation='sdpa'")
        if mask.dtype == torch.bool and kind != "sdpa":
            hidden = torch.finfo(x_BND.dtype).min
            mask = torch.zeros_like(mask, dtype=x_BND.dtype).masked_fill(~mask, hidden)
        return mask, {"position_ids": lineage.positions_BN}

    further: dict[str, Any] = {} if flash else {"position_ids": lineage.positions_BN}
    same_sequence = None
    if sequence_BT is not None:
        length = x_BND.shape[1]
        if length == 1:
            # One new token a row: what it may not see is as good as padding.
            own_BT = sequence_BT == sequence_BT[:, -1:]
            mask = own_BT if mask is None else mask & own_BT
        elif flash:
            mask, further = None, _variable_lengths(kind, sequence_BT, mask, length)
        else:

            def same_sequence(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
                return sequence_BT[row, query] == sequence_BT[row, key]

    mask = create_causal_mask(
        config=config,
        inputs_embeds=x_BND,
        attention_mask=mask,
        past_key_values=cache,
        and_mask_function=same_sequence,
    )
    return mask, further


def _variable_lengths(kind: str, sequence_BT: Tensor, mask_BT: Tensor | None, length: int) -> dict[str, Any]:
    """Packed sequences as flash attention takes them: where each begins in the flattened batch."""
    if sequence_BT.shape[1] != length or (mask_BT is not None and not bool(mask_BT.all())):
        raise ModelError(
            f"{kind} cannot keep packed sequences apart beside padding or cached tokens",
            hint="load the model with attn_implementation='sdpa'",
        )
    row_starts = torch.arange(len(sequence_BT), device=sequence_BT.device)[:, None] * length
    starts = (sequence_BT + row_starts).flatten().unique_consecutive(return_counts=True)[1].cumsum(0)
    starts = nn.functional.pad(starts, (1, 0)).to(torch.int32)
    longest = int(starts.diff().max())
    return {"cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": longest, "max_length_k": longest}
