"""Whole runs over a base that keeps its bfloat16 weights: they learn and answer what they do over float32 ones,
and that they go on bit for bit."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from typer.testing import CliRunner

import yuantune
from tests.test_methods_int8 import log, over
from tests.test_methods_runs import digests, stop_and_resume
from tests.test_models_stored import in_bfloat16
from yuantune.cli import app
from yuantune.config import Config
from yuantune.errors import ModelError
from yuantune.models import placement
from yuantune.models.stored import stored
from yuantune.train.run import fine_tune

QUIET = Console(quiet=True)
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora", "lora": {"r": 2, "lora_dropout": 0.1}},
    "dora": {"method": "lora", "lora": {"r": 2, "lora_dropout": 0.0, "use_dora": True}},
    "eva": {"method": "lora", "lora": {"r": 2, "lora_dropout": 0.0, "init_lora_weights": "eva"}},
    "houlsby": {"method": "bottleneck", "bottleneck": {"kind": "houlsby", "reduction_factor": 4}},
    "ia3": {"method": "ia3"},
    "prefix": {"method": "prefix_tuning", "prefix_tuning": {"num_virtual_tokens": 4}},
    "prompt": {"method": "prompt_tuning", "prompt_tuning": {"num_virtual_tokens": 4}},
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without units for bfloat16 whose memory two float32 models would fill."""
    monkeypatch.setattr(placement, "computes_bfloat16", lambda device: False)
    monkeypatch.setattr(placement, "KEPT_FROM", 0.0)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["yuan", "llama"])
def test_a_run_learns_and_answers_what_it_does_in_float32(
    kind: str, name: str, tmp_path: Path, rows_file: Path, request: pytest.FixtureRequest
) -> None:
    model = in_bfloat16(request.getfixturevalue(f"{kind}_folder"), tmp_path / "model")
    kept, plain = (
        over(model, rows_file, tmp_path / quantization, METHODS[name], dtype="auto", quantization=quantization)
        for quantization in ("auto", "none")
    )
    said = Console(file=io.StringIO(), width=400)
    result = fine_tune(kept, console=said)
    assert result.last_loss < result.first_loss
    assert "bfloat16 weights stay as they are" in said.file.getvalue()  # type: ignore[attr-defined]
    fine_tune(plain, console=QUIET)
    for one, other in zip(log(tmp_path / "auto"), log(tmp_path / "none"), strict=True):
        # PEFT draws adapters in the format of the weight that they stand beside: bfloat16 here.
        for figure, near in (("loss", 2e-3), ("grad_norm", 5e-2)):
            if figure in other:
                assert one[figure] == pytest.approx(other[figure], rel=near)
    extractors = [yuantune.load(tmp_path / run) for run in ("auto", "none")]
    assert [len(stored(each.model)) for each in extractors] == [14, 0]
    answers = [[each.generate(text) for text in ("张三,汉族,金融学硕士。", "李四")] for each in extractors]
    assert answers[0] == answers[1]


def test_it_goes_on_bit_for_bit(
    tmp_path: Path, yuan_folder: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = in_bfloat16(yuan_folder, tmp_path / "model")
    whole, cut = (
        over(model, rows_file, tmp_path / run, METHODS["lora"], dtype="auto", quantization="auto")
        for run in ("whole", "cut")
    )
    fine_tune(whole, console=QUIET)
    stop_and_resume(cut, monkeypatch)
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole") != {}
    assert log(tmp_path / "cut") == log(tmp_path / "whole")


def test_merged_it_is_a_plain_model(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    model, run = in_bfloat16(yuan_folder, tmp_path / "model"), tmp_path / "run"
    told = over(model, rows_file, run, METHODS["lora"], dtype="auto", quantization="bf16", learning_rate=3e-2)
    fine_tune(told, console=QUIET)
    with pytest.raises(ModelError, match="into bfloat16 weights: it would be rounded away"):
        yuantune.load(run).model.merge_adapter()  # type: ignore[operator]
    command = ["export", str(run), "--merge", "--output", str(tmp_path / "plain"), "--dtype", "float32"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output + str(result.exception)
    report = json.loads((tmp_path / "plain" / "merge.json").read_text("utf-8"))
    assert report["merged"]["relative"] < 1e-5 and report["written"]["relative"] < 1e-5
    before, after = (load_file(folder / "model.safetensors") for folder in (model, tmp_path / "plain"))
    name = "model.layers.1.mlp.up_proj.weight"
    assert after[name].dtype == torch.float32 and not torch.equal(after[name], before[name].float())
    assert yuantune.load(tmp_path / "plain").generate("张三") == yuantune.load(run).generate("张三")


def test_who_decides_makes_no_other_base(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    """Adapters over weights that are kept, and over the same ones in float32, answer on one base."""
    model = in_bfloat16(yuan_folder, tmp_path / "model")
    for run in ("auto", "none"):
        told = over(model, rows_file, tmp_path / run, METHODS["lora"], dtype="auto", quantization=run, max_steps=1)
        fine_tune(told, console=QUIET)
    adapters = yuantune.Adapters({run: tmp_path / run for run in ("auto", "none")})
    assert isinstance(adapters["auto"].generate("张三"), str) and isinstance(adapters["none"].generate("张三"), str)


def test_it_stands_under_float32_alone() -> None:
    for dtype in ("float16", "bfloat16"):
        with pytest.raises(ValueError, match=f"not under model.dtype: {dtype}"):
            Config.model_validate({"model": {"quantization": "bf16", "dtype": dtype}})
    with pytest.raises(ValueError, match="bf16 freezes the base"):
        Config.model_validate({"method": "full", "model": {"quantization": "bf16"}})


def test_weights_that_were_trained_are_not_rounded(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    model = in_bfloat16(yuan_folder, tmp_path / "model")
    method = {"method": "freeze", "freeze": {"trained_layers": 1}}
    fine_tune(over(model, rows_file, tmp_path / "run", method, dtype="auto", quantization="auto"), console=QUIET)
    for dtype in (None, "auto"):
        loaded = yuantune.load(tmp_path / "run", dtype=dtype).model
        assert not stored(loaded) and loaded.dtype == torch.float32
