"""The memory estimate against what autograd really keeps, for each method."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from yuantune.config import Config
from yuantune.methods import METHODS
from yuantune.models.memory import count_parameters, estimate, lora_parameters, meta_model, tokens_that_fit
from yuantune.models.yuan2.config import YuanConfig
from yuantune.train.run import method_options

ROWS, LENGTH = 2, 48
CONFIGS = {
    "llama": LlamaConfig(
        vocab_size=256, hidden_size=96, intermediate_size=264, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, attention_bias=True,
    ),
    "yuan": YuanConfig(
        vocab_size=256, hidden_size=96, intermediate_size=384, num_hidden_layers=3, num_attention_heads=4,
        pad_token_id=1, bos_token_id=1, eos_token_id=1,
    ),
}  # fmt: skip
CHOICES: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora"},
    "lora without dropout": {"method": "lora", "lora": {"lora_dropout": 0.0, "r": 16}},
    "lora, two targets": {"method": "lora", "lora": {"target_modules": ["q_proj", "k_proj"]}},
    "lora, last layer": {"method": "lora", "lora": {"layers_to_transform": [-1]}},
    "dora": {"method": "lora", "lora": {"use_dora": True}},
    "full": {"method": "full"},
    "bitfit": {"method": "bitfit"},
    "freeze": {"method": "freeze", "freeze": {"trained_layers": 1}},
    "houlsby": {"method": "bottleneck", "bottleneck": {"kind": "houlsby", "reduction_factor": 4}},
    "parallel": {"method": "bottleneck", "bottleneck": {"kind": "parallel", "layers": [1, 2]}},
    "ia3": {"method": "ia3"},
    "prompt": {"method": "prompt_tuning", "prompt_tuning": {"num_virtual_tokens": 16}},
    "p": {"method": "p_tuning", "p_tuning": {"num_virtual_tokens": 16}},
    "prefix": {"method": "prefix_tuning", "prefix_tuning": {"num_virtual_tokens": 16}},
}
FACTOR = 1.25
"""The estimate is within it, up or down."""


def applied(kind: str, choice: dict[str, Any], model: PreTrainedModel) -> PreTrainedModel:
    config = Config.model_validate({"model": {"name": "none"}, **choice})
    return METHODS[config.method].apply(model, method_options(config)).train()


def measured(model: PreTrainedModel) -> int:
    """Bytes that autograd keeps of a forward pass up to the head, weights left out."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    ids = torch.randint(5, 200, (ROWS, LENGTH))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(input_ids=ids, logits_to_keep=1)
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    return sum(size for pointer, size in storages.items() if pointer not in weights)


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("kind", CONFIGS)
def test_activations_are_near_what_is_kept(kind: str, name: str) -> None:
    model = applied(kind, CHOICES[name], AutoModelForCausalLM.from_config(CONFIGS[kind], dtype=torch.float32))
    memory = estimate(model, dtype=torch.float32, batch_size=ROWS, length=LENGTH, answer_length=1)
    found = measured(model)
    assert found / FACTOR < memory.activations < found * FACTOR
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    everything = sum(each.numel() for each in model.parameters())
    assert memory.trained == 16 * trained and memory.weights == 4 * (everything - trained)
    assert memory.logits == ROWS * 256 * 16
    assert memory.total == memory.weights + memory.trained + memory.activations + memory.logits


def test_half_precision() -> None:
    base = AutoModelForCausalLM.from_config(CONFIGS["llama"], dtype=torch.bfloat16)
    model = applied("llama", CHOICES["lora"], base)
    memory = estimate(model, dtype=torch.bfloat16, batch_size=ROWS, length=LENGTH, answer_length=10)
    found = measured(model)
    assert found / FACTOR < memory.activations < found * FACTOR
    assert memory.weights == 2 * (count_parameters(model) - memory.trained // 16)
    assert memory.logits == ROWS * 10 * 256 * (2 + 12)


@pytest.mark.parametrize("kind", CONFIGS)
def test_of_shapes_alone(kind: str) -> None:
    """A model without memory is estimated as a real one; checkpointing keeps inputs and one layer."""
    options: dict[str, Any] = {"dtype": torch.float32, "batch_size": ROWS, "length": LENGTH, "answer_length": 5}
    real = applied(kind, CHOICES["lora"], AutoModelForCausalLM.from_config(CONFIGS[kind], dtype=torch.float32))
    on_meta = applied(kind, CHOICES["lora"], meta_model(CONFIGS[kind]))
    whole = estimate(real, **options)
    assert estimate(on_meta, **options) == whole
    assert whole.trained == 16 * lora_parameters(meta_model(CONFIGS[kind]))
    spared = estimate(real, **options, checkpointing=True)
    assert spared.activations == 3 * ROWS * LENGTH * 96 * 4 + whole.activations // 3


def test_methods_differ_as_they_train() -> None:
    """What trains less, or later layers alone, leaves room for more tokens."""
    cpu = torch.device("cpu")
    fits = {
        name: tokens_that_fit(applied("llama", choice, meta_model(CONFIGS["llama"])), device=cpu) or 0
        for name, choice in CHOICES.items()
        if choice["method"] in ("lora", "full", "bitfit", "freeze")
    }
    assert fits["full"] < fits["bitfit"] < fits["freeze"]
    assert fits["dora"] < fits["lora"] < fits["lora without dropout"] < fits["lora, last layer"]


def test_counts_of_the_tutorial() -> None:
    model = meta_model(YuanConfig())
    assert count_parameters(model) == 2_088_724_480
    assert lora_parameters(model) == 9_043_968
