"""LoRA and its family: targets found or refused, gradients of what the papers say, adapters for the base as it
was."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from tests.tiny_models import IDS, assert_same, learn, tiny
from yuantune.errors import ConfigError, WorkFailed
from yuantune.method_config import LoraSection
from yuantune.methods import lora, trainable_parameters


def gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32))


def options(**changes: Any) -> dict[str, Any]:
    return LoraSection.model_validate({"r": 2, "lora_dropout": 0.0, **changes}).dump()


def random(model: torch.nn.Module) -> None:
    """Factors as if they had learnt something."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name and "magnitude" not in name:
            parameter.data += torch.randn_like(parameter) / 3


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


def update(layer: Any, alpha: float, root: bool) -> tuple[Tensor, Tensor, Tensor]:
    """A layer's weight, its update, and both together."""
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    delta = alpha / (math.sqrt(len(a)) if root else len(a)) * (b @ a)
    return layer.base_layer.weight, delta, layer.base_layer.weight + delta


def naive(model: PreTrainedModel, given: dict[str, Any]) -> dict[str, Tensor]:
    """Loss and gradients by the papers' formulas: weights put together by autograd, in the model without
    adapters."""
    base = tiny("yuan" if "Yuan" in type(model.get_base_model()).__name__ else "llama")
    weights: dict[str, Tensor] = {}
    for name, module in model.get_base_model().named_modules():
        if hasattr(module, "lora_A"):
            alpha = next(
                (v for key, v in given["alpha_pattern"].items() if name.endswith(key)), given["lora_alpha"]
            )
            weight, _, whole = update(module, alpha, given["use_rslora"])
            if given["use_dora"]:
                length = module.lora_magnitude_vector["default"].weight
                # The paper takes the norm for a constant (section 4.3).
                whole = length[:, None] * whole / whole.norm(dim=1, keepdim=True).detach()
            assert not weight.requires_grad
            weights[f"{name}.weight"] = whole
    loss = torch.func.functional_call(base, weights, (), {"input_ids": IDS, "labels": IDS}).loss
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    slopes = torch.autograd.grad(loss, list(trained.values()))
    return {"loss": loss.detach(), **dict(zip(trained, slopes, strict=True))}


@pytest.mark.parametrize("kind", ["yuan", "llama"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_rslora": True},
        {"use_dora": True},
        {"rank_pattern": {"down_proj": 4}, "alpha_pattern": {"v_proj": 8}, "target_modules": "all-linear"},
        {"layers_to_transform": ["0-1"], "target_modules": "all-linear"},
        {"layers_to_transform": [-1], "target_modules": ["v_proj"], "use_dora": True, "use_rslora": True},
    ],
)
def test_gradients_are_those_of_the_formula(kind: str, changes: dict[str, Any]) -> None:
    given = options(**changes)
    model = lora.apply(tiny(kind), given).double().train()
    random(model)
    assert_same(learn(model), naive(model, given))
    layers = {
        int(name.split(".layers.")[1].split(".")[0]) for name, p in model.named_parameters() if p.requires_grad
    }
    assert layers == ({0, 1} if "0-1" in str(changes) else {2} if "-1" in str(changes) else {0, 1, 2})


@pytest.mark.parametrize("kind", ["yuan", "llama"])
@pytest.mark.parametrize(
    "changes",
    [
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "pissa_niter_4", "use_rslora": True},
        {"init_lora_weights": "olora", "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"v_proj": 8}},
        {"init_lora_weights": "pissa", "use_dora": True},
        {"init_lora_weights": "orthogonal"},
        {"init_lora_weights": "gaussian", "modules_to_save": ["norm"]},
    ],
)
def test_a_saved_adapter_is_for_the_base_as_it_was(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    """Also where the update began with a piece of the base; and training goes on with the very same numbers."""

    def made() -> PreTrainedModel:
        return lora.apply(tiny(kind, torch.float32), options(**changes))

    base = tiny(kind, torch.float32)(input_ids=IDS).logits
    model = made()
    torch.testing.assert_close(model(input_ids=IDS).logits, base, rtol=1e-4, atol=1e-4)
    random(model)
    for name, parameter in model.named_parameters():
        if "modules_to_save" in name and parameter.requires_grad:
            parameter.data *= 1.5
    lora.save(model, tmp_path)
    expected = model.eval()(input_ids=IDS).logits
    assert float((expected - base).detach().norm()) > 0.1 * float(base.detach().norm())
    for loaded in (
        lora.load(lambda _: tiny(kind, torch.float32), tmp_path),
        PeftModel.from_pretrained(tiny(kind, torch.float32), str(tmp_path)),
    ):
        torch.testing.assert_close(loaded.eval()(input_ids=IDS).logits, expected, rtol=1e-4, atol=1e-4)
    again = made()
    lora.restore(again, tmp_path)
    for (name, one), (_, other) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(one, other), name


def test_a_resume_that_begins_otherwise_is_refused(tmp_path: Path) -> None:
    lora.save(lora.apply(tiny("llama", torch.float32), options(init_lora_weights="pissa")), tmp_path)
    other = tiny("llama", torch.float32)
    other.model.layers[0].self_attn.q_proj.weight.data *= 1.1
    with pytest.raises(WorkFailed, match="otherwise than this machine"):
        lora.restore(lora.apply(other, options(init_lora_weights="pissa")), tmp_path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"layers_to_transform": [7, "1-9", "2-1"]}, "7: no such layer.*1-9: no such layer.*2-1: ends before"),
        ({"layers_to_transform": []}, "names none of the layers"),
        ({"rank_pattern": {"dwn_proj": 4}, "alpha_pattern": {"(": 4}}, "did you mean 'down_proj'.*is no pattern"),
        ({"modules_to_save": ["nrm", "embed_tokens"]}, r"no such module \(did you mean 'norm'.*one weight here"),
    ],
)
def test_what_fits_nothing_is_named(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){expected}"):
        lora.apply(tiny("yuan"), options(**changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"init_lora_weights": "eva", "rank_pattern": {"q_proj": 4}}, "eva excludes rank_pattern"),
        ({"init_lora_weights": "pisa"}, "not 'pisa'"),
        (
            {"init_lora_weights": "pissa", "use_rslora": True, "alpha_pattern": {"q_proj": 4}},
            "excludes rank_pattern",
        ),
        ({"layers_to_transform": ["last"]}, "ranges like 8-15, not 'last'"),
    ],
)
def test_options_that_cannot_be(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        LoraSection.model_validate(changes)
