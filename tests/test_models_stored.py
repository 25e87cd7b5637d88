"""Weights kept in bfloat16 against the same numbers in what is computed in; and when a model keeps them."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

from tests.tiny_models import IDS, KINDS, assert_same, learn, tiny
from yuantune.cli.model import app as model_app
from yuantune.errors import ModelError
from yuantune.models import memory, placement, stored
from yuantune.models.folder import is_bfloat16
from yuantune.models.load import load_model
from yuantune.models.stored import Bf16Linear, keep_bfloat16, widen


def pair(bias: bool = True) -> tuple[Bf16Linear, nn.Linear]:
    """A layer, and the plain one in float64 with its numbers."""
    torch.manual_seed(0)
    layer = Bf16Linear.of(nn.Linear(37, 23, bias, dtype=torch.bfloat16).requires_grad_(False)).double()
    plain = nn.Linear(37, 23, bias, dtype=torch.float64).requires_grad_(False)
    plain.load_state_dict({name: each.double() for name, each in layer.state_dict().items()})
    return layer, plain


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("block", [1, 100, 2**21])
def test_products_are_those_of_the_numbers(block: int, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "BLOCK", block)
    layer, plain = pair(bias)
    x = torch.randn(2, 5, 37, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(2, 5, 23, dtype=torch.float64)
    for each in (x, x[:0]):
        torch.testing.assert_close(layer(each), plain(each), rtol=1e-12, atol=1e-12)
    found, expected = (torch.autograd.grad(each(x), x, slope)[0] for each in (layer, plain))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_in_float32_nothing_is_rounded_that_a_plain_layer_keeps() -> None:
    layer, plain = (each.float() for each in pair())
    x = torch.randn(9, 37)
    assert layer(x).dtype == torch.float32
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-6, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
        torch.testing.assert_close(layer(x), plain(x), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    "change", [lambda m: m.float(), lambda m: m.half().double(), lambda m: m.to("meta"), copy.deepcopy]
)
def test_the_weight_keeps_its_format(change: Any) -> None:
    layer, _ = pair()
    weight = layer.weight.detach().clone()
    changed = change(copy.deepcopy(layer))
    assert changed.weight.dtype == torch.bfloat16 and not changed.weight.requires_grad
    assert changed.weight.is_meta or torch.equal(changed.weight, weight)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_computes_what_it_did(kind: str) -> None:
    """And not one weight is copied on the way."""
    model = tiny(kind, torch.bfloat16).requires_grad_(False)
    plain = copy.deepcopy(model).double()
    place = model.model.layers[1].mlp.up_proj.weight.data_ptr()
    assert keep_bfloat16(model, torch.float64) == 21
    assert model.dtype == torch.float64 and model.model.layers[1].mlp.up_proj.weight.data_ptr() == place
    for each in (model, plain):
        each.get_input_embeddings().weight.requires_grad_()
    assert_same(learn(model), learn(plain))
    assert widen(model, torch.float64) == 21 and not stored.stored(model)
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in model.state_dict().items())


def test_the_estimate_counts_bytes() -> None:
    model = tiny("yuan", torch.bfloat16).requires_grad_(False)
    options: dict[str, Any] = {"dtype": torch.float32, "batch_size": 1, "length": 4, "answer_length": 1}
    before = memory.estimate(model, **options)
    keep_bfloat16(model, torch.float32)
    after = memory.estimate(model, **options)
    inside = sum(layer.weight.numel() for layer in stored.stored(model).values())
    assert before.weights - after.weights == 2 * inside > 0 and before.activations == after.activations


# ------------------------------------------------------------------------------------------------------ loading


@pytest.fixture
def folder(yuan_folder: Path, tmp_path: Path) -> Path:
    """A model whose file is bfloat16."""
    return in_bfloat16(yuan_folder, tmp_path / "model")


def in_bfloat16(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    state = {name: each.bfloat16() for name, each in load_file(source / "model.safetensors").items()}
    save_file(state, target / "model.safetensors", metadata={"format": "pt"})
    return target


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without units for bfloat16, and with next to no memory."""
    monkeypatch.setattr(placement, "computes_bfloat16", lambda device: not device.startswith("cpu"))
    monkeypatch.setattr(memory, "memory_of", lambda device: 1000)
    return monkeypatch


def test_little_memory_keeps_what_loses_nothing(folder: Path, small: pytest.MonkeyPatch) -> None:
    model = load_model(folder, device_map="cpu")
    assert len(stored.stored(model)) == 14 and model.dtype == model.config.dtype == torch.float32
    plain = load_model(folder, device_map="cpu", quantization="none")
    assert not stored.stored(plain)
    torch.testing.assert_close(model(input_ids=IDS).logits, plain(input_ids=IDS).logits, rtol=1e-5, atol=1e-5)
    size = (folder / "model.safetensors").stat().st_size
    for share, kept in ((5.9, True), (6.1, False)):
        small.setattr(memory, "memory_of", lambda device, share=share: int(share * size))
        assert bool(stored.stored(load_model(folder, device_map="cpu"))) is kept


def test_what_is_asked_for_is_not_decided(folder: Path, yuan_folder: Path, small: pytest.MonkeyPatch) -> None:
    for options in ({"dtype": "float32"}, {"dtype": "bfloat16"}, {"quantization": "none"}):
        assert not stored.stored(load_model(folder, device_map="cpu", **options))
    assert not stored.stored(load_model("yuan2-mini", device_map="cpu"))
    assert not stored.stored(load_model(yuan_folder, device_map="cpu")), "float32 in bfloat16 is rounded"
    rounded = load_model(yuan_folder, device_map="cpu", dtype="float64", quantization="bf16")
    assert len(stored.stored(rounded)) == 14 and rounded.dtype == torch.float64
    whole = load_model(yuan_folder, device_map="cpu", dtype="float32")
    # What is not a linear layer keeps the file's digits.
    assert torch.equal(rounded.get_input_embeddings().weight.float(), whole.get_input_embeddings().weight)
    same = load_model(folder, device_map="cpu", dtype="bfloat16", quantization="bf16")
    assert not stored.stored(same) and same.dtype == torch.bfloat16
    small.setattr(placement, "computes_bfloat16", lambda device: True)
    assert not stored.stored(load_model(folder, device_map="cpu"))


def test_buffers_are_those_of_float32(tmp_path: Path, llama_folder: Path, small: pytest.MonkeyPatch) -> None:
    """Gemma scales its embeddings by a root that bfloat16 does not hold."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    shutil.copytree(llama_folder, tmp_path / "model")
    config = Gemma3TextConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, vocab_size=400, pad_token_id=0,
    )  # fmt: skip
    Gemma3ForCausalLM(config).bfloat16().save_pretrained(tmp_path / "model")
    kept, plain = (load_model(tmp_path / "model", device_map="cpu", quantization=how) for how in ("auto", "none"))
    assert len(stored.stored(kept)) == 14 and not stored.stored(plain)
    buffers = dict(plain.named_buffers())
    assert any("embed_scale" in name for name in buffers) and buffers.keys() == dict(kept.named_buffers()).keys()
    assert all(torch.equal(each, buffers[name]) for name, each in kept.named_buffers())
    torch.testing.assert_close(kept(input_ids=IDS).logits, plain(input_ids=IDS).logits, rtol=1e-5, atol=1e-5)


def test_a_model_without_linear_layers(tmp_path: Path, llama_folder: Path, small: pytest.MonkeyPatch) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    shutil.copytree(llama_folder, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    config = GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=400, n_positions=8)
    GPT2LMHeadModel(config).bfloat16().save_pretrained(tmp_path / "model")
    model = load_model(tmp_path / "model", device_map="cpu")
    assert {each.dtype for each in model.parameters()} == {torch.float32}
    with pytest.raises(ModelError, match="no linear layers"):
        load_model(tmp_path / "model", device_map="cpu", quantization="bf16")


def test_a_files_format_is_read_of_all_tensors(folder: Path, yuan_folder: Path, tmp_path: Path) -> None:
    assert is_bfloat16(folder) and not is_bfloat16(yuan_folder) and not is_bfloat16(tmp_path)
    state = load_file(folder / "model.safetensors")
    name = next(name for name in state if "norm" in name)
    save_file({**state, name: state[name].float()}, folder / "model.safetensors", metadata={"format": "pt"})
    assert not is_bfloat16(folder)
    # A pickle has no header; its config says what it was saved as.
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    config = json.loads((folder / "config.json").read_text())
    for told in ("bfloat16", "float32"):
        (folder / "config.json").write_text(json.dumps(config | {"dtype": told}))
        assert is_bfloat16(folder) == (told == "bfloat16")


# --------------------------------------------------------------------------------------------- limits of memory


def test_memory_is_what_the_tightest_group_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of both kinds, the process's own and those around it."""
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(memory, "_machine_memory", lambda: 100 * 2**30)
    cpu = torch.device("cpu")
    before = memory.memory_of(cpu)

    def limit(path: str, value: str) -> int:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(value + "\n")
        return memory.memory_of(cpu)

    assert limit("user.slice/run.scope/memory.max", "7000") == before  # It is not in there.
    (tmp_path / "own").write_text("5:cpu,cpuacct:/other\n4:memory:/slurm/job_7\n0::/user.slice/run.scope\n")
    assert memory.memory_of(cpu) == 7000
    assert limit("user.slice/run.scope/memory.max", "max") == before
    assert limit("user.slice/memory.max", "6000") == 6000
    assert limit("memory/slurm/memory.limit_in_bytes", "5000") == 5000
    assert limit("memory/slurm/job_7/memory.limit_in_bytes", "9000") == 5000
    assert limit("cpu/other/memory.limit_in_bytes", "10") == 5000
    assert limit("memory.max", "4000") == 4000


def test_show_counts_what_is_kept(folder: Path, tmp_path: Path, small: pytest.MonkeyPatch) -> None:
    weights = {}
    for kept in (True, False):
        small.setattr(placement, "KEPT_FROM", 0.0 if kept else 1e9)
        told = json.loads(CliRunner().invoke(model_app, ["show", str(folder), "--json"]).stdout)["lora"]["memory"][
            0
        ]
        assert (told["dtype"], told["kept"]) == ("float32", "bfloat16" if kept else None)
        weights[kept] = told["weights"]
    inside = sum(layer.weight.numel() for layer in stored.replaceable(load_model(folder, dtype="float32")).values())
    assert weights[False] - weights[True] == 2 * inside
    small.setattr(placement, "KEPT_FROM", 0.0)
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
    part = shutil.copytree(folder, tmp_path / "part")
    (part / "model.safetensors").unlink()
    (part / "model.safetensors.index.json").write_text(json.dumps(index))  # As a hub's, before a download.
    assert CliRunner().invoke(model_app, ["show", str(part)]).exit_code == 0
    assert "in float32 over bfloat16 weights" in CliRunner().invoke(model_app, ["show", str(folder)]).stdout
