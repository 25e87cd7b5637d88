"""Models that are measured: those that can be loaded, and shapes with random weights, made in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

YUAN_2B: dict[str, Any] = {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32}
_SMOL: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
SHAPES: dict[str, dict[str, Any]] = {
    "yuan2-4l": {**YUAN_2B, "num_hidden_layers": 4},
    "yuan2-2b": {**YUAN_2B, "num_hidden_layers": 24},
    "smollm2-135m": _SMOL,
}
"""Shapes by name: four layers of Yuan2-2B, all of it, and SmolLM2-135M's. The vocabulary is the tokenizer's."""
POSITIONS = 8192
TOKENIZER = "IEITYuan/Yuan2-2B-Mars-hf"
"""Whose tokenizer the shapes get, where none is named."""


def tokenizer_of(model: str, tokenizer: str | None) -> PreTrainedTokenizerBase:
    """The tokenizer of a measured model: its own, or, of a shape, `tokenizer` (a folder or a name)."""
    from yuantune.models.load import load_tokenizer

    return load_tokenizer((tokenizer or TOKENIZER) if model in SHAPES else model)


def model_of(
    model: str,
    tokenizer: PreTrainedTokenizerBase,
    dtype: str,
    device: str,
    quantization: str = "none",
    products: str = "auto",
) -> PreTrainedModel:
    """The model in `dtype` on `device` (cpu, cuda), in evaluation mode. Of a shape, which no file holds, weights
    can stay bfloat16 (`quantization: bf16`), and are not rounded further."""
    import torch

    from yuantune.models.load import load_model
    from yuantune.models.scratch import new_model
    from yuantune.models.stored import keep_bfloat16

    if model in SHAPES:
        assert quantization in ("none", "bf16"), "a shape has to be written first"
        drawn = "bfloat16" if quantization == "bf16" else dtype
        made = new_model(SHAPES[model], tokenizer, positions=POSITIONS, seed=0, dtype=drawn, device_map=device)
        if drawn != dtype:
            keep_bfloat16(made, getattr(torch, dtype))
        return made.eval()
    return load_model(model, dtype=dtype, device_map=device, quantization=quantization, int8_products=products)
