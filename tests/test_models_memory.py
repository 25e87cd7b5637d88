"""The memory estimate against what autograd really keeps."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig

from yuantune.models.memory import TARGETS, count_parameters, estimate, lora_parameters, meta_model
from yuantune.models.yuan2.config import YuanConfig

ROWS, LENGTH = 2, 48
CONFIGS = [
    LlamaConfig(
        vocab_size=256, hidden_size=96, intermediate_size=264, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2,
    ),
    YuanConfig(
        vocab_size=256, hidden_size=96, intermediate_size=384, num_hidden_layers=3, num_attention_heads=4,
        pad_token_id=1, bos_token_id=1, eos_token_id=1,
    ),
]  # fmt: skip


def measured(config: PreTrainedConfig, dtype: torch.dtype) -> tuple[int, int]:
    """Bytes that autograd keeps of a forward pass of LoRA, weights left out; and the adapter's parameters."""
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model = get_peft_model(model, LoraConfig(r=8, lora_dropout=0.1, target_modules=list(TARGETS))).train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    ids = torch.randint(5, 200, (ROWS, LENGTH))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.get_base_model().model(ids, use_cache=False)
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return sum(size for pointer, size in storages.items() if pointer not in weights), trained


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", CONFIGS, ids=["llama", "yuan"])
def test_activations_are_within_a_sixth_of_what_is_kept(config: PreTrainedConfig, dtype: torch.dtype) -> None:
    model = meta_model(config)
    activations, trained = measured(config, dtype)
    options = {"dtype": dtype, "batch_size": ROWS, "length": LENGTH, "answer_length": 10, "on_cpu": True}
    memory = estimate(model, **options)
    assert memory.activations == pytest.approx(activations, rel=1 / 6)
    assert lora_parameters(model) == trained
    assert memory.adapter == 16 * trained
    assert memory.weights == dtype.itemsize * count_parameters(model)
    assert memory.logits == ROWS * 10 * 256 * (dtype.itemsize + 12)
    assert memory.total == memory.weights + memory.adapter + memory.activations + memory.logits
    spared = estimate(model, **options, checkpointing=True)
    inputs = 3 * ROWS * LENGTH * 96 * dtype.itemsize
    assert spared.activations == inputs + memory.activations // 3


def test_counts_of_the_tutorial() -> None:
    model = meta_model(YuanConfig())
    assert count_parameters(model) == 2_088_724_480
    assert lora_parameters(model) == 9_043_968
