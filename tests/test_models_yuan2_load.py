"""Yuan2's config, its size, its folders as published, and PEFT on top of it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from tests.yuan2_reference import (
    EOD,
    PAD,
    TINY,
    close,
    padded,
    parameters_of,
    random_ids,
    reference_from_embeddings,
    reference_logits,
    sequences,
    tiny_model,
)
from yuantune.errors import ModelError
from yuantune.models.yuan2.config import YuanConfig
from yuantune.models.yuan2.model import YuanForCausalLM, YuanModel

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PUBLISHED = {
    "architectures": ["YuanForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_yuan.YuanConfig",
        "AutoModelForCausalLM": "yuan_hf_model.YuanForCausalLM",
    },
    "model_type": "yuan",
    "torch_dtype": "float64",
    "hidden_act": "silu",
    "dropout": 0.1,
    "causal_mask": True,
    "use_cache": True,
    "use_flash_attention": True,
    "use_loss_mask": False,
    "reset_position_ids": True,
    "reset_attention_mask": True,
    "model_max_length": 8192,
    "tie_word_embeddings": True,
    "eod_token": "<eod>",
    "eod_token_id": EOD,
    "sep_token": "<sep>",
    "sep_token_id": EOD,
    "mask_token_id": EOD,
    "transformers_version": "4.30.0.dev0",
} | {key: value for key, value in TINY.items() if key != "dtype"}
NAMES = [
    "input_layernorm.weight",
    "mlp.down_proj.weight",
    "mlp.gate_proj.weight",
    "mlp.up_proj.weight",
    "post_attention_layernorm.weight",
    "self_attn.k_proj.weight",
    "self_attn.lf_gate.conv1.bias",
    "self_attn.lf_gate.conv1.weight",
    "self_attn.lf_gate.conv2.bias",
    "self_attn.lf_gate.conv2.weight",
    "self_attn.lf_gate.output_layernorm.weight",
    "self_attn.o_proj.weight",
    "self_attn.q_proj.weight",
    "self_attn.v_proj.weight",
]


@pytest.fixture(autouse=True)
def registered() -> None:
    AutoConfig.register("yuan", YuanConfig, exist_ok=True)
    AutoModel.register(YuanConfig, YuanModel, exist_ok=True)
    AutoModelForCausalLM.register(YuanConfig, YuanForCausalLM, exist_ok=True)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What transformers logs at warning level and above."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("transformers").addHandler(handler)
    yield lines
    logging.getLogger("transformers").removeHandler(handler)


def full_size() -> YuanForCausalLM:
    with torch.device("meta"):
        return YuanForCausalLM(YuanConfig())


def test_the_defaults_are_yuan2_2b() -> None:
    model = full_size()
    assert sum(parameter.numel() for parameter in model.parameters()) == 2_088_724_480
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.model.embed_tokens.padding_idx == 77185
    assert model.config.dtype == torch.bfloat16
    conv1 = model.model.layers[23].self_attn.lf_gate.conv1
    assert (tuple(conv1.weight.shape), tuple(conv1.bias.shape)) == ((1024, 2048, 2, 1), (1024,))


def test_lora_trains_what_the_tutorial_says(capsys: pytest.CaptureFixture[str]) -> None:
    with torch.device("meta"):
        model = get_peft_model(
            YuanForCausalLM(YuanConfig()), LoraConfig(task_type="CAUSAL_LM", r=8, target_modules=PROJECTIONS)
        )
    model.print_trainable_parameters()
    expected = "trainable params: 9,043,968 || all params: 2,097,768,448 || trainable%: 0.4311"
    assert capsys.readouterr().out.strip() == expected


def write_published(folder: Path, weights: dict[str, Tensor], kind: str) -> None:
    """A model folder as the model's makers publish it: sharded, stale buffers, the head beside the embedding."""
    stale = {
        f"model.layers.{index}.self_attn.rotary_emb.inv_freq": torch.full((2,), 9.0)
        for index in range(PUBLISHED["num_hidden_layers"])
    }
    every = {name: tensor.detach().clone() for name, tensor in (weights | stale).items()}
    every["lm_head.weight"] = every["model.embed_tokens.weight"].clone()
    names = sorted(every)
    stem, end = ("pytorch_model", "bin") if kind == "bin" else ("model", "safetensors")
    index = {}
    for shard in range(3):
        file = f"{stem}-{shard + 1:05d}-of-00003.{end}"
        part = {name: every[name] for name in names[shard::3]}
        index |= dict.fromkeys(part, file)
        if kind == "bin":
            torch.save(part, folder / file)
        else:
            save_file(part, folder / file, metadata={"format": "pt"})
    (folder / f"{stem}.{end}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps(PUBLISHED))
    for name in ("configuration_yuan.py", "yuan_hf_model.py"):
        (folder / name).write_text("raise RuntimeError('remote code was run')\n")


@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_published_folders_load(kind: str, tmp_path: Path, logged: list[str]) -> None:
    original = tiny_model(reset_attention_mask=True, reset_position_ids=True)
    write_published(tmp_path, parameters_of(original), kind)
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert logged == []
    assert type(model) is YuanForCausalLM
    assert model.dtype == torch.float64
    assert model.lm_head.weight is model.model.embed_tokens.weight
    ids = random_ids(2, 6)
    assert torch.equal(model(ids).logits, original(ids).logits)
    assert type(AutoModelForCausalLM.from_pretrained(tmp_path, trust_remote_code=True)) is YuanForCausalLM
    base = AutoModel.from_pretrained(tmp_path)
    assert type(base) is YuanModel
    close(base(ids).last_hidden_state @ base.embed_tokens.weight.T, original(ids).logits)


def test_saved_folders_are_what_the_published_code_loads(tmp_path: Path) -> None:
    (tmp_path / "published").mkdir()
    write_published(tmp_path / "published", parameters_of(tiny_model()), "safetensors")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "published")
    model.save_pretrained(tmp_path / "saved")
    weights = load_file(tmp_path / "saved" / "model.safetensors")
    layers = [f"model.layers.{layer}.{name}" for layer in range(3) for name in NAMES]
    assert sorted(weights) == sorted(["model.embed_tokens.weight", *layers, "model.norm.weight"])
    assert weights["model.layers.0.self_attn.lf_gate.conv2.weight"].shape == (16, 8, 2, 1)
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    kept = {key: value for key, value in PUBLISHED.items() if key not in ("torch_dtype", "transformers_version")}
    assert {key: saved.get(key) for key in kept} == kept
    assert saved["dtype"] == "float64"
    assert "layer_types" not in saved
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    ids = random_ids(1, 6)
    assert torch.equal(again(ids).logits, model(ids).logits)
    assert not any(tmp_path.rglob("__pycache__"))  # the published code was never imported


class _Trap:
    """What a pickle may do when it is read without care."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_a_bin_that_would_run_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED))
    torch.save({"model.norm.weight": _Trap(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"[Ww]eights.?only"):
        AutoModelForCausalLM.from_pretrained(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("key", ["moe_config", "use_moe", "num_experts"])
def test_mixtures_of_experts_are_refused_by_name(key: str) -> None:
    with pytest.raises(ModelError, match=r"Yuan2\.0-M32"):
        YuanConfig(**{key: {"moe_num_experts": 32}})
    YuanConfig(**{key: None})


def test_every_problem_of_a_config_is_told_at_once() -> None:
    with pytest.raises(ModelError) as caught:
        YuanConfig(
            vocab_size=100,
            hidden_size=30,
            num_attention_heads=4,
            intermediate_size=0,
            model_max_length=-1,
            rms_norm_eps="1e-6",
            hidden_act="gelu",
            causal_mask=False,
            use_shareqk=True,
            rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
        )
    where = {problem.where for problem in caught.value.problems}
    assert where == {
        *("hidden_size", "intermediate_size", "max_position_embeddings", "model_max_length", "rms_norm_eps"),
        "hidden_act",
        *("causal_mask", "use_shareqk", "rope_parameters", "pad_token_id", "bos_token_id", "eos_token_id"),
    }


def test_config_of_the_context_length() -> None:
    assert YuanConfig().max_position_embeddings == YuanConfig().model_max_length == 8192
    assert YuanConfig(model_max_length=4096).max_position_embeddings == 4096
    assert YuanConfig(max_position_embeddings=2048).model_max_length == 2048
    assert YuanConfig(torch_dtype="float16").dtype == torch.float16
    assert YuanConfig(eos_token_id=[5, 6]).eod_token_ids == (5, 6)
    assert YuanConfig(eos_token_id=[5, 6], eod_token_id=7).eod_token_ids == (7,)


def test_fresh_weights_are_drawn_as_published() -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(YuanConfig(**{**TINY, "hidden_size": 64, "dtype": "float32"}))
    gate = model.model.layers[0].self_attn.lf_gate
    assert 0.015 < gate.conv1.weight.std() < 0.025
    assert not gate.conv1.bias.any()
    assert (gate.output_layernorm.weight == 1).all()
    assert not model.model.embed_tokens.weight[PAD].any()


def test_lora_learns_and_only_the_adapter_does() -> None:
    model = tiny_model().train()
    before = {name: parameter.detach().clone() for name, parameter in parameters_of(model).items()}
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=PROJECTIONS))
    tuned.enable_input_require_grads()
    tuned.base_model.model.activation_checkpointing_enable({"use_reentrant": True})
    ids, mask = padded(sequences(), "right")
    batch = {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}
    optimizer = torch.optim.AdamW([p for p in tuned.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for _ in range(4):
        loss = tuned(**batch, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    for name, parameter in tuned.named_parameters():
        plain = re.sub(r"base_model\.model\.|\.base_layer", "", name)
        assert "lora_" in name or torch.equal(parameter, before[plain]), name


def test_the_filter_refuses_an_adapter_that_it_would_bypass() -> None:
    with pytest.raises(ValueError, match="TwoTapConvolution"):
        get_peft_model(tiny_model(), LoraConfig(target_modules=["conv1"]))


def test_prefix_tuning() -> None:
    """Learnt keys and values before the text: attention sees them, the filter does not."""
    model = tiny_model()
    tuned = get_peft_model(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    encoder = tuned.prompt_encoder["default"].embedding.weight
    torch.nn.init.normal_(encoder)
    tuned.double()
    learnt = encoder.view(3, 6, 4, 4).permute(1, 2, 0, 3)  # [layers × (key, value), heads, 3, E]
    prefix = [(learnt[2 * layer], learnt[2 * layer + 1]) for layer in range(3)]
    rows = sequences()
    ids, mask = padded(rows, "left")
    weights = {name.removeprefix("base_model."): parameter for name, parameter in parameters_of(model).items()}
    expected = torch.cat([reference_logits(weights, model.config, row, prefix=prefix) for row in rows])
    logits = tuned(input_ids=ids, attention_mask=mask).logits[mask.bool()]
    close(logits, expected)
    actual, exact = (torch.autograd.grad(part.square().mean(), encoder)[0] for part in (logits, expected))
    close(actual, exact)
    answers = tuned.generate(input_ids=ids, attention_mask=mask, max_new_tokens=5, do_sample=False)
    for row, answer in zip(rows, answers[:, ids.shape[1] :], strict=True):
        for token in answer:
            if token == PAD:
                break
            next_logits = reference_logits(weights, model.config, row, prefix=prefix)[-1]
            assert token == next_logits.argmax()
            row = torch.cat((row, token[None]))


def test_prompt_tuning_with_left_padding() -> None:
    """Learnt embeddings before the text, with the padding between: a hole that nothing leaks through."""
    model = tiny_model()
    tuned = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)).eval().double()
    learnt = tuned.prompt_encoder["default"].embedding.weight
    rows = sequences()
    ids, mask = padded(rows, "left")
    embedding = model.get_input_embeddings()
    expected = [
        reference_from_embeddings(parameters_of(model), model.config, torch.cat((learnt, embedding(row))))[2:]
        for row in rows
    ]
    logits = tuned(input_ids=ids, attention_mask=mask).logits[:, 2:]
    close(logits[mask.bool()], torch.cat(expected))
