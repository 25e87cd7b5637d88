"""Localized filtering: what the queries and keys of Yuan2 are made from.

The paper convolves over time, twice, with two taps each. A convolution mixes neighbours in memory, whatever
they are: padding, the sequence packed before, the branch beside. Here each token is mixed with its
*predecessor*, which `parents` names, so nothing leaks; and the mixing is one matrix product per layer, which
on a CPU is up to three times as fast as Conv2d (float32; in bfloat16 it is level, and twice as fast at one token).

Shapes: B rows, N new tokens, H tokens of history (from a cache), D hidden size, M = D/2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yuantune.models.yuan2.rms_norm import YuanRMSNorm


class TwoTapConvolution(nn.Module):
    """`W0 · predecessor + W1 · token + bias`, with the parameters of a `Conv2d(…, kernel_size=(2, 1))`.

    It is not a Conv2d, so that tools that replace or wrap convolutions refuse it instead of being bypassed."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width_out, width_in, 2, 1))
        self.bias = nn.Parameter(torch.empty(width_out))
        nn.init.normal_(self.weight, std=0.02)
        nn.init.zeros_(self.bias)

    def forward(self, preceding: Tensor, x: Tensor) -> Tensor:
        """`preceding` and `x` are [B, N, in]; the result is [B, N, out]."""
        # The weight lies in memory as (channel, tap). Interleaving the inputs the same way leaves the weight in
        # place; picking a tap out of it would copy it at every call, the dearest part of a one-token step.
        taps = torch.stack((preceding, x), -1).flatten(-2)
        return F.linear(taps, self.weight.flatten(1), self.bias)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}"


class LocalizedFilter(nn.Module):
    """`RMSNorm(conv2(conv1(x)) + x)`: each token filtered with the one and the two before it.

    A token without a predecessor takes 0 in its place, in the second convolution too (0, not what the first
    one makes of 0, which is its bias).

    Source: section 2.1 of "Yuan 2.0: A Large Language Model with Localized Filtering-based Attention"
    (arXiv:2311.15786)."""

    def __init__(self, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.conv1 = TwoTapConvolution(hidden_size, hidden_size // 2)
        self.conv2 = TwoTapConvolution(hidden_size // 2, hidden_size)
        self.output_layernorm = YuanRMSNorm(hidden_size, eps)

    def forward(
        self,
        x_BND: Tensor,
        parents_BN: Tensor | None = None,
        past: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Filter new tokens.

        Args:
            x_BND: the inputs.
            parents_BN: the index of each token's predecessor in its row of `past` and new tokens, joined; -1
                where it has none. None: each token follows the one before it, the first one the last of `past`.
            past: what earlier calls were given and returned for earlier tokens: their inputs [B, H, D] and
                their middle states [B, H, M].

        Returns:
            the filtered tokens [B, N, D], and the middle states [B, N, M] that a later call may need.
        """
        inputs_BHD, middle_BHM = past if past is not None else (None, None)
        middle_BNM = self.conv1(preceding(x_BND, parents_BN, inputs_BHD), x_BND)
        filtered_BND = self.conv2(preceding(middle_BNM, parents_BN, middle_BHM), middle_BNM)
        return self.output_layernorm(filtered_BND + x_BND), middle_BNM


def preceding(x_BNC: Tensor, parents_BN: Tensor | None, past_BHC: Tensor | None) -> Tensor:
    """The predecessor of each token of `x`, 0 where it has none; `parents_BN` as in `LocalizedFilter`."""
    rows, _, width = x_BNC.shape
    nothing_B1C = x_BNC.new_zeros(rows, 1, width)
    if parents_BN is None:
        first_B1C = nothing_B1C if past_BHC is None else past_BHC[:, -1:]
        return torch.cat((first_B1C, x_BNC), 1)[:, :-1]
    held = (nothing_B1C, x_BNC) if past_BHC is None else (nothing_B1C, past_BHC, x_BNC)
    table_BKC = torch.cat(held, 1)
    offsets_B1 = torch.arange(rows, device=x_BNC.device)[:, None] * table_BKC.shape[1]
    # An embedding lookup: of torch's ways to gather rows it is the fastest, and its gradient sums in a fixed order.
    return F.embedding(parents_BN + 1 + offsets_B1, table_BKC.flatten(0, 1))
