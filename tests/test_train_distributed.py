"""Two processes learn and measure what one does with twice the batch, and only the first of them writes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from safetensors.torch import load_file
from torch.testing import assert_close

import yuantune
from tests.conftest import ROWS
from yuantune.config import Config

TRAIN = "import sys, yuantune; yuantune.fine_tune(yuantune.load_config(sys.argv[1]))"


def train_in_two(config: Path) -> list[tuple[int, str]]:
    """Exit code and stderr of two processes that train by `config`, started as torchrun would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    command = [sys.executable, "-W", "ignore", "-c", TRAIN, str(config)]
    running = [
        subprocess.Popen(
            command,
            env={**os.environ, **meeting, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    ended = [(process, process.communicate()[1]) for process in running]
    return [(process.returncode, err) for process, err in ended]


def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path, yuan_folder: Path) -> None:
    """Six rows to learn and five to evaluate on: at batch 2 the five do not go up evenly in two processes."""
    lines = [json.dumps({"text": text, "labels": labels}, ensure_ascii=False) + "\n" for text, labels in ROWS]
    (tmp_path / "train.jsonl").write_text("".join(lines), "utf-8")
    (tmp_path / "eval.jsonl").write_text("".join(lines[:5]), "utf-8")

    def options(name: str, batch: int) -> Config:
        train = {"num_train_epochs": 1, "learning_rate": 1e-2, "optim": "sgd", "per_device_eval_batch_size": 2}
        return Config.model_validate(
            {
                "output_dir": str(tmp_path / name),
                "template": "resume-ner",
                "model": {"name": str(yuan_folder), "dtype": "float64", "device_map": "cpu"},
                "data": {"train": str(tmp_path / "train.jsonl"), "eval": str(tmp_path / "eval.jsonl")},
                "lora": {"r": 2, "lora_dropout": 0.0},
                "train": {**train, "per_device_train_batch_size": batch},
            }
        )

    yuantune.fine_tune(options("one", 6), console=Console(quiet=True))
    (tmp_path / "two.yaml").write_text(options("two", 3).dump(), "utf-8")
    for rank, (code, err) in enumerate(train_in_two(tmp_path / "two.yaml")):
        assert code == 0, err
        assert ("trainable params" in err) == (rank == 0)

    one, two = tmp_path / "one", tmp_path / "two"
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
    weights = [load_file(run / "adapter" / "adapter_model.safetensors") for run in (one, two)]
    assert_close(weights[1], weights[0], rtol=1e-5, atol=1e-7)
    logs = [
        [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()] for run in (one, two)
    ]
    assert ["loss" in line for line in logs[0]] == [True, False]
    for mine, theirs in zip(*logs, strict=True):
        assert theirs == pytest.approx(mine, rel=1e-5)
