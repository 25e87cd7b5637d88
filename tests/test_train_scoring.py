"""Scores while training: logged, changing nothing of what is trained; the best checkpoint is what a run leaves."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from safetensors.torch import load_file

from tests.test_train_run import QUIET, config
from yuantune.config import Config
from yuantune.errors import ConfigError
from yuantune.train import evaluate
from yuantune.train.run import fine_tune


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]


def weights(folder: Path) -> dict[str, Any]:
    name = "adapter_model" if (folder / "adapter_model.safetensors").is_file() else "model"
    return load_file(folder / f"{name}.safetensors")


def same(one: Path, other: Path) -> bool:
    mine, theirs = weights(one), weights(other)
    return mine.keys() == theirs.keys() and all(mine[name].equal(theirs[name]) for name in mine)


def test_scores_are_logged_and_change_nothing(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    scored = config(yuan_folder, rows_file, tmp_path / "scored", eval__every="epoch", eval__rows=2)
    fine_tune(scored, console=QUIET)
    fine_tune(config(yuan_folder, rows_file, tmp_path / "plain"), console=QUIET)
    mine, theirs = log_of(tmp_path / "scored"), log_of(tmp_path / "plain")
    assert [line["eval_f1"] for line in mine if "eval_loss" in line] and len(mine) == len(theirs)
    assert [{key: line[key] for key in line if key != "eval_f1"} for line in mine] == theirs
    # Random weights are right nowhere: the first of equals is kept.
    assert same(tmp_path / "scored" / "adapter", tmp_path / "scored" / "checkpoint-3")


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    left = iter(scores)
    monkeypatch.setattr(evaluate, "scores_of", lambda *args: {"micro": {"f1": next(left)}})


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_best_checkpoint_is_kept(
    tmp_path: Path, yuan_folder: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    scripted(monkeypatch, [0.1, 0.9, 0.3, 0.2, 0.8, 0.7])
    said, run = io.StringIO(), tmp_path / "run"
    options = {"eval__every": 1, "train__save_total_limit": 2, "method": method}
    fine_tune(config(yuan_folder, rows_file, run, **options), console=Console(file=said, soft_wrap=True))
    assert "the best checkpoint is kept: checkpoint-2, f1 0.9000" in said.getvalue()
    assert [line["eval_f1"] for line in log_of(run) if "eval_f1" in line] == [0.1, 0.9, 0.3, 0.2, 0.8, 0.7]
    result = run / ("adapter" if method == "lora" else "model")
    assert same(result, run / "checkpoint-2") and not same(result, run / "checkpoint-6")


def test_training_stops_where_nothing_gets_better(
    tmp_path: Path, yuan_folder: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [0.1, 0.9, 0.3, 0.2, 0.8, 0.7])
    options = {"eval__every": 1, "eval__patience": 2}
    result = fine_tune(config(yuan_folder, rows_file, tmp_path / "run", **options), console=QUIET)
    assert result.steps == 4
    assert same(tmp_path / "run" / "adapter", tmp_path / "run" / "checkpoint-2")


def test_the_best_by_loss(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    options = {"eval__every": 2, "eval__metric": "loss", "eval__rows": 1}
    fine_tune(config(yuan_folder, rows_file, tmp_path / "run", **options), console=QUIET)
    losses = {line["step"]: line["eval_loss"] for line in log_of(tmp_path / "run") if "eval_loss" in line}
    assert list(losses) == [2, 4, 6]
    best = min(losses, key=losses.__getitem__)
    assert same(tmp_path / "run" / "adapter", tmp_path / "run" / f"checkpoint-{best}")


def test_nothing_to_score_is_refused(tmp_path: Path) -> None:
    from yuantune.config_file import load_config

    path = tmp_path / "c.yaml"
    path.write_text("data: {train: rows.jsonl}\neval: {every: epoch}\n", "utf-8")
    with pytest.raises(ConfigError, match=r"eval\.every needs rows to answer") as caught:
        load_config(path)
    assert "split" in str(caught.value)
    assert Config.model_validate({"eval": {"every": False}}).eval.every == "no"
