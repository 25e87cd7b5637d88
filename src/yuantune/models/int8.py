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

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from yuantune.errors import ModelError
from yuantune.models.probe import decoder_layers

LEVELS = 127
"""Steps on either side of zero; -128 is not used, so that a number and its opposite round alike."""
BLOCK = 2**21
"""Weights that are numbers at once: 8 MiB in float32."""


def quantize_rows(x_RC: Tensor) -> tuple[Tensor, Tensor]:
    """`(int8 [R, C], scale [R])` with `int8 · scale` within half a scale of `x_RC`; the scale is float32.

    A row with a number that is not finite has a scale that is not."""
    wide_RC = x_RC if x_RC.dtype == torch.float64 else x_RC.float()
    # The least normal number stands in for the scale of a row of zeros.
    scale_R = (wide_RC.abs().amax(-1) / LEVELS).float().clamp_min(torch.finfo(torch.float32).tiny)
    whole_RC = (wide_RC / scale_R[:, None]).round_().clamp_(-LEVELS, LEVELS)
    return whole_RC.to(torch.int8), scale_R


class Int8Linear(nn.Linear):
    """A linear layer whose `weight` is int8 [O, I] beside a `scale` [O]; neither is trained.

    It multiplies by `integer` products or by the dequantized weight. The bias is in the model's own format, and so
    is what comes out: in the format of the input, or autocast's."""

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

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] to [..., O]."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        out_NO: Tensor = _Product.apply(x.reshape(-1, self.in_features), self)
        return out_NO.view(*x.shape[:-1], self.out_features)

    def product(self, x_NI: Tensor) -> Tensor:
        """`x·Wᵀ + bias`, a new tensor, without a graph."""
        if self.integer:
            whole_NI, token_N = quantize_rows(x_NI)
            out_NO = _scaled(_whole_product(whole_NI, self.weight.T), token_N, self.scale, x_NI.dtype)
        else:
            out_NO = x_NI.new_empty(len(x_NI), self.out_features)
            for some in _blocks(self.out_features, self.in_features):
                torch.mm(x_NI, self._numbers(some, slice(None), x_NI.dtype).T, out=out_NO[:, some])
            if _scaled_last(x_NI.dtype):
                out_NO *= self.scale.to(x_NI.dtype)
        return out_NO if self.bias is None else out_NO.add_(self.bias.to(x_NI.dtype))

    def input_slope(self, slope_NO: Tensor) -> Tensor:
        """The gradient of the input, [N, I], from that of the output, a new tensor."""
        if self.integer:
            # The weight's scales go along the summed axis: they are taken to the other factor first.
            whole_NO, token_N = quantize_rows(slope_NO.to(_wide(slope_NO.dtype)) * self.scale)
            return _scaled(_whole_product(whole_NO, self.weight), token_N, None, slope_NO.dtype)
        out_NI = slope_NO.new_empty(len(slope_NO), self.in_features)
        if _scaled_last(slope_NO.dtype):
            slope_NO = slope_NO * self.scale.to(slope_NO.dtype)
        # Blocks of columns: a sum over blocks of rows would be rounded once a block.
        for some in _blocks(self.in_features, self.out_features):
            torch.mm(slope_NO, self._numbers(slice(None), some, slope_NO.dtype), out=out_NI[:, some])
        return out_NI

    def _numbers(self, rows: slice, columns: slice, dtype: torch.dtype) -> Tensor:
        """A block of the weight in `dtype`, without its scales where `_scaled_last` says that they come later."""
        numbers = self.weight[rows, columns].to(dtype)
        return numbers if _scaled_last(dtype) else numbers.mul_(self.scale[rows, None])

    def dequantize(self, dtype: torch.dtype) -> nn.Linear:
        """The plain layer with the numbers that the weight stands for, rounded to `dtype` once; frozen."""
        made = nn.Linear(self.in_features, self.out_features, False, device="meta")
        wide_OI = self.weight.to(_wide(dtype)) * self.scale[:, None]
        made.weight = nn.Parameter(wide_OI.to(dtype), requires_grad=False)
        made.register_parameter("bias", self.bias)
        return made.train(self.training)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Int8Linear:
        """Another format of the model's numbers is none of the scales': they say what the weights are."""
        scale_O = self.scale
        super()._apply(fn, recurse)
        if self.scale.dtype != torch.float32:
            self.scale = scale_O.to(self.scale.device)
        return self

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {'integer products' if self.integer else 'dequantized in blocks'}"


class _Product(torch.autograd.Function):
    """`Int8Linear.product` with the gradient of its input; the input is not kept."""

    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, layer: Int8Linear) -> Tensor:
        ctx.layer = layer
        return layer.product(x_NI)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        return ctx.layer.input_slope(slopes[0]) if ctx.needs_input_grad[0] else None, None


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _scaled_last(dtype: torch.dtype) -> bool:
    """Whether scales are multiplied into the products, and not into the weights: once a token instead of once a
    weight. In float16 sums without them overflow."""
    return dtype != torch.float16


def _blocks(length: int, other: int) -> Iterator[slice]:
    """Slices of an axis whose blocks have about BLOCK numbers, the other axis being whole."""
    step = max(BLOCK // max(other, 1), 1)
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def _whole_product(one: Tensor, other: Tensor) -> Tensor:
    """int8 [R, ·] times int8 [·, C] in int32."""
    return torch._int_mm(one, other) if len(one) else one.new_zeros(0, other.shape[1], dtype=torch.int32)


def _scaled(whole_RC: Tensor, row_R: Tensor, column_C: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Whole numbers times the scales of their row and column, rounded to `dtype` at the end."""
    wide_RC = whole_RC.to(_wide(dtype)).mul_(row_R[:, None])
    return (wide_RC if column_C is None else wide_RC.mul_(column_C)).to(dtype)


# ------------------------------------------------------------------------------------------------- whole models


def quantizable(model: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers of the model's decoder layers, by path: not embeddings, not the head.

    Raises ModelError where there are none."""
    layers = decoder_layers(model)
    inside = {id(module) for module in layers.modules()} if layers is not None else set()
    # Subclasses have a forward of their own, or a weight that is something else already.
    found = {
        path: module for path, module in model.named_modules() if id(module) in inside and type(module) is nn.Linear
    }
    if not found:
        raise ModelError(
            f"{type(model).__name__} has no linear layers in its decoder that int8 could be put into",
            hint="say `model.quantization: none`",
        )
    return found


def quantize(model: nn.Module, *, integer: bool = False) -> int:
    """Give the model's decoder layers int8 weights, in place, a layer at a time; how many got them.

    Raises ModelError as `quantizable` does, and for weights that are not finite."""
    found = quantizable(model)
    for path, layer in found.items():
        model.set_submodule(path, Int8Linear.of(layer, integer=integer))
    return len(found)


def quantized(model: nn.Module) -> dict[str, Int8Linear]:
    """The layers with int8 weights, by path."""
    return {path: module for path, module in model.named_modules() if isinstance(module, Int8Linear)}


def dequantize(model: nn.Module, dtype: torch.dtype) -> int:
    """Put plain layers in `dtype` in their places again, also under adapters, a layer at a time; how many."""
    found = quantized(model)
    for path, layer in found.items():
        model.set_submodule(path, layer.dequantize(dtype))
    return len(found)
