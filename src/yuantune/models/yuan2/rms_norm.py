"""Root-mean-square normalisation, as Yuan2's layers and its localized filter use it.

Shapes: N tokens, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class YuanRMSNorm(nn.Module):
    """Scale each token to unit root mean square, then by a learned weight.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (arXiv:1910.07467)."""

    LEAN = True
    """Autograd keeps its input alone (`yuantune.models.memory`)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """`x` is [..., width]; so is the result, in the same type."""
        if not (torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)):
            return _normalised(x, self.weight, self.eps)[0]
        out: Tensor = _Normalised.apply(x, self.weight, self.eps)
        return out

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"


def _normalised(x: Tensor, weight_D: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The result [..., D], and one over each token's root mean square [..., 1]."""
    # At least float32, whatever the weights: squares of bfloat16 lose the small values.
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight_D * (wide * inverse).to(x.dtype), inverse


class _Normalised(torch.autograd.Function):
    """`weight · x / rms(x)`. For the gradient it keeps x and one number a token; torch's own operations, one after
    the other, would keep x in float32 too, and pass over it twice as often."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        """[..., D], in the wider type of `x` and weight."""
        out, inverse = _normalised(x, weight_D, eps)
        ctx.save_for_backward(x, weight_D, inverse)
        return out

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        """Of x and of the weight, where they are wanted."""
        x, weight_D, inverse = ctx.saved_tensors
        unit_ND = (x * inverse).flatten(0, -2)
        weight_slope = x_slope = None
        slope_ND = slopes[0].reshape(unit_ND.shape)
        if ctx.needs_input_grad[1]:
            weight_slope = (slope_ND * unit_ND).sum(0).to(weight_D.dtype)
        if ctx.needs_input_grad[0]:
            slope_ND = (slope_ND * weight_D).to(unit_ND.dtype)
            along_N1 = (slope_ND * unit_ND).mean(-1, keepdim=True)
            slope_ND = slope_ND.addcmul_(unit_ND, along_N1, value=-1).mul_(inverse.view(-1, 1))
            x_slope = slope_ND.to(x.dtype).view(x.shape)
        return x_slope, weight_slope, None
