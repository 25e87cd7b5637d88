"""Frozen int8 layers against plain products over the numbers that they stand for, in float64."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.tiny_models import IDS, tiny
from yuantune.errors import ModelError
from yuantune.models import memory, quantization
from yuantune.models import stored as kept
from yuantune.models.int8 import Int8Linear, quantize, quantize_rows
from yuantune.models.load import load_model
from yuantune.models.stored import stored, widen

WAYS = (False, True)


def pair(integer: bool, dtype: torch.dtype = torch.float64, bias: bool = True) -> tuple[Int8Linear, Tensor]:
    """A layer, and the weight that it stands for."""
    torch.manual_seed(0)
    plain = nn.Linear(37, 23, bias, dtype=dtype)
    plain.weight.data[3] *= 1000.0
    plain.weight.data[5] = 0.0
    layer = Int8Linear.of(plain.requires_grad_(False), integer=integer)
    return layer, layer.weight.double() * layer.scale.double()[:, None]


@given(
    st.lists(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=3, max_size=3), min_size=1, max_size=6)
)
def test_a_number_comes_back_within_half_a_step(rows: list[list[float]]) -> None:
    x = torch.tensor(rows, dtype=torch.float64)
    whole, scale = quantize_rows(x)
    assert whole.dtype == torch.int8 and scale.dtype == torch.float32 and bool((whole >= -127).all())
    error = (whole.double() * scale.double()[:, None] - x).abs()
    assert bool((error <= 0.5 * scale.double()[:, None] * (1 + 1e-5)).all())
    # As few levels are left unused as can be.
    used = x.abs().amax(-1) > 1e-30
    assert bool((whole.abs().amax(-1)[used] == 127).all())
    opposite, _ = quantize_rows(-x)
    assert torch.equal(opposite, -whole)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("block", [1, 100, 2**21])
def test_dequantized_products_are_those_of_the_stored_weight(
    block: int, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "BLOCK", block)
    layer, weight = pair(False, bias=bias)
    x = torch.randn(2, 5, 37, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(2, 5, 23, dtype=torch.float64)
    out = layer(x)
    torch.testing.assert_close(out, nn.functional.linear(x, weight, layer.bias), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(out, x, slope)[0], slope @ weight, rtol=1e-12, atol=1e-12)


def test_integer_products_are_within_the_rounding_of_the_input() -> None:
    """Half a step of a token's scale, at most, times the length of the weight's row, summed."""
    layer, weight = pair(True)
    x = torch.randn(6, 37, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(6, 23, dtype=torch.float64)
    out = layer(x)
    exact = nn.functional.linear(x, weight, layer.bias)
    step = x.detach().abs().amax(-1, keepdim=True) / 127
    bound = 0.5 * step * weight.abs().sum(-1) * (1 + 1e-5) + 1e-12
    error = (out - exact).detach().abs()
    assert bool((error <= bound).all()) and bool((error > 1e-6 * bound).any())  # It does round.
    (found,) = torch.autograd.grad(out, x, slope)
    folded = slope * layer.scale
    step = folded.abs().amax(-1, keepdim=True) / 127
    bound = 0.5 * step * layer.weight.double().abs().sum(0) * (1 + 1e-5) + 1e-12
    assert bool(((found - slope @ weight).abs() <= bound).all())
    # And it is what whole numbers give, to float64's rounding.
    whole, scale = quantize_rows(x.detach())
    naive = (whole.double() @ layer.weight.double().T) * scale.double()[:, None] * layer.scale.double()
    torch.testing.assert_close(out.detach(), naive + layer.bias, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("integer", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_formats(dtype: torch.dtype, integer: bool) -> None:
    layer, weight = pair(integer, dtype)
    x = (2 * torch.randn(9, 37)).to(dtype).requires_grad_()
    out = layer(x)
    out.sum().backward()
    assert out.dtype == dtype and x.grad is not None and x.grad.dtype == dtype
    assert bool(out.isfinite().all())
    exact = nn.functional.linear(x.detach().double(), weight, layer.bias.double())
    tolerance = 0.02 if integer else {torch.float32: 1e-6, torch.bfloat16: 1e-2, torch.float16: 2e-3}[dtype]
    assert (out.detach().double() - exact).norm() < tolerance * exact.norm()
    exact = torch.ones(9, 23, dtype=torch.float64) @ weight
    assert (x.grad.double() - exact).norm() < tolerance * exact.norm()


@pytest.mark.parametrize("integer", WAYS)
def test_no_tokens_and_what_is_not_finite(integer: bool) -> None:
    layer, _ = pair(integer, torch.float32)
    assert layer(torch.zeros(0, 37)).shape == (0, 23)
    x = torch.zeros(3, 37)
    x[1, 4] = torch.nan
    x[2, 4] = torch.inf
    finite = layer(x).isfinite()
    assert bool(finite[0].all()) and not bool(finite[1:].all())


def test_a_sum_that_int32_could_not_hold_is_no_integer_product() -> None:
    with torch.device("meta"):
        assert Int8Linear(133_144, 2, integer=True).integer
        assert not Int8Linear(133_145, 2, integer=True).integer
        assert not Int8Linear(2, 133_145, integer=True).integer


@pytest.mark.parametrize("change", [lambda m: m.bfloat16(), lambda m: m.half().double(), lambda m: m.to("meta")])
def test_scales_keep_their_format(change: Any) -> None:
    layer, _ = pair(False)
    scale = layer.scale.clone()
    changed = change(copy.deepcopy(layer))
    assert changed.scale.dtype == torch.float32 and changed.weight.dtype == torch.int8
    assert changed.scale.is_meta or torch.equal(changed.scale, scale)


def test_autocast_lowers_it_as_any_linear_layer() -> None:
    layer, weight = pair(False, torch.float32)
    x = torch.randn(4, 37)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    exact = nn.functional.linear(x.double(), weight, layer.bias.double())
    assert (out.double() - exact).norm() < 2e-2 * exact.norm()


# ------------------------------------------------------------------------------------------------- whole models


@pytest.mark.parametrize("kind", ["yuan", "llama-biased"])
def test_a_model_and_what_it_stands_for(kind: str) -> None:
    model = tiny(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert quantize(model) == 3 * 7 == len(stored(model))
    changed = set(stored(model))
    assert all(path.startswith("model.layers.") for path in changed)
    plain = copy.deepcopy(model)
    assert widen(plain, torch.float64) == 21 and not stored(plain)
    assert plain.state_dict().keys() == before.keys()
    for name, value in plain.state_dict().items():
        if name.removesuffix(".weight") in changed:
            step = before[name].abs().amax(-1, keepdim=True) / 127
            assert bool(((value - before[name]).abs() <= 0.5 * step * (1 + 1e-6)).all())
        else:
            assert torch.equal(value, before[name])
    torch.testing.assert_close(model(input_ids=IDS).logits, plain(input_ids=IDS).logits, rtol=1e-9, atol=1e-11)


def test_what_cannot_be_quantized() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    small = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=10, n_positions=8))
    with pytest.raises(ModelError, match="no linear layers"):
        quantize(small)
    model = tiny("llama")
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = torch.nan
    with pytest.raises(ModelError, match="not finite"):
        quantize(model)


@pytest.mark.parametrize("folder", ["yuan_folder", "llama_folder"])
def test_loading_rounds_the_files_numbers(folder: str, request: pytest.FixtureRequest) -> None:
    """In every format that is computed in, the same int8; and it is an ordinary model to transformers."""
    path = request.getfixturevalue(folder)
    expected = load_model(path, device_map="cpu", dtype="float32")
    quantize(expected)
    wants = expected.state_dict()
    for dtype in ("float32", "bfloat16", "float64"):
        model = load_model(path, device_map="cpu", dtype=dtype, quantization="int8")
        has = model.state_dict()
        assert has.keys() == wants.keys() and model.dtype == getattr(torch, dtype)
        for name in (f"{path}.{part}" for path in stored(model) for part in ("weight", "scale")):
            assert torch.equal(has[name], wants[name]), name
        assert not any(parameter.is_meta for parameter in model.parameters())
        assert not getattr(model, "is_quantized", False) and not hasattr(model, "hf_quantizer")
        assert "quantization_config" not in model.config.to_dict()
        assert (
            not hasattr(type(model), "_keep_in_fp32_modules_strict") or model._keep_in_fp32_modules_strict is None
        )


def test_loading_names_what_is_wrong(yuan_folder: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(yuan_folder, folder)
    state = load_file(folder / "model.safetensors")
    names = [name for name in state if "q_proj" in name or "up_proj" in name or "down_proj" in name]
    missing, infinite, reshaped = sorted(names)[:3]
    del state[missing]
    state[infinite][0, 0] = torch.inf
    state[reshaped] = state[reshaped][:-1].clone()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError) as caught:
        load_model(folder, device_map="cpu", quantization="int8")
    problems = {problem.where: problem.what for problem in caught.value.problems}
    assert problems.keys() == {missing, infinite, reshaped}
    assert "not finite" in problems[infinite] and "by the config" in problems[reshaped]


def test_a_base_that_is_quantized_already(yuan_folder: Path, tmp_path: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(yuan_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="quantized already"):
        load_model(folder, device_map="cpu", quantization="int8")


# -------------------------------------------------------------------------------------------------- the machine


def test_the_way_is_a_fact_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    facts: dict[str, bool] = {}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: facts)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    ways = quantization.integer_products
    assert not ways("auto", "cpu") and ways("integer", "cpu") and not ways("dequantize", "cpu")
    facts["avx512_vnni"] = True
    assert ways("auto", "cpu") and not ways("dequantize", "cpu") and not ways("auto", "cuda:0")
    with pytest.raises(ModelError, match="none on cuda:0"):
        ways("integer", "cuda:0")


def test_nf4_says_what_is_missing(yuan_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="nf4 cannot be had here") as caught:
        load_model(yuan_folder, device_map="cpu", quantization="nf4")
    assert [problem.where for problem in caught.value.problems] == ["device", "bitsandbytes"]
    assert "yuantune[nf4]" in str(caught.value)
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda name: object())
    quantization.require_nf4("cuda:0")
    with pytest.raises(ModelError) as caught:
        quantization.require_nf4("mps")
    assert [problem.where for problem in caught.value.problems] == ["device"]


def test_nf4_as_transformers_is_told() -> None:
    told = quantization.nf4_config(torch.bfloat16)
    assert told.load_in_4bit and told.bnb_4bit_quant_type == "nf4" and told.bnb_4bit_use_double_quant
    assert told.bnb_4bit_compute_dtype == torch.bfloat16


def test_the_estimate_counts_bytes() -> None:
    model = tiny("yuan", torch.float32).requires_grad_(False)
    options = {"dtype": torch.float32, "batch_size": 1, "length": 4, "answer_length": 1}
    before = memory.estimate(model, **options)
    quantize(model)
    after = memory.estimate(model, **options)
    inside = sum(layer.weight.numel() for layer in stored(model).values())
    scales = sum(layer.scale.numel() for layer in stored(model).values())  # type: ignore[union-attr]
    assert before.weights - after.weights == 3 * inside - 4 * scales > 0 and before.activations == after.activations
