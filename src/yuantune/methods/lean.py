"""PEFT's LoRA layers with a leaner forward: the same parameters and files, one autograd function a layer.

PEFT's forward keeps the input twice (widened, and dropped out), makes the update beside the layer's output and then
their sum, and widens what the base computes. Here the input is kept once with a bit mask, and the update is added
in place. A base in fewer bits multiplies in its own way. What else a LoRA layer can be (DoRA and other variants,
merged, disabled, several adapters, NF4, autocast) goes PEFT's own way.

Shapes: N tokens, I inputs, O outputs, R rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yuantune.models.stored import StoredLinear

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LoraLinear(torch.autograd.Function):
    """`x·Wᵀ + bias + scaling · dropout(x)·Aᵀ·Bᵀ`, with gradients for x, A and B.

    `base` is the weight, or a layer that keeps it in fewer bits, which brings its bias. The update is computed in
    the input's precision; the gradients of A and B have theirs.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv:2106.09685), section 4.1."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        base: Tensor | StoredLinear,
        bias_O: Tensor | None,
        a_RI: Tensor,
        b_OR: Tensor,
        scaling: float,
        dropout: float,
    ) -> Tensor:
        """[..., I] to [..., O]."""
        x_NI = x.reshape(-1, x.shape[-1])
        mask_NI = keep_mask(x_NI, dropout) if dropout > 0 else None
        scaling /= 1.0 - dropout
        low_NR = F.linear(x_NI if mask_NI is None else x_NI * mask_NI, a_RI.to(x.dtype))
        weight_OI, layer = (None, base) if isinstance(base, StoredLinear) else (base, None)
        out_NO = base.product(x_NI) if isinstance(base, StoredLinear) else F.linear(x_NI, base, bias_O)
        out_NO.addmm_(low_NR, b_OR.to(x.dtype).T, alpha=scaling)
        ctx.save_for_backward(x_NI, mask_NI, low_NR, weight_OI, a_RI, b_OR)
        ctx.scaling, ctx.shape, ctx.layer = scaling, x.shape, layer
        return out_NO.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        """Of x where wanted, of A and B always."""
        x_NI, mask_NI, low_NR, weight_OI, a_RI, b_OR = ctx.saved_tensors
        slope_NO = slopes[0].reshape(-1, slopes[0].shape[-1])
        low_slope_NR = (slope_NO @ b_OR.to(slope_NO.dtype)).mul_(ctx.scaling)
        b_slope_OR = (slope_NO.T @ low_NR).to(b_OR.dtype).mul_(ctx.scaling)
        a_slope_RI = (low_slope_NR.T @ (x_NI if mask_NI is None else x_NI * mask_NI)).to(a_RI.dtype)
        x_slope = None
        if ctx.needs_input_grad[0]:
            x_slope_NI = slope_NO @ weight_OI if ctx.layer is None else ctx.layer.input_slope(slope_NO)
            a_RI = a_RI.to(slope_NO.dtype)
            if mask_NI is None:
                x_slope_NI.addmm_(low_slope_NR, a_RI)
            else:
                x_slope_NI.add_((low_slope_NR @ a_RI).mul_(mask_NI))
            x_slope = x_slope_NI.view(ctx.shape)
        return x_slope, None, None, a_slope_RI, b_slope_OR, None, None


def keep_mask(x: Tensor, dropout: float) -> Tensor:
    """What dropout keeps of `x`, a boolean of its shape, drawn from torch's random state.

    On a CPU a draw of torch's generator costs more than what is done with it, so it only seeds another one, which
    gives 16 bits an element."""
    if x.device.type != "cpu":
        return torch.empty_like(x, dtype=torch.bool).bernoulli_(1.0 - dropout)
    import numpy as np

    seed, count = int(torch.randint(2**62, (1,))), x.numel()
    # Whole words of the generator as they are: `Generator.bytes` takes six times as long.
    words = np.random.Generator(np.random.SFC64(seed)).integers(
        2**64 - 1, size=-(-count // 4), dtype=np.uint64, endpoint=True
    )
    bits = words.view(np.uint16)[:count]
    return torch.from_numpy(bits >= round(dropout * 2**16)).view(x.shape)


def make_lean(model: PreTrainedModel) -> int:
    """Give the model's LoRA layers the leaner forward, where they are of the plain kind; how many got it.

    A layer decides at every call: merged, disabled or under autocast it goes PEFT's way."""
    from peft.tuners.lora.layer import Linear

    count = 0
    for module in model.modules():
        if (
            type(module) is Linear
            and (type(module.base_layer) is nn.Linear or isinstance(module.base_layer, StoredLinear))
            and not module.fan_in_fan_out
        ):
            module.forward = _Forward(module)
            count += 1
    return count


class _Forward:
    """The forward of one layer. No closure, so that a model can be copied and pickled."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        layer = self.layer
        out: Tensor
        if args or kwargs or not self._is_plain(x):
            out = type(layer).forward(layer, x, *args, **kwargs)
            return out
        (adapter,) = layer.active_adapters
        base, dropout = layer.base_layer, layer.lora_dropout[adapter]
        out = LoraLinear.apply(
            x,
            base if isinstance(base, StoredLinear) else base.weight,
            base.bias,
            layer.lora_A[adapter].weight,
            layer.lora_B[adapter].weight,
            layer.scaling[adapter],
            dropout.p if layer.training and isinstance(dropout, nn.Dropout) else 0.0,
        )
        return out

    def _is_plain(self, x: Tensor) -> bool:
        """Whether the layer, as it is now, does for `x` what `LoraLinear` does."""
        layer, base = self.layer, self.layer.base_layer
        if layer.merged or layer.disable_adapters or len(layer.active_adapters) != 1:
            return False
        (adapter,) = layer.active_adapters
        return (
            adapter in layer.lora_A
            and adapter not in layer.lora_variant
            and layer.lora_B[adapter].bias is None
            and not base.weight.requires_grad
            and (isinstance(base, StoredLinear) or x.dtype == base.weight.dtype)
            and not torch.is_autocast_enabled(x.device.type)
        )
