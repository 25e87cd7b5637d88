"""(IA)³, BitFit and the last layers: gradients by the formulas, round trips, and models that they are not for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from tests.tiny_models import IDS, assert_same, learn, tiny
from yuantune.errors import ConfigError, RunError
from yuantune.method_config import FreezeSection, IA3Section
from yuantune.methods import METHODS, bitfit, freeze, ia3


def scaled(**changes: Any) -> dict[str, Any]:
    return IA3Section.model_validate(changes).dump()


def gpt2() -> PreTrainedModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=3, n_head=2, n_positions=32)).eval()


def random(model: PreTrainedModel) -> None:
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) / 3


def naive_ia3(model: PreTrainedModel, kind: str) -> dict[str, Tensor]:
    """The scales multiplied into the weights: rows of keys and values, columns of the MLP's last projection."""
    weights: dict[str, Tensor] = {}
    for name, module in model.get_base_model().named_modules():
        if hasattr(module, "ia3_l"):
            scale = module.ia3_l["default"]
            assert scale.shape == ((1, 24) if "down_proj" in name else (len(module.base_layer.weight), 1))
            weights[f"{name}.weight"] = module.base_layer.weight * scale
            if module.base_layer.bias is not None:
                weights[f"{name}.bias"] = module.base_layer.bias * scale[:, 0]
    loss = torch.func.functional_call(tiny(kind), weights, (), {"input_ids": IDS, "labels": IDS}).loss
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return {
        "loss": loss.detach(),
        **dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True)),
    }


@pytest.mark.parametrize(("kind", "targets"), [("yuan", 4), ("llama", 3), ("llama-biased", 3)])
def test_ia3_by_the_formula(kind: str, targets: int) -> None:
    model = ia3.apply(tiny(kind), scaled()).train()
    torch.testing.assert_close(model(input_ids=IDS).logits, tiny(kind)(input_ids=IDS).logits, rtol=0, atol=0)
    random(model)
    assert sum(p.requires_grad for p in model.parameters()) == 3 * targets
    assert_same(learn(model.double()), naive_ia3(model, kind))


@pytest.mark.parametrize("method", ["bitfit", "freeze"])
@pytest.mark.parametrize("kind", ["yuan", "llama-biased"])
def test_own_weights_by_full_training(kind: str, method: str) -> None:
    """What is trained has the gradients that it has where everything is trained."""
    model = METHODS[method].apply(tiny(kind), FreezeSection(trained_layers=2).dump()).train()
    found = learn(model)
    whole = learn(tiny(kind).train())
    assert_same(found, {name: whole[name] for name in found})
    names = set(found) - {"loss"}
    if method == "bitfit":
        assert names == {name for name, _ in model.named_parameters() if name.endswith(".bias")}
        assert all(("lf_gate" in name) == (kind == "yuan") for name in names)
    else:
        assert names == {
            name for name, _ in model.named_parameters() if ".layers.1." in name or ".layers.2." in name
        }


@pytest.mark.parametrize(("kind", "method"), [
    ("yuan", "ia3"), ("llama", "ia3"), ("yuan", "bitfit"), ("llama-biased", "bitfit"), ("yuan", "freeze"),
    ("llama", "freeze"),
])  # fmt: skip
def test_round_trip(kind: str, method: str, tmp_path: Path) -> None:
    given = {"ia3": scaled(), "freeze": FreezeSection().dump()}.get(method, {})
    model = METHODS[method].apply(tiny(kind), given)
    random(model)
    METHODS[method].save(model, tmp_path)
    expected = model.eval()(input_ids=IDS).logits
    assert not torch.allclose(expected, tiny(kind)(input_ids=IDS).logits)
    loaded = METHODS[method].load(lambda _: tiny(kind), tmp_path)
    torch.testing.assert_close(loaded.eval()(input_ids=IDS).logits, expected, rtol=0, atol=0)
    if method == "ia3":
        plain = PeftModel.from_pretrained(tiny(kind), str(tmp_path)).eval()
        torch.testing.assert_close(plain(input_ids=IDS).logits, expected, rtol=0, atol=0)
    again = METHODS[method].apply(tiny(kind), given)
    restore = METHODS[method].restore
    assert restore is not None
    restore(again, tmp_path)
    for (name, one), (_, other) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(one, other), name


def test_scales_of_a_low_precision_base_are_wide() -> None:
    model = ia3.apply(tiny("yuan", torch.bfloat16), scaled()).train()
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert all(bool(slope.isfinite().all()) for slope in learn(model).values())


def test_models_that_they_are_not_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="LlamaForCausalLM has none here"):
        bitfit.apply(tiny("llama"), {})
    with pytest.raises(ConfigError, match="trained_layers: 4: YuanForCausalLM has 3 layers"):
        freeze.apply(tiny("yuan"), FreezeSection(trained_layers=4).dump())
    with pytest.raises(ConfigError, match=r"(?s)name what is to be scaled in GPT2LMHeadModel.*c_attn"):
        ia3.apply(gpt2(), scaled())
    with pytest.raises(ConfigError, match="did you mean 'k_proj'"):
        ia3.apply(tiny("yuan"), scaled(target_modules=["k_prj"]))
    with pytest.raises(ConfigError, match="up_proj: is not one of them"):
        ia3.apply(tiny("yuan"), scaled(feedforward_modules=["up_proj"]))
    freeze.save(freeze.apply(tiny("yuan"), FreezeSection().dump()), tmp_path)
    with pytest.raises(RunError, match="is of another model"):
        freeze.load(lambda _: tiny("llama"), tmp_path)
