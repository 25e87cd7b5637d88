"""Frozen linear layers whose weight is kept in fewer bits than what is computed in, and multiplied block by block.

A block of the weight at a time is made numbers of the input's format and multiplied, so that the wide weight is
never there whole. `Bf16Linear` keeps bfloat16, which float32 holds exactly: of a file in bfloat16 the products are
those of the float32 weights, in half the memory. Int8 is in `yuantune.models.int8`.

Shapes: N tokens, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from yuantune.errors import ModelError
from yuantune.models.probe import decoder_layers

BLOCK = 2**21
"""Weights that are numbers at once: 8 MiB in float32."""


class StoredLinear(nn.Linear):
    """A linear layer whose frozen `weight` [O, I] is in another format than what goes in and comes out.

    The bias is in the model's own format, and so is what comes out: in the format of the input, or autocast's."""

    FORMAT: ClassVar[str]
    """What the weight is kept in, as a message says it."""

    def numbers(self, rows: slice, columns: slice, dtype: torch.dtype) -> Tensor:
        """A block of the weight in `dtype`."""
        return self.weight[rows, columns].to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] to [..., O]."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        out_NO: Tensor = _Product.apply(x.reshape(-1, self.in_features), self)
        return out_NO.view(*x.shape[:-1], self.out_features)

    def product(self, x_NI: Tensor) -> Tensor:
        """`x·Wᵀ + bias`, a new tensor, without a graph."""
        return self._with_bias(self._by_blocks(x_NI))

    def input_slope(self, slope_NO: Tensor) -> Tensor:
        """The gradient of the input, [N, I], from that of the output, a new tensor."""
        out_NI = slope_NO.new_empty(len(slope_NO), self.in_features)
        # Blocks of columns: a sum over blocks of rows would be rounded once a block.
        for some in _blocks(self.in_features, self.out_features):
            torch.mm(slope_NO, self.numbers(slice(None), some, slope_NO.dtype), out=out_NI[:, some])
        return out_NI

    def widened(self, dtype: torch.dtype) -> nn.Linear:
        """The plain layer with the numbers that the weight stands for, rounded to `dtype` once; frozen."""
        made = nn.Linear(self.in_features, self.out_features, False, device="meta")
        wide_OI = self.numbers(slice(None), slice(None), torch.promote_types(dtype, torch.float32))
        made.weight = nn.Parameter(wide_OI.to(dtype), requires_grad=False)
        made.register_parameter("bias", self.bias)
        return made.train(self.training)

    def _by_blocks(self, x_NI: Tensor) -> Tensor:
        out_NO = x_NI.new_empty(len(x_NI), self.out_features)
        for some in _blocks(self.out_features, self.in_features):
            torch.mm(x_NI, self.numbers(some, slice(None), x_NI.dtype).T, out=out_NO[:, some])
        return out_NO

    def _with_bias(self, out_NO: Tensor) -> Tensor:
        return out_NO if self.bias is None else out_NO.add_(self.bias.to(out_NO.dtype))


class Bf16Linear(StoredLinear):
    """A linear layer that keeps its weight in bfloat16, whatever the model is turned into."""

    FORMAT = "bfloat16"

    @classmethod
    def of(cls, layer: nn.Linear) -> Bf16Linear:
        """The layer; where its weight is bfloat16 already, the very same weight."""
        made = cls(layer.in_features, layer.out_features, False, device="meta")
        made.weight = nn.Parameter(layer.weight.detach().to(torch.bfloat16), requires_grad=False)
        made.register_parameter("bias", layer.bias)
        return made.train(layer.training)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Bf16Linear:
        """Another device is the weight's too, another format is not."""
        weight_OI = self.weight.data
        super()._apply(fn, recurse)
        if self.weight.dtype != torch.bfloat16:
            self.weight = nn.Parameter(weight_OI.to(self.weight.device), requires_grad=False)
        return self


class _Product(torch.autograd.Function):
    """`StoredLinear.product` with the gradient of its input; the input is not kept."""

    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, layer: StoredLinear) -> Tensor:
        ctx.layer = layer
        return layer.product(x_NI)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        return ctx.layer.input_slope(slopes[0]) if ctx.needs_input_grad[0] else None, None


def _blocks(length: int, other: int) -> Iterator[slice]:
    """Slices of an axis whose blocks have about BLOCK numbers, the other axis being whole."""
    step = max(BLOCK // max(other, 1), 1)
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


# ------------------------------------------------------------------------------------------------- whole models


def replaceable(model: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers of the model's decoder layers, by path: not embeddings, not the head."""
    layers = decoder_layers(model)
    inside = {id(module) for module in layers.modules()} if layers is not None else set()
    # Subclasses have a forward of their own, or a weight that is something else already.
    return {
        path: module for path, module in model.named_modules() if id(module) in inside and type(module) is nn.Linear
    }


def replace(model: nn.Module, make: Callable[[nn.Linear], StoredLinear]) -> list[str]:
    """Put what `make` makes of them in the place of the decoder's linear layers, one at a time; their paths.

    Raises ModelError where there are none."""
    found = replaceable(model)
    if not found:
        raise ModelError(
            f"{type(model).__name__} has no linear layers in its decoder whose weights could have fewer bits",
            hint="say `model.quantization: none`",
        )
    for path, layer in found.items():
        model.set_submodule(path, make(layer))
    return list(found)


def keep_bfloat16(model: nn.Module, dtype: torch.dtype, *, at_least_one: bool = True) -> int:
    """Keep the decoder's linear layers in bfloat16, and turn all else into `dtype`, in which they compute; how
    many layers. Raises ModelError where there are none and `at_least_one` is asked for."""
    paths = replace(model, Bf16Linear.of) if at_least_one or replaceable(model) else []
    model.to(dtype)
    return len(paths)


def stored(model: nn.Module) -> dict[str, StoredLinear]:
    """The layers whose weights have fewer bits, by path."""
    return {path: module for path, module in model.named_modules() if isinstance(module, StoredLinear)}


def widen(model: nn.Module, dtype: torch.dtype) -> int:
    """Put plain layers in `dtype` in their places again, also under adapters, a layer at a time; how many."""
    found = stored(model)
    for path, layer in found.items():
        model.set_submodule(path, layer.widened(dtype))
    return len(found)
