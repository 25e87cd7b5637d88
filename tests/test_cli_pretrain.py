"""`yuantune pretrain` as a person meets it: a config written by init, stretches, a real kill, errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROWS
from tests.test_cli_run import run
from yuantune.config_file import load_as
from yuantune.pretrain_config import PretrainConfig

TINY = "{hidden_size: 32, intermediate_size: 48, num_hidden_layers: 1, num_attention_heads: 2}"
MAIN = "from yuantune.cli import main; main()"


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(text for text, _ in ROWS), "utf-8")
    return path


@pytest.fixture
def config_file(tmp_path: Path, text_file: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"""
output_dir: {tmp_path / "run"}
model: {{config: {TINY}, tokenizer: yuan2-mini, device_map: cpu}}
data: {{train: {text_file}, eval: {text_file}, sequence_length: 32}}
train: {{per_device_train_batch_size: 2, max_steps: 6, logging_steps: 2, save_steps: 3}}
""",
        "utf-8",
    )
    return path


def test_init_writes_every_option(capsys: pytest.CaptureFixture[str], tmp_path: Path, text_file: Path) -> None:
    path = tmp_path / "pretrain.yaml"
    code, _, err = run(capsys, "init", path, "--pretrain", "--data", text_file, "--model", "yuan2-mini")
    assert code == 0
    assert f"yuantune pretrain {path}" in err
    options = load_as(PretrainConfig, path)
    assert options.model.name == "yuan2-mini"
    assert options.data.train[0].path == str(text_file)
    expected = {"model": {"name": "yuan2-mini"}, "data": {"train": str(text_file)}}
    assert options == PretrainConfig.model_validate(expected)
    assert run(capsys, "init", tmp_path / "b.yaml", "--pretrain", "--template", "chat")[0] == 2


def test_stretches_then_a_finished_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, config_file: Path
) -> None:
    code, out, err = run(capsys, "pretrain", config_file, "--set", "train.max_minutes=0.00001")
    assert (code, out) == (0, ""), err
    assert "the time is up after step 1 of 6, state saved" in err
    assert f"yuantune pretrain {tmp_path / 'run'} --resume" in err
    code, _, err = run(capsys, "pretrain", config_file)
    assert code == 2
    assert f"`yuantune pretrain {tmp_path / 'run'} --resume` goes on with it" in err
    code, _, err = run(capsys, "pretrain", tmp_path / "run")
    assert code == 2
    assert "--resume" in err
    code, _, err = run(capsys, "pretrain", tmp_path / "run", "--resume", "--set", "train.max_minutes=null")
    assert code == 0, err
    assert "6 of 6" in err
    assert "evaluation loss, text" in err
    assert "tokens/s" in err
    assert str(tmp_path / "run" / "model") in err
    code, out, _ = run(capsys, "model", "show", tmp_path / "run" / "model")
    assert code == 0


def test_a_run_goes_on_from_another_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the config names by relative paths is found again."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "yuan", **yaml.safe_load(TINY)}), "utf-8")
    monkeypatch.chdir(tmp_path)
    words = [
        "--set",
        "data.train=text.txt",
        "--set",
        "model.config=config.json",
        "--set",
        "train.max_minutes=0.00001",
    ]
    code, _, err = run(capsys, "pretrain", config_file, *words)
    assert code == 0, err
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, _, err = run(capsys, "pretrain", Path("../run"), "--resume", "--set", "train.max_minutes=null")
    assert code == 0, err


def test_a_run_that_is_killed_goes_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, config_file: Path
) -> None:
    """kill -9 from outside, in the middle of a run, and SIGTERM to what goes on from there."""
    for number in (signal.SIGKILL, signal.SIGTERM):
        words = [tmp_path / "run", "--resume"] if (tmp_path / "run").exists() else [config_file]
        with subprocess.Popen(
            [sys.executable, "-c", MAIN, "pretrain", *words, "--set", "train.max_steps=2000"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as process:
            assert process.stderr is not None
            next(line for line in process.stderr if line.startswith("step "))
            process.send_signal(number)
            rest = process.stderr.read()
        assert process.returncode == (-9 if number == signal.SIGKILL else 143), rest
    assert "state saved" in rest
    code, _, err = run(capsys, "pretrain", tmp_path / "run", "--resume", "--set", "train.max_steps=6")
    assert code == 0, err


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["train.max_step=5"], "did you mean 'train.max_steps'"),
        (["data.train=missing.txt"], "missing.txt: no such file"),
        (["data.train=[{path: a.txt, wieght: 2}]"], "wieght"),
        (["train.max_tokens=5"], "both say how long"),
        (["model.name=yuan2-mini"], "not both"),
        (["model.tokenizer=null"], "needs both"),
        (["train.num_train_epochs=3"], "unknown option train.num_train_epochs"),
    ],
)
def test_errors(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, config_file: Path, settings: list[str], expected: str
) -> None:
    words = [word for setting in settings for word in ("--set", setting)]
    code, out, err = run(capsys, "pretrain", config_file, *words)
    assert (code, out) == (2, "")
    assert expected in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_a_resume_of_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path, config_file: Path) -> None:
    code, _, err = run(capsys, "pretrain", config_file, "--resume")
    assert code == 2
    assert "no run folder" in err
    (tmp_path / "log.jsonl").write_text(json.dumps({}), "utf-8")
    assert run(capsys, "pretrain", tmp_path, "--resume")[0] == 2
