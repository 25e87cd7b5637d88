"""The leaner LoRA forward against PEFT's own, values and gradients in float64."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from yuantune.methods.lean import LoraLinear, keep_mask, make_lean


def tuned(**options: Any) -> PeftModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        attention_bias=True,
    )  # fmt: skip
    lora = LoraConfig(**{"task_type": "CAUSAL_LM", "r": 3, "target_modules": "all-linear", **options})
    model = get_peft_model(LlamaForCausalLM(config).double(), lora)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter, dtype=torch.float64) / 3
    return model.train()


IDS = torch.arange(12)[None]


def learn(model: PeftModel) -> dict[str, torch.Tensor]:
    ids = torch.arange(24).view(2, 12)
    model.zero_grad()
    output = model(input_ids=ids, labels=ids)
    output.loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {"logits": output.logits.detach(), **found}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj"], ["gate_proj", "up_proj", "down_proj"]])
def test_values_and_gradients(targets: Any) -> None:
    plain = tuned(lora_dropout=0.0, target_modules=targets)
    lean = tuned(lora_dropout=0.0, target_modules=targets)
    assert make_lean(lean) == 2 * {"all-linear": 7}.get(str(targets), len(targets))
    assert_same(learn(lean), learn(plain))


@pytest.mark.parametrize(
    "options", [{"use_dora": True}, {"use_rslora": True}, {"lora_bias": True, "target_modules": ["q_proj"]}]
)
def test_other_kinds_of_lora(options: dict[str, Any]) -> None:
    plain, lean = tuned(lora_dropout=0.0, **options), tuned(lora_dropout=0.0, **options)
    make_lean(lean)
    assert_same(learn(lean), learn(plain))


def test_evaluation_knows_no_dropout() -> None:
    plain, lean = tuned(lora_dropout=0.5).eval(), tuned(lora_dropout=0.5).eval()
    make_lean(lean)
    assert_same(learn(lean), learn(plain))
    with torch.no_grad():
        assert_same({"logits": lean(input_ids=IDS).logits}, {"logits": plain(input_ids=IDS).logits})


def test_merging_and_disabling_are_pefts() -> None:
    plain, lean = tuned(lora_dropout=0.5).eval(), tuned(lora_dropout=0.5).eval()
    make_lean(lean)
    ids = IDS
    plain.merge_adapter(), lean.merge_adapter()
    assert torch.equal(plain(input_ids=ids).logits, lean(input_ids=ids).logits)
    plain.unmerge_adapter(), lean.unmerge_adapter()
    with plain.disable_adapter(), lean.disable_adapter():
        assert torch.equal(plain(input_ids=ids).logits, lean(input_ids=ids).logits)
    assert plain.state_dict().keys() == lean.state_dict().keys()
    assert torch.equal(copy.deepcopy(lean)(input_ids=ids).logits, lean(input_ids=ids).logits)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dropout_is_inverted_and_its_gradient_knows_the_mask(dtype: torch.dtype) -> None:
    """With x = 1, W = 0 and A = B = 1 an output is the share that was kept, over what is kept on average."""
    torch.manual_seed(0)
    x = torch.ones(400, 64, dtype=dtype, requires_grad=True)
    a = torch.ones(1, 64, dtype=torch.float32 if dtype == torch.bfloat16 else dtype, requires_grad=True)
    b = torch.ones(1, 1, dtype=a.dtype, requires_grad=True)
    out = LoraLinear.apply(x, torch.zeros(1, 64, dtype=dtype), None, a, b, 2.0, 0.25)
    out.sum().backward()
    assert x.grad is not None and a.grad is not None and b.grad is not None
    assert out.mean().item() == pytest.approx(2 * 64, rel=0.02)
    assert out.dtype == x.grad.dtype == dtype and a.grad.dtype == b.grad.dtype == a.dtype
    kept = x.grad != 0
    assert kept.double().mean().item() == pytest.approx(0.75, abs=0.01)
    assert x.grad[kept].double().unique().tolist() == pytest.approx([2 / 0.75], rel=0.01)
    torch.testing.assert_close(a.grad[0].double(), kept.double().sum(0) * 2 / 0.75, rtol=0.02, atol=0)
    torch.testing.assert_close(b.grad.double().sum(), out.double().sum(), rtol=0.02, atol=0)


def test_masks_come_from_torchs_state() -> None:
    x = torch.zeros(300, 100)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, second = keep_mask(x, 0.1), keep_mask(x, 0.1)
    torch.set_rng_state(state)
    assert torch.equal(first, keep_mask(x, 0.1)) and not torch.equal(first, second)
    for share in (first.double().mean().item(), second.double().mean().item()):
        assert share == pytest.approx(0.9, abs=0.006)
    assert (first & second).double().mean().item() == pytest.approx(0.81, abs=0.008)  # independent


def test_a_plain_layer_against_autograd_with_a_given_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    x, w, bias = torch.randn(5, 6, requires_grad=True), torch.randn(4, 6), torch.randn(4)
    a, b = torch.randn(2, 6, requires_grad=True), torch.randn(4, 2, requires_grad=True)
    mask = torch.rand(5, 6) > 0.3
    monkeypatch.setattr("yuantune.methods.lean.keep_mask", lambda x, p: mask)
    slope = torch.randn(5, 4)
    mine = torch.autograd.grad(LoraLinear.apply(x, w, bias, a, b, 1.5, 0.3), (x, a, b), slope)
    theirs = torch.autograd.grad(
        nn.functional.linear(x, w, bias) + 1.5 * (x * mask / 0.7) @ a.T @ b.T, (x, a, b), slope
    )
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)
