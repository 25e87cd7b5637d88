"""Root-mean-square normalisation, as Yuan2's layers and its localized filter use it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class YuanRMSNorm(nn.Module):
    """Scale each token to unit root mean square, then by a learned weight.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (arXiv:1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """`x` is [..., width]; so is the result, in the same type."""
        # At least float32, whatever the weights: squares of bfloat16 lose the small values.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"
