"""Prefix groups against every example on its own, padded or alone: loss and gradients in float64."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.test_batch_layout import batches, example
from yuantune.batch.collate import collate
from yuantune.batch.layout import lay_out
from yuantune.data.examples import Example
from yuantune.errors import ModelError
from yuantune.models.grouped import grouped
from yuantune.models.loss import supervised_loss
from yuantune.models.probe import inner
from yuantune.models.yuan2.config import YuanConfig
from yuantune.models.yuan2.model import YuanForCausalLM

SIZES = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
TOKENS = {"max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0, "eod_token_id": 1}
GQA = {**SIZES, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "yuan": lambda: YuanForCausalLM(YuanConfig(**SIZES, **TOKENS, num_attention_heads=2)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, num_attention_heads=2)),
    "qwen": lambda: Qwen3ForCausalLM(Qwen3Config(**GQA)),
    "gemma": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**GQA, sliding_window=64)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**GQA, sliding_window=64)),
}
LORA = {
    "yuan": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "llama": ["q_proj", "v_proj"],
    "gemma": "all-linear",
}


def built(kind: str) -> PreTrainedModel:
    """A model in float64 throughout: transformers' norms work in float32, whatever comes in."""
    torch.manual_seed(0)
    model = MODELS[kind]().double().eval()
    for module in model.modules():
        if type(module).__name__ in ("LlamaRMSNorm", "Qwen3RMSNorm", "MistralRMSNorm", "Gemma3RMSNorm"):
            module.forward = functools.partial(wide_norm, module)
    return model


def wide_norm(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    gemma = type(module).__name__ == "Gemma3RMSNorm"
    epsilon = module.eps if gemma else module.variance_epsilon
    return (
        (1 + module.weight if gemma else module.weight) * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)
    )


@pytest.fixture(scope="module", params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> Iterator[PreTrainedModel]:
    yield built(request.param)


def gradients(model: PreTrainedModel, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def placed(batch: Any, model: PreTrainedModel) -> Any:
    """A batch on the model's device."""
    return {name: each.to(next(model.parameters()).device) for name, each in batch.items()}


def compare(model: PreTrainedModel, examples: list[Example], least: int) -> None:
    expected = supervised_loss(model, **placed(collate(examples, pad_id=0), model))
    theirs = gradients(model, expected)
    with grouped(inner(model)):
        loss = supervised_loss(model, **placed(lay_out(examples, least=least), model))
        mine = gradients(model, loss)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    assert mine.keys() == theirs.keys()
    for name in theirs:
        torch.testing.assert_close(mine[name], theirs[name], rtol=1e-9, atol=1e-9, msg=name)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(examples=batches(), least=st.integers(1, 3))
def test_loss_and_gradients_are_those_of_padded_rows(
    model: PreTrainedModel, examples: list[Example], least: int
) -> None:
    compare(model, examples, least)


def typical(rows: int = 5) -> list[Example]:
    prompt = list(range(1, 20))
    return [example([*prompt, *range(5 + i, 9 + 2 * i), 3], 24) for i in range(rows)]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_typical_batch(model: PreTrainedModel, rows: int) -> None:
    compare(model, typical(rows), 16)


@pytest.mark.parametrize("kind", sorted(LORA))
def test_with_lora(kind: str) -> None:
    tuned = get_peft_model(built(kind), LoraConfig(task_type="CAUSAL_LM", target_modules=LORA[kind]))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    tuned.eval()
    compare(tuned, typical(), 16)


@pytest.mark.parametrize("reentrant", [True, False])
def test_with_gradient_checkpointing(reentrant: bool) -> None:
    model = built("yuan")
    expected = gradients(model, supervised_loss(model, **collate(typical(), pad_id=0)))
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    model.train()
    with grouped(model):
        mine = gradients(model, supervised_loss(model, **lay_out(typical())))
    for name in expected:
        torch.testing.assert_close(mine[name], expected[name], rtol=1e-9, atol=1e-9, msg=name)


def test_outside_the_model_attends_as_before(model: PreTrainedModel) -> None:
    ids = torch.tensor([[5, 6, 7]])
    before = model(input_ids=ids).logits
    with grouped(model):
        pass
    assert torch.equal(model(input_ids=ids).logits, before)


def test_a_window_shorter_than_an_example_is_refused() -> None:
    model = MistralForCausalLM(MistralConfig(**GQA, sliding_window=8))
    with grouped(model), pytest.raises(ModelError, match="attends over 8 tokens"):
        supervised_loss(model, **lay_out(typical()))
