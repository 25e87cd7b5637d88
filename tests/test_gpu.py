"""On a CUDA GPU: what is exact on the CPU is exact there, and a run learns and answers the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from rich.console import Console

from tests.test_models_grouped import LORA, MODELS, built, compare, typical
from tests.test_train_run import config
from yuantune.infer.opening import load
from yuantune.train.run import fine_tune

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
]


@pytest.mark.parametrize("kind", sorted(MODELS))
@pytest.mark.parametrize("rows", [1, 5])
def test_groups_are_padded_rows(kind: str, rows: int) -> None:
    compare(built(kind).cuda(), typical(rows), 16)


@pytest.mark.parametrize("kind", sorted(LORA))
def test_with_lora(kind: str) -> None:
    tuned = get_peft_model(built(kind), LoraConfig(task_type="CAUSAL_LM", target_modules=LORA[kind]))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    compare(tuned.cuda().eval(), typical(), 16)


def losses(run: Path) -> list[float]:
    lines = (json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def test_a_run_learns_and_answers_as_on_the_cpu(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    runs: dict[str, Path] = {}
    for device in ("cpu", "cuda"):
        options: dict[str, Any] = {"model__device_map": device, "lora__lora_dropout": 0.0}
        fine_tune(config(yuan_folder, rows_file, tmp_path / device, **options), console=Console(quiet=True))
        runs[device] = tmp_path / device
    assert losses(runs["cuda"]) == pytest.approx(losses(runs["cpu"]), rel=1e-3)
    text = "张三,男,中国籍,工程师"
    assert load(runs["cpu"], device_map="cpu").generate(text) == load(runs["cpu"], device_map="cuda").generate(text)


def test_bfloat16(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    options = {"model__device_map": "cuda", "model__dtype": "bfloat16", "train__gradient_checkpointing": True}
    fine_tune(config(yuan_folder, rows_file, tmp_path / "run", **options), console=Console(quiet=True))
    assert losses(tmp_path / "run")[-1] < losses(tmp_path / "run")[0]
