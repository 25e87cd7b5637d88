"""The last layer for the needed tokens only, against all of it: loss and gradients in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tests.test_models_grouped import LORA, MODELS, SIZES, built, gradients, typical
from yuantune.batch.collate import collate
from yuantune.batch.layout import lay_out
from yuantune.models.loss import supervised_loss
from yuantune.models.needed import only_needed, parts_of
from yuantune.models.probe import inner
from yuantune.train.step import computing


class Seen:
    """How many tokens came to a module's projections."""

    def __init__(self, module: nn.Module) -> None:
        self.tokens: list[int] = []
        module.register_forward_pre_hook(lambda _, args: self.tokens.append(args[0][..., 0].numel()))


def last(model: PreTrainedModel) -> Any:
    return inner(model).get_decoder().layers[-1]


def check_equal(model: PreTrainedModel, batch: Any, context: Any) -> int:
    """Compares both ways; how many tokens the last MLP computed within `context`."""
    expected = supervised_loss(model, **collate(typical(), pad_id=0))
    theirs = gradients(model, expected)
    seen = Seen(last(model).mlp.down_proj)
    with context:
        loss = supervised_loss(model, **batch)
        mine = gradients(model, loss)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    assert mine.keys() == theirs.keys()
    for name in theirs:
        torch.testing.assert_close(mine[name], theirs[name], rtol=1e-9, atol=1e-9, msg=name)
    return seen.tokens[-1]


@pytest.mark.parametrize("kind", sorted(MODELS))
@pytest.mark.parametrize("grouped", [False, True])
def test_loss_and_gradients_are_those_of_all_tokens(kind: str, grouped: bool) -> None:
    model = built(kind)
    batch: Any = lay_out(typical()) if grouped else collate(typical(), pad_id=0)
    needed = len(set(zip(batch["row_S"].tolist(), batch["position_S"].tolist(), strict=True)))
    assert check_equal(model, batch, computing(model, batch)) == needed < batch["input_ids"].numel() / 2


@pytest.mark.parametrize("kind", sorted(LORA))
@pytest.mark.parametrize("reentrant", [None, True, False])
def test_with_lora_and_checkpointing(kind: str, reentrant: bool | None) -> None:
    tuned = get_peft_model(built(kind), LoraConfig(task_type="CAUSAL_LM", target_modules=LORA[kind]))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    if reentrant is not None:
        inner(tuned).activation_checkpointing_enable({"use_reentrant": reentrant})
        tuned.enable_input_require_grads()
    tuned.train()
    batch = lay_out(typical())
    check_equal(tuned, batch, computing(tuned, batch))


def test_the_parts_are_as_before_afterwards() -> None:
    model = built("llama")
    batch = collate(typical(), pad_id=0)
    before = model(batch["input_ids"]).logits
    with only_needed(model, batch["input_ids"], batch["row_S"], batch["position_S"]):
        assert not torch.equal(model(batch["input_ids"]).logits, before)
    assert torch.equal(model(batch["input_ids"]).logits, before)
    assert not any("forward" in vars(module) for module in last(model).modules() if type(module) is nn.Linear)


def test_a_batch_that_is_mostly_needed_is_computed_whole() -> None:
    model = built("llama")
    ids = torch.arange(10)[None]
    place_S = torch.arange(9)
    with only_needed(model, ids, torch.zeros_like(place_S), place_S):
        assert "forward" not in vars(last(model).mlp)


def test_another_batch_is_computed_whole() -> None:
    model = built("llama")
    ids = torch.arange(10)[None]
    one = torch.tensor([3])
    expected = model(ids[:, :7]).logits
    with only_needed(model, ids, torch.zeros_like(one), one):
        assert torch.equal(model(ids[:, :7]).logits, expected)


class Mixing(nn.Module):
    """An MLP whose tokens are not each other's strangers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(1)


def test_models_that_are_built_otherwise_compute_all() -> None:
    torch.manual_seed(0)
    mixing = LlamaForCausalLM(LlamaConfig(**SIZES, num_attention_heads=2))
    last(mixing).mlp = Mixing()
    assert parts_of(mixing) == []  # What the projection leaves out, this MLP reads.
    without = built("llama")
    without.lm_head = nn.Sequential(without.lm_head)
    assert parts_of(without) == []


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_queries_are_spared_where_keys_are_made_elsewhere(kind: str) -> None:
    """With weights so small that attention looks even, whatever the keys are."""
    model = built(kind)
    for parameter in model.parameters():
        parameter.data.mul_(1e-3)
    attention = last(model).self_attn
    spared = parts_of(model)
    assert {id(attention.o_proj), id(last(model).mlp)} <= {id(part) for part in spared}
    assert any(part is attention.q_proj for part in spared) == (kind != "yuan")
