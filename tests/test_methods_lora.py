"""LoRA's targets: found in every kind of model, and refused with what there is."""

from __future__ import annotations

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from yuantune.config import LoraSection
from yuantune.errors import ConfigError
from yuantune.methods import lora, trainable_parameters


def gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32))


def options(**changes: object) -> dict[str, object]:
    return {**LoraSection().model_dump(), "r": 2, **changes}


def test_other_names_than_the_models_are_listed() -> None:
    """GPT-2 has none of the default targets, and its linear layers are no `nn.Linear`."""
    with pytest.raises(ConfigError) as caught:
        lora.apply(gpt2(), options())
    assert [problem.where for problem in caught.value.problems] == LoraSection().target_modules
    assert "its linear layers are: c_attn, c_fc, c_proj, lm_head" in caught.value.hint
    with pytest.raises(ConfigError, match="all-linear, not 'all'"):
        lora.apply(gpt2(), options(target_modules="all"))


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")
def test_layers_of_gpt2_are_trained() -> None:
    """Rank 2 on layers of 16 to 48, 16 to 16, 16 to 64 and 64 to 16 numbers, in each of two blocks."""
    attention = 2 * 2 * (16 + 48)
    assert trainable_parameters(lora.apply(gpt2(), options(target_modules=["c_attn"])))[0] == attention
    rest = 2 * 2 * ((16 + 16) + (16 + 64) + (64 + 16))
    assert trainable_parameters(lora.apply(gpt2(), options(target_modules="all-linear")))[0] == attention + rest
