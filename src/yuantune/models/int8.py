"""Frozen linear layers with int8 weights: symmetric, one scale a row of the weight, chosen by its largest number.

Two ways to multiply. `dequantize` makes numbers of a block of the weight at a time, in the input's format, and is
exact for the stored weights. `integer` rounds the input too, each token by its own largest number, and multiplies
int8 by int8 into int32; the gradient of the input goes the same way, over the same weights.

Shapes: N tokens, I inputs, O outputs, R rows of any matrix, C its columns.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018; scales by row and token as in Dettmers et al., "LLM.int8()", NeurIPS 2022, without its
outliers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from yuantune.errors import ModelError
from yuantune.models.stored import StoredLinear, replace

LEVELS = 127
"""Steps on either side of zero; -128 is not used, so that a number and its opposite round alike."""


def quantize_rows(x_RC: Tensor) -> tuple[Tensor, Tensor]:
    """`(int8 [R, C], scale [R])` with `int8 · scale` within half a scale of `x_RC`; the scale is float32.

    A row with a number that is not finite has a scale that is not."""
    wide_RC = x_RC if x_RC.dtype == torch.float64 else x_RC.float()
    # The least normal number stands in for the scale of a row of zeros.
    scale_R = (wide_RC.abs().amax(-1) / LEVELS).float().clamp_min(torch.finfo(torch.float32).tiny)
    whole_RC = (wide_RC / scale_R[:, None]).round_().clamp_(-LEVELS, LEVELS)
    return whole_RC.to(torch.int8), scale_R


class Int8Linear(StoredLinear):
    """A linear layer whose `weight` is int8 [O, I] beside a `scale` [O]; neither is trained.

    It multiplies by `integer` products or by the dequantized weight."""

    FORMAT = "int8"
    scale: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        integer: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = in_features, out_features
        weight_OI = torch.empty(out_features, in_features, dtype=torch.int8, device=device)
        self.weight = nn.Parameter(weight_OI, requires_grad=False)
        self.register_buffer("scale", torch.empty(out_features, dtype=torch.float32, device=device))
        bias_O = torch.empty(out_features, dtype=dtype, device=device) if bias else None
        self.register_parameter("bias", None if bias_O is None else nn.Parameter(bias_O, requires_grad=False))
        # A longer sum of products may not fit into int32.
        self.integer = integer and max(in_features, out_features) * LEVELS**2 < 2**31

    @classmethod
    def of(cls, layer: nn.Linear, *, integer: bool = False) -> Int8Linear:
        """The layer with its weight rounded. Raises ModelError where a weight is not finite."""
        made = cls(layer.in_features, layer.out_features, False, integer=integer, device="meta")
        whole_OI, scale_O = quantize_rows(layer.weight.detach())
        if not bool(scale_O.isfinite().all()):
            raise ModelError("a linear layer has weights that are not finite: they have no int8")
        made.weight, made.scale = nn.Parameter(whole_OI, requires_grad=False), scale_O
        made.register_parameter("bias", layer.bias)
        return made.train(layer.training)

    def product(self, x_NI: Tensor) -> Tensor:
        """`x·Wᵀ + bias`, a new tensor, without a graph."""
        if self.integer:
            whole_NI, token_N = quantize_rows(x_NI)
            out_NO = _scaled(_whole_product(whole_NI, self.weight.T), token_N, self.scale, x_NI.dtype)
        else:
            out_NO = self._by_blocks(x_NI)
            if _scaled_last(x_NI.dtype):
                out_NO *= self.scale.to(x_NI.dtype)
        return self._with_bias(out_NO)

    def input_slope(self, slope_NO: Tensor) -> Tensor:
        """The gradient of the input, [N, I], from that of the output, a new tensor."""
        if self.integer:
            # The weight's scales go along the summed axis: they are taken to the other factor first.
            whole_NO, token_N = quantize_rows(slope_NO.to(_wide(slope_NO.dtype)) * self.scale)
            return _scaled(_whole_product(whole_NO, self.weight), token_N, None, slope_NO.dtype)
        scaled_NO = slope_NO * self.scale.to(slope_NO.dtype) if _scaled_last(slope_NO.dtype) else slope_NO
        return super().input_slope(scaled_NO)

    def numbers(self, rows: slice, columns: slice, dtype: torch.dtype) -> Tensor:
        """A block of the weight in `dtype`, without its scales where `_scaled_last` says that they come later."""
        numbers = super().numbers(rows, columns, dtype)
        return numbers if _scaled_last(dtype) else numbers.mul_(self.scale[rows, None])

    def widened(self, dtype: torch.dtype) -> nn.Linear:
        """The plain layer with the numbers that the weight stands for, rounded to `dtype` once; frozen."""
        made = super().widened(_wide(dtype))
        made.weight.data = made.weight.data.mul_(self.scale[:, None]).to(dtype)
        return made

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Int8Linear:
        """Another format of the model's numbers is none of the scales': they say what the weights are."""
        scale_O = self.scale
        super()._apply(fn, recurse)
        if self.scale.dtype != torch.float32:
            self.scale = scale_O.to(self.scale.device)
        return self

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {'integer products' if self.integer else 'dequantized in blocks'}"


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _scaled_last(dtype: torch.dtype) -> bool:
    """Whether scales are multiplied into the products, and not into the weights: once a token instead of once a
    weight. In float16 sums without them overflow."""
    return dtype != torch.float16


def _whole_product(one: Tensor, other: Tensor) -> Tensor:
    """int8 [R, ·] times int8 [·, C] in int32."""
    return torch._int_mm(one, other) if len(one) else one.new_zeros(0, other.shape[1], dtype=torch.int32)


def _scaled(whole_RC: Tensor, row_R: Tensor, column_C: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Whole numbers times the scales of their row and column, rounded to `dtype` at the end."""
    wide_RC = whole_RC.to(_wide(dtype)).mul_(row_R[:, None])
    return (wide_RC if column_C is None else wide_RC.mul_(column_C)).to(dtype)


def quantize(model: nn.Module, *, integer: bool = False) -> int:
    """Give the model's decoder layers int8 weights, in place, a layer at a time; how many got them.

    Raises ModelError where there are none, and for weights that are not finite."""
    return len(replace(model, functools.partial(Int8Linear.of, integer=integer)))
