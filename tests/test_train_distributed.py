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
from yuantune.pretrain_config import PretrainConfig
from yuantune.train.checkpoint import examine, read_marker
from yuantune.train.pretrain import pretrain

TRAIN = """
import atexit, sys, yuantune
import torch.distributed as group
atexit.register(lambda: print("in the group at the end:", group.is_initialized(), file=sys.stderr))
yuantune.fine_tune(yuantune.load_config(sys.argv[1]))
assert group.is_initialized()
"""

PRETRAIN = """
import sys
from yuantune.config_file import load_as
from yuantune.pretrain_config import PretrainConfig
from yuantune.train.checkpoint import examine, read_marker
from yuantune.train.pretrain import pretrain
pretrain(load_as(PretrainConfig, sys.argv[1]), resume=sys.argv[2:] == ["--resume"])
"""


def train_in_two(config: Path, code: str = TRAIN, *words: str) -> list[tuple[int, str]]:
    """Exit code and stderr of two processes that run `code` on `config`, started as torchrun would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    command = [sys.executable, "-W", "ignore", "-c", code, str(config), *words]
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
        assert "in the group at the end: False" in err

    one, two = tmp_path / "one", tmp_path / "two"
    assert [each.problems for each in examine(two)] == [[], []]
    states = {name for name in read_marker(two / "checkpoint-1").files if name.startswith("rng_state")}
    assert states == {"rng_state_0.pth", "rng_state_1.pth"}
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
    weights = [load_file(run / "adapter" / "adapter_model.safetensors") for run in (one, two)]
    assert_close(weights[1], weights[0], rtol=1e-5, atol=1e-7)
    logs = [
        [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()] for run in (one, two)
    ]
    assert ["loss" in line for line in logs[0]] == [True, False]
    for mine, theirs in zip(*logs, strict=True):
        assert theirs == pytest.approx(mine, rel=1e-5)


def test_two_processes_pretrain_as_one_with_twice_the_batch(tmp_path: Path) -> None:
    """Each process takes its half of the same rows; the clock of the first one stops both."""
    (tmp_path / "text.txt").write_text("\n".join(text for text, _ in ROWS), "utf-8")

    def options(name: str, batch: int, minutes: float | None = None) -> PretrainConfig:
        tiny = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
        train = {"max_steps": 3, "learning_rate": 1e-2, "optim": "sgd", "logging_steps": 1, "eval_steps": 2}
        text = str(tmp_path / "text.txt")
        return PretrainConfig.model_validate(
            {
                "output_dir": str(tmp_path / name),
                "model": {"config": tiny, "tokenizer": "yuan2-mini", "dtype": "float64", "device_map": "cpu"},
                "data": {"train": text, "eval": text, "sequence_length": 32, "eval_rows": 3},
                "train": {**train, "per_device_train_batch_size": batch, "max_minutes": minutes},
            }
        )

    pretrain(options("one", 4), console=Console(quiet=True))
    for name, minutes in (("two", None), ("stopped", 1e-6)):
        (tmp_path / f"{name}.yaml").write_text(options(name, 2, minutes).dump(), "utf-8")
        for rank, (code, err) in enumerate(train_in_two(tmp_path / f"{name}.yaml", PRETRAIN)):
            assert code == 0, err
            assert ("parameters, all of them trained" in err) == (rank == 0)
    stopped = tmp_path / "stopped"
    assert [(each.name, each.problems) for each in examine(stopped)] == [("checkpoint-1", [])]
    (tmp_path / "stopped.yaml").write_text(options("stopped", 2).dump(), "utf-8")
    for code, err in train_in_two(tmp_path / "stopped.yaml", PRETRAIN, "--resume"):
        assert code == 0, err
    assert (stopped / "model" / "model.safetensors").read_bytes() == (
        tmp_path / "two" / "model" / "model.safetensors"
    ).read_bytes()
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two")]
    assert_close(weights[1], weights[0], rtol=1e-5, atol=1e-7)
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text("utf-8").splitlines()]
        for name in ("one", "two")
    ]
    for mine, theirs in zip(*logs, strict=True):
        mine.pop("tokens_per_second", None), theirs.pop("tokens_per_second", None)
        assert theirs == pytest.approx(mine, rel=1e-5)
