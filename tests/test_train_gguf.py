"""GGUF files: transformers' own reader gives the logits and token ids of the model that was written; what llama.cpp
computes otherwise is refused by name."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.test_train_export import exported
from tests.tiny_gguf import SPARE, byte_tokenizer, gguf_model, sentencepiece_tokenizer, vocabulary_of, written
from yuantune.errors import ConfigError, ModelError, RunError, WorkFailed
from yuantune.train.gguf import file as files
from yuantune.train.gguf.architecture import Layout, known, layout

gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")

YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}


def logits(model: Any) -> torch.Tensor:
    ids = torch.arange(3, 43)[None]  # Longer than the windows.
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids).logits
    return found


def distance(model: Any, expected: torch.Tensor) -> float:
    return float((logits(model) - expected).norm() / expected.norm())


# transformers reads no Gemma 1, and of Llama neither biases nor scaled RoPE.
@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"])
def test_transformers_reads_the_same_model(kind: str, tmp_path: Path) -> None:
    model, _, path = written(tmp_path, kind, byte_tokenizer("gpt-2"))
    read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32).eval()
    if kind.startswith("gemma"):  # What GGUF has no key for, and transformers' default differs in.
        read.config.query_pre_attn_scalar = model.config.query_pre_attn_scalar
        for layer in read.model.layers:
            layer.self_attn.scaling = model.config.query_pre_attn_scalar**-0.5
    assert distance(read, logits(model)) < 1e-5


@pytest.mark.parametrize("kind", ["llama", "llama-tied", "llama3", "gemma", "gemma3"])
@pytest.mark.parametrize(
    ("quantize", "least", "most"),
    [("f32", -1, 1e-6), ("f16", 1e-6, 2e-3), ("bf16", 1e-4, 3e-2), ("q8_0", 1e-4, 5e-2)],
)
def test_the_file_is_read_back(kind: str, quantize: str, least: float, most: float, tmp_path: Path) -> None:
    model, plan, path = written(tmp_path, kind, byte_tokenizer("gpt-2"), quantize)
    blank = copy.deepcopy(model)
    for parameter in blank.parameters():
        parameter.data.fill_(float("nan"))
    files.read_into(path, blank, plan)
    assert least < distance(blank, logits(model)) < most


def test_what_the_file_says(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer("smollm")
    model, _, path = written(tmp_path, "llama3", tokenizer, "q8_0")
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    expected = {
        "general.architecture": "llama",
        "general.file_type": 7,
        "llama.context_length": 512,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.rope.dimension_count": 16,
        "llama.rope.freq_base": 500000.0,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.eos_token_id": tokenizer.eos_token_id,
        "tokenizer.ggml.add_bos_token": True,
    }
    assert {name: fields[name] for name in expected} == expected
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    assert len(tokens) == len(set(tokens)) == len(kinds) == model.config.vocab_size
    assert kinds[-SPARE - 1 :] == [4, 5, 5, 5] and tokens[-SPARE - 1] == "<think>"
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert tensors["blk.0.attn_q.weight"].tensor_type.name == "Q8_0"
    assert tensors["output_norm.weight"].tensor_type.name == "F32"
    # RoPE's divisors: 1 where a wave is short against the first context, the whole factor where it is long.
    factors = tensors["rope_freqs.weight"].data
    assert factors[0] == pytest.approx(1) and factors[-1] == pytest.approx(8) and len(factors) == 8


def test_rows_that_blocks_do_not_divide_are_f16() -> None:
    tokenizer = byte_tokenizer("gpt-2")
    model = gguf_model("llama", len(tokenizer), intermediate_size=40)
    plans = files.plan(model, layout(model, "it"), "q8_0")
    assert {plan.name for plan in plans if plan.type.name == "F16"} == {
        f"blk.{layer}.ffn_down.weight" for layer in range(2)
    }


def test_a_weight_beyond_float16_is_said(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer("gpt-2")
    model = gguf_model("llama", len(tokenizer))
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] = 7e4
    plan = layout(model, "it")
    with pytest.raises(ModelError, match=r"layers.1.mlp.up_proj.weight has a weight of 7e\+04"):
        files.write(
            tmp_path / "x", model, plan, vocabulary_of(tokenizer, size=len(tokenizer)),
            files.plan(model, plan, "f16"), "f16", "it",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "options", "what"),
    [
        ("llama", {"rope_parameters": YARN}, r"RoPE is scaled \(yarn"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act: 'gelu': it has 'silu'"),
        ("qwen3", {"attention_bias": True}, "self_attn.q_proj.bias: a weight that it has no place for"),
        ("gemma", {"tie_word_embeddings": False}, "its head is always the embeddings"),
        ("gemma2", {"attn_logit_softcapping": None}, "it always caps both"),
        ("gemma2", {"query_pre_attn_scalar": 99}, "query_pre_attn_scalar: 99: it has 32"),
        ("gemma3", {"layer_types": ["full_attention"] * 7}, "5 layers with a window, then one without"),
        ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping: 50.0: it has None"),
    ],
)  # fmt: skip
def test_what_llama_cpp_computes_otherwise_is_refused(kind: str, options: dict[str, Any], what: str) -> None:
    with pytest.raises(ModelError, match=what):
        layout(gguf_model(kind, 40, **options), "it")


def test_a_window_ends_the_context() -> None:
    assert layout(gguf_model("mistral", 40), "it").context == 256
    assert layout(gguf_model("gemma2", 40), "it").context == 512


def test_architectures_without_gguf() -> None:
    with pytest.raises(ModelError, match=r"Yuan2 has no GGUF form: llama\.cpp does not know its localized filter"):
        known("yuan", "it")
    with pytest.raises(ModelError, match="it is of the architecture 'PhiForCausalLM'"):
        known("PhiForCausalLM", "it")
    assert known("Gemma3ForCausalLM", "it").name == "gemma3"


# ------------------------------------------------------------------------------------------------------ the command


def tuned(folder: Path, rows_file: Path, kind: str, tokenizer: Any) -> Path:
    """A run of a tiny model of a kind: two steps of LoRA."""
    from rich.console import Console

    from tests.test_methods_runs import config
    from yuantune.train.run import fine_tune

    base = folder / "base"
    gguf_model(kind, len(tokenizer) + SPARE, max_position_embeddings=2048).save_pretrained(base)
    tokenizer.save_pretrained(base)
    run = folder / "run"
    fine_tune(
        config(base, rows_file, run, "lora-plus", max_steps=2, learning_rate=3e-2), console=Console(quiet=True)
    )
    return run


def test_export_writes_both(tmp_path: Path, rows_file: Path) -> None:
    run = tuned(tmp_path, rows_file, "qwen2", byte_tokenizer("qwen2", chat=True))
    done = exported(run, "--merge", "--gguf", "--quantize", "f32")
    assert done.exit_code == 0, done.output + str(done.exception)
    folder = tmp_path / "run-merged"
    report = json.loads((folder / "merge.json").read_text("utf-8"))
    assert report["gguf_written"]["relative"] < 1e-5 and report["written"]["relative"] < 1e-5
    assert report["gguf"]["bytes"] == (folder / "model.gguf").stat().st_size
    assert report["gguf"]["same_prompts"] == report["gguf"]["told"] == 6
    assert f"next: ollama create run-merged -f {folder / 'Modelfile'}" in done.output
    text = (folder / "Modelfile").read_text("utf-8")
    assert '<|im_end|>\n<|im_start|>assistant\n"""' in text and 'PARAMETER stop "<|im_end|>"' in text
    merged = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    shutil.copy(folder / "model.gguf", tmp_path)
    read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32).eval()
    assert distance(read, logits(merged)) < 1e-5

    alone = exported(run, "--gguf", "--quantize", "q8_0", "--rows", 2)
    assert alone.exit_code == 0, alone.output + str(alone.exception)
    folder = tmp_path / "run-gguf"
    assert sorted(path.name for path in folder.iterdir()) == ["Modelfile", "merge.json", "model.gguf"]
    report = json.loads((folder / "merge.json").read_text("utf-8"))
    assert report["written"] is None and 1e-5 < report["gguf_written"]["relative"] < 0.3


def test_mistakes_leave_nothing(tmp_path: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tuned(tmp_path, rows_file, "llama", sentencepiece_tokenizer("prepend"))
    with pytest.raises(ConfigError, match="--quantize q4: one of f32, f16, bf16, q8_0"):
        raise exported(run, "--gguf", "--quantize", "q4").exception
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ConfigError, match="--gguf needs the package gguf"):
        raise exported(run, "--gguf").exception
    monkeypatch.undo()
    monkeypatch.setattr(files.shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(WorkFailed, match="not enough disk space"):
        raise exported(run, "--gguf").exception
    monkeypatch.undo()

    def broken(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_ti_data_to_file", broken)
    with pytest.raises(WorkFailed, match="No space left on device"):
        raise exported(run, "--gguf", "--merge").exception
    monkeypatch.undo()
    to_file = Layout.to_file
    monkeypatch.setattr(Layout, "to_file", lambda self, name, value: to_file(self, name, value) * 1.1)
    with pytest.raises(WorkFailed, match="the GGUF file's weights answer otherwise"):
        raise exported(run, "--gguf", "--quantize", "f32").exception
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "rows.jsonl", "run"]


def test_yuan2_is_refused_before_it_is_loaded(tmp_path: Path, rows_file: Path, yuan_folder: Path) -> None:
    from rich.console import Console

    from tests.test_methods_runs import config
    from yuantune.train.run import fine_tune

    base = tmp_path / "base"
    shutil.copytree(yuan_folder, base)
    run = tmp_path / "run"
    fine_tune(config(base, rows_file, run, "lora-plus", max_steps=1), console=Console(quiet=True))
    shutil.rmtree(base)
    with pytest.raises((ModelError, RunError), match="Yuan2 has no GGUF form"):
        raise exported(run, "--gguf").exception
