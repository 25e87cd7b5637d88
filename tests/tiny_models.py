"""Tiny models with random weights, in float64 so that two ways to the same figures can be told from two figures."""

from __future__ import annotations

import functools

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tests.test_models_grouped import wide_norm
from yuantune.models.yuan2.config import YuanConfig
from yuantune.models.yuan2.model import YuanForCausalLM

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
KINDS = ("yuan", "llama", "llama-biased")


def tiny(kind: str, dtype: torch.dtype = torch.float64) -> PreTrainedModel:
    """A model of a kind, the same at every call. Llama has half as many heads for keys and values."""
    torch.manual_seed(0)
    model: PreTrainedModel
    if kind == "yuan":
        model = YuanForCausalLM(YuanConfig(**SIZES, eos_token_id=1, pad_token_id=0, bos_token_id=1))
    else:
        model = LlamaForCausalLM(
            LlamaConfig(
                **SIZES, num_key_value_heads=2, attention_bias=kind == "llama-biased", initializer_range=0.2
            )
        )
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or "conv" in name:
            parameter.data.normal_(std=0.2)
    for module in model.modules():
        if dtype == torch.float64 and type(module).__name__ == "LlamaRMSNorm":
            module.forward = functools.partial(wide_norm, module)  # transformers' norms work in float32.
    return model.to(dtype).eval()


IDS = torch.tensor([[5, 9, 3, 12, 7, 7, 30, 2, 11], [4, 4, 8, 2, 30, 6, 11, 9, 10]])


def learn(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Loss, and the gradient of everything that is trained, on two rows."""
    model.zero_grad()
    loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    return {"loss": loss.detach(), **found}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Each figure of both, but for the rounding of float64."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-9, atol=1e-11, msg=name)
