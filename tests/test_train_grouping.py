"""Prefix groups in training: chosen where the model can, with the losses and weights of padded rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from tests.test_models_grouped import GQA, SIZES, built, typical
from yuantune.batch.layout import lay_out
from yuantune.config import Config
from yuantune.data.examples import ExampleSet
from yuantune.errors import ModelError
from yuantune.models import grouped
from yuantune.models.load import load_tokenizer
from yuantune.train.grouping import choose_collator
from yuantune.train.run import fine_tune


def chosen(model: torch.nn.Module, how: str = "auto") -> tuple[bool, str | None]:
    collator, why = choose_collator(model, [ExampleSet(typical())], how=how, pad_id=0)
    return collator is lay_out, why


def test_groups_where_the_model_can() -> None:
    assert chosen(built("yuan")) == (True, None)
    assert chosen(built("yuan"), "on") == (True, None)
    assert chosen(built("yuan"), "off") == (False, None)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda: MistralForCausalLM(MistralConfig(**GQA, sliding_window=8)), "it attends over 8 tokens, and the"),
        (lambda: MambaForCausalLM(MambaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1)), ""),
    ],
)
def test_padded_rows_where_it_cannot(model: object, why: str) -> None:
    grouping, said = chosen(model())  # type: ignore[operator]
    assert not grouping and said is not None and why in said
    with pytest.raises(ModelError, match="cannot compute a shared prompt once"):
        chosen(model(), "on")  # type: ignore[operator]


def test_a_model_that_is_wrong_in_silence_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch that does not see its prefix: no error, another loss."""
    attend = grouped.grouped_attention

    def blind(module, query, key, value, mask, *, layout, **kwargs):  # type: ignore[no-untyped-def]
        return attend(module, query, key, value.roll(1, 2), mask, layout=layout, **kwargs)

    monkeypatch.setattr(grouped, "grouped_attention", blind)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, num_attention_heads=2, initializer_range=0.5))
    grouping, said = chosen(model)
    assert not grouping and said is not None and "the loss of two rows is" in said
    monkeypatch.setattr(grouped, "grouped_attention", attend)
    grouped.register()
    assert chosen(model) == (True, None)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_run_learns_the_same(tmp_path: Path, yuan_folder: Path, rows_file: Path, method: str) -> None:
    lines = {}
    for how in ("on", "off"):
        out = tmp_path / how
        options = {
            "output_dir": str(out),
            "template": "resume-ner",
            "method": method,
            "model": {"name": str(yuan_folder), "dtype": "float64", "device_map": "cpu"},
            "data": {"train": str(rows_file), "split": 2, "shared_prefixes": how},
            "lora": {"lora_dropout": 0.0},
            "train": {
                "per_device_train_batch_size": 3,
                "gradient_accumulation_steps": 2,
                "num_train_epochs": 2,
                "learning_rate": 1e-3,
            },
        }
        fine_tune(Config.model_validate(options), console=Console(quiet=True))
        lines[how] = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert len(lines["on"]) == len(lines["off"]) >= 4
    for ours, theirs in zip(lines["on"], lines["off"], strict=True):
        for name in {"loss", "eval_loss", "grad_norm"} & theirs.keys():
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5), (ours, theirs)


def test_a_fallback_is_said(tmp_path: Path, rows_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And `on` is refused before anything is written."""
    torch.manual_seed(0)
    folder = tmp_path / "mistral"
    tokenizer = load_tokenizer("yuan2-mini")
    config = MistralConfig(**{**GQA, "vocab_size": len(tokenizer), "eos_token_id": 1}, sliding_window=8)
    MistralForCausalLM(config).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    options = {
        "output_dir": str(tmp_path / "run"),
        "model": {"name": str(folder), "device_map": "cpu", "dtype": "float32"},
        "data": {"train": str(rows_file), "shared_prefixes": True},  # As YAML reads `on`.
        "train": {"max_steps": 1},
    }
    with pytest.raises(ModelError, match="it attends over 8 tokens"):
        fine_tune(Config.model_validate(options))
    assert not (tmp_path / "run").exists()
    options["data"] = {"train": str(rows_file)}
    fine_tune(Config.model_validate(options))
    assert "note: each row computes the prompt for itself" in capsys.readouterr().err
