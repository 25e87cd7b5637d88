"""bfloat16 as a processor with units for it trains, on one that has none.

Such a unit multiplies two bfloat16 numbers, sums in float32 and rounds the sum once. A float32 product of the same
numbers, rounded, is that up to the order of its sums, and far faster than torch's own loops. It is for asking what
rounding does to a run: weights are widened at every product. Attention's fused kernel stays as it is, which sums in
float32 on every processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

_ATEN = torch.ops.aten
PRODUCTS = {_ATEN.mm, _ATEN.addmm, _ATEN.addmm_, _ATEN.bmm, _ATEN.baddbmm, _ATEN.baddbmm_}
"""What linear layers, their gradients and LoRA come down to where autograd records."""


class Emulated(TorchDispatchMode):
    """Within it, on this thread and in its backward passes, products of bfloat16 are those of float32, rounded."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """`func`'s result; what it writes into (the first argument, `out`) is written to."""
        packet, options = func.overloadpacket, dict(kwargs or {})
        if packet not in PRODUCTS or args[1].dtype != torch.bfloat16:
            return func(*args, **options)
        target = options.pop("out", args[0] if packet.__name__.endswith("_") else None)
        made = packet(*tree_map_only(torch.Tensor, torch.Tensor.float, args), **options).to(torch.bfloat16)
        return made if target is None else target.copy_(made)


def needs_units(dtype: str) -> bool:
    """Whether products of `dtype` are bfloat16's on a CPU that has no units for them."""
    from yuantune.models.placement import computes_bfloat16

    return dtype == "bfloat16" and not computes_bfloat16("cpu")


def bfloat16_units(dtype: str) -> AbstractContextManager[Any]:
    """`Emulated` where a run on the CPU in `dtype` needs it, and nothing elsewhere."""
    return Emulated() if needs_units(dtype) else nullcontext()
