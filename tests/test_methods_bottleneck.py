"""Bottleneck adapters against layers written out by hand; one call to load, switched and swapped at run time."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from tests.tiny_models import IDS, assert_same, learn, tiny
from yuantune.errors import ConfigError, ModelError, RunError
from yuantune.method_config import BottleneckSection
from yuantune.methods import bottleneck, trainable_parameters

CHANGES: list[dict[str, Any]] = [
    {"kind": "houlsby", "reduction_factor": 4},
    {"kind": "pfeiffer", "non_linearity": "gelu", "layers": ["0-1"]},
    {"kind": "parallel", "scaling": 4.0, "non_linearity": "silu", "layers": [-1, 0]},
    {"kind": "houlsby", "non_linearity": "tanh", "scaling": 0.5},
]


def options(**changes: Any) -> dict[str, Any]:
    return BottleneckSection.model_validate(changes).dump()


def random(model: nn.Module, seed: int = 1) -> None:
    """Weights as if they had learnt something."""
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "bottlenecks" in name:
            parameter.data = torch.randn_like(parameter) / 2


def naive(model: PreTrainedModel, given: dict[str, Any]) -> dict[str, Tensor]:
    """Loss and gradients of a base whose layers are written out with the adapter's formulas."""
    base = copy.deepcopy(tiny("yuan" if "Yuan" in type(model).__name__ else "llama")).requires_grad_(False)
    function = {"relu": torch.relu, "gelu": nn.GELU(), "silu": nn.SiLU(), "tanh": torch.tanh}[
        given["non_linearity"]
    ]

    def written_out(layer: Any, adapters: dict[str, Any]) -> Any:
        def added(place: str, v: Tensor) -> Tensor:
            if place not in adapters:
                return torch.zeros_like(v)
            a = adapters[place]
            return given["scaling"] * (function(v @ a.down_WD.T + a.down_W) @ a.up_DW.T + a.up_D)

        def forward(x: Tensor, **more: Any) -> Tensor:
            y = layer.self_attn(layer.input_layernorm(x), **more)[0]
            x = x + y + added("o_proj", y)
            h = layer.post_attention_layernorm(x)
            y = layer.mlp(h)
            return x + y + added("mlp", h if given["kind"] == "parallel" else y)

        return forward

    for layer, theirs in zip(base.model.layers, model.model.layers, strict=True):
        adapters = theirs.bottlenecks["default"] if hasattr(theirs, "bottlenecks") else {}
        layer.forward = written_out(layer, adapters)
    loss = base(input_ids=IDS, labels=IDS).loss
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return {
        "loss": loss.detach(),
        **dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True)),
    }


@pytest.mark.parametrize("kind", ["yuan", "llama"])
@pytest.mark.parametrize("changes", CHANGES)
def test_gradients_are_those_of_the_formula(kind: str, changes: dict[str, Any]) -> None:
    given = options(**changes)
    model = bottleneck.apply(tiny(kind), given).train()
    assert torch.equal(model(input_ids=IDS).logits, tiny(kind)(input_ids=IDS).logits)  # Nothing learnt yet.
    random(model)
    assert_same(learn(model), naive(model, given))


def test_sizes() -> None:
    """Two layers of three, one adapter each: 16 to 4 and back, with biases."""
    model = bottleneck.apply(tiny("llama"), options(reduction_factor=4, layers=[0, 2]))
    assert trainable_parameters(model)[0] == 2 * (16 * 4 + 4 + 4 * 16 + 16)
    model = bottleneck.apply(tiny("llama"), options(reduction_factor=100, layers=[0], kind="houlsby"))
    assert trainable_parameters(model)[0] == 2 * (16 + 1 + 16 + 16)


@pytest.mark.parametrize("kind", ["yuan", "llama"])
def test_saved_switched_off_and_swapped(kind: str, tmp_path: Path) -> None:
    base = tiny(kind)(input_ids=IDS).logits
    expected = {}
    for name, changes in {"one": CHANGES[0], "two": CHANGES[2]}.items():
        model = bottleneck.apply(tiny(kind), options(**changes))
        random(model, seed=len(expected))
        bottleneck.save(model, tmp_path / name)
        expected[name] = model.eval()(input_ids=IDS).logits
        loaded = bottleneck.load(lambda _: tiny(kind), tmp_path / name)
        assert torch.equal(loaded(input_ids=IDS).logits, expected[name])
    assert not torch.allclose(expected["one"], base) and not torch.allclose(expected["one"], expected["two"])
    both = tiny(kind)
    for name in expected:
        bottleneck.attach(both, tmp_path / name, name)
    for model in (both, copy.deepcopy(both)):
        for name, logits in (("one", expected["one"]), (None, base), ("two", expected["two"])):
            bottleneck.activate(model, name)
            assert torch.equal(model(input_ids=IDS).logits, logits)
    with pytest.raises(ModelError, match="an adapter 'two' already"):
        bottleneck.attach(both, tmp_path / "one", "two")
    with pytest.raises(ModelError, match="no adapter 'three'"):
        bottleneck.activate(both, "three")


def test_dropout_is_for_training_only() -> None:
    model = bottleneck.apply(tiny("llama"), options(dropout=0.5))
    random(model)
    assert torch.equal(model.eval()(input_ids=IDS).logits, model(input_ids=IDS).logits)
    model.train()
    assert not torch.equal(model(input_ids=IDS).logits, model(input_ids=IDS).logits)


def test_low_precision_bases_keep_wide_adapters() -> None:
    model = bottleneck.apply(tiny("yuan", torch.bfloat16), options()).train()
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    found = learn(model)
    assert all(bool(slope.isfinite().all()) for slope in found.values())


def test_what_a_model_lacks_is_named(tmp_path: Path) -> None:
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32))
    with pytest.raises(ModelError, match="GPT2LMHeadModel has no list of layers"):
        bottleneck.apply(gpt2, options())
    with pytest.raises(ConfigError, match=r"bottleneck\.layers names layers"):
        bottleneck.apply(tiny("yuan"), options(layers=[3]))
    bottleneck.save(bottleneck.apply(tiny("yuan"), options()), tmp_path)
    with pytest.raises(RunError, match="another shape"):
        bottleneck.restore(bottleneck.apply(tiny("yuan"), options(kind="houlsby")), tmp_path)
