"""A sweep at work: trials are ordinary runs, halving changes nothing of them, and stopped, nothing is lost."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

import yuantune
from tests.test_cli_run import run
from tests.test_train_run import QUIET, digest
from yuantune.config import Config
from yuantune.config_file import load_config
from yuantune.errors import ConfigError, DataError, DiskFailed, Interrupted, RunError, UserError, WorkFailed
from yuantune.study.sweep import sweep
from yuantune.study.sweep_folder import sweep_of
from yuantune.study.sweep_plan import plan
from yuantune.sweep_config import SweepConfig
from yuantune.train import evaluate
from yuantune.train.lock import RunLock
from yuantune.train.progress import LogFile, PauseAt, Paused
from yuantune.train.run import fine_tune
from yuantune.train.step import SupervisedTrainer

WEIGHTS = Path("adapter") / "adapter_model.safetensors"
RATES = [1e-3, 3e-2, 1e-2]
"""Three trials of six steps and three evaluations."""


def options(model: Path, data: Path, out: Path, **changes: Any) -> SweepConfig:
    """A sweep over three learning rates, by the loss, since a tiny model's answers are all wrong."""
    run = {
        "template": "resume-ner",
        "model": {"name": str(model), "dtype": "float32", "device_map": "cpu"},
        "data": {"train": str(data), "eval": str(data)},
        "lora": {"r": 2},
        "train": {"per_device_train_batch_size": 3, "num_train_epochs": 3},
        "eval": {"every": "epoch", "metric": "loss", "rows": 1},
        "generate": {"max_new_tokens": 2},
    }
    for name in [name for name in changes if name.startswith("run__")]:
        section, option = name.removeprefix("run__").split("__")
        run[section] = {**run[section], option: changes.pop(name)}  # type: ignore[dict-item]
    tree = {"output_dir": str(out), "run": run, "options": {"train.learning_rate": RATES}}
    return SweepConfig.model_validate({**tree, **changes})


def board(folder: Path) -> list[dict[str, Any]]:
    """The leaderboard, but for the seconds."""
    rows = json.loads((folder / "leaderboard.json").read_text("utf-8"))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def best_of(folder: Path) -> Path:
    """The best trial's run folder."""
    return folder / "trials" / f"{board(folder)[0]['trial']:03d}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.conftest import ROWS

    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    rows = [json.dumps({"text": text, "labels": labels}, ensure_ascii=False) for text, labels in ROWS]
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory, yuan_folder: Path, data: Path) -> Path:
    """A finished sweep, three trials of which one went on behind the first evaluation."""
    out = tmp_path_factory.mktemp("halved") / "sweep"
    sweep(options(yuan_folder, data, out, halving={"factor": 3}, keep="all"), console=QUIET)
    return out


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The learning rate of every step that is trained."""
    steps: list[float] = []
    compute = SupervisedTrainer.training_step

    def training_step(self: SupervisedTrainer, *inputs: Any) -> torch.Tensor:
        if inputs[1]:
            steps.append(self.args.learning_rate)
        return compute(self, *inputs)

    monkeypatch.setattr(SupervisedTrainer, "training_step", training_step)
    yield steps


def test_a_promoted_trial_is_the_run_that_never_paused(halved: Path, tmp_path: Path) -> None:
    """And so is the run of best.yaml: the same weights, the same log."""
    rows = board(halved)
    assert [row["state"] for row in rows] == ["finished", "stopped at rung 1", "stopped at rung 1"]
    best = best_of(halved)
    plain = load_config(halved / "best.yaml")
    assert plain.train.learning_rate == rows[0]["train.learning_rate"]
    assert plain.output_dir == str(halved / "best")
    fine_tune(plain.model_copy(update={"output_dir": str(tmp_path / "plain")}), console=QUIET)
    assert digest(best / WEIGHTS) == digest(tmp_path / "plain" / WEIGHTS)
    assert (best / "log.jsonl").read_bytes() == (tmp_path / "plain" / "log.jsonl").read_bytes()


def test_the_best_at_the_rung_goes_on_and_budgets_are_counted(halved: Path) -> None:
    rows, rung = board(halved), {}
    for number in (1, 2, 3):
        log = (halved / "trials" / f"{number:03d}" / "log.jsonl").read_text("utf-8").splitlines()
        rung[number] = next(line["eval_loss"] for line in map(json.loads, log) if "eval_loss" in line)
    assert [row["trial"] for row in rows] == sorted(rung, key=rung.__getitem__)
    assert [row["steps"] for row in rows] == [6, 2, 2]
    assert [row["rows"] for row in rows] == [18, 6, 6]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert all(row["metric"] == "loss" and row["score"] == row["loss"] for row in rows)


def test_the_folder(halved: Path) -> None:
    assert {path.name for path in halved.iterdir()} == {
        "best.yaml", "leaderboard.csv", "leaderboard.json", "leaderboard.png", "plan.json", "sweep.yaml", "trials",
    }  # fmt: skip
    assert (halved / "leaderboard.png").read_bytes().startswith(b"\x89PNG")
    with (halved / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["train.learning_rate"]) for row in rows] == [r["train.learning_rate"] for r in board(halved)]
    assert "trainable params" in (halved / "trials" / "001.txt").read_text("utf-8")
    assert (
        SweepConfig.model_validate(yaml.safe_load((halved / "sweep.yaml").read_text("utf-8"))).halving.factor == 3
    )


def test_a_finished_sweep_is_not_done_again(halved: Path, training: list[float]) -> None:
    before = board(halved)
    again = sweep(sweep_of(halved), resume=True, console=QUIET)
    assert training == [] and board(halved) == before
    assert again.best == best_of(halved)


@pytest.mark.parametrize(("step", "when"), [(1, "step"), (2, "evaluation"), (8, "step")])
def test_stopped_anywhere_it_ends_with_the_same_leaderboard(
    halved: Path,
    tmp_path: Path,
    yuan_folder: Path,
    data: Path,
    training: list[float],
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    when: str,
) -> None:
    """A signal, in a step or in the evaluation at a trial's pause, finishes that step; none is trained twice."""
    log = LogFile.on_log

    def on_log(self: LogFile, *rest: Any, **more: Any) -> None:
        log(self, *rest, **more)
        if len(training) == step and ("eval_loss" in more["logs"]) == (when == "evaluation"):
            signal.raise_signal(signal.SIGTERM)

    out = tmp_path / "sweep"
    config = options(yuan_folder, data, out, halving={"factor": 3}, keep="all")
    with monkeypatch.context() as patch:
        patch.setattr(LogFile, "on_log", on_log)
        with pytest.raises(Interrupted, match=r"stopped by SIGTERM after .*\(trial . of 3\)") as caught:
            sweep(config, console=QUIET)
    assert caught.value.exit_code == 143 and f"yuantune sweep {out} --resume" in caught.value.hint
    sweep(config, resume=True, console=QUIET)
    assert len(training) == 10
    assert board(out) == board(halved)
    assert digest(best_of(out) / WEIGHTS) == digest(best_of(halved) / WEIGHTS)


class Killed(BaseException):
    """As a kill would end it: nothing of ours handles it."""


@pytest.mark.parametrize("step", [3, 8, 10])
def test_killed_anywhere_it_ends_with_the_same_leaderboard(
    halved: Path,
    tmp_path: Path,
    yuan_folder: Path,
    data: Path,
    training: list[float],
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    """Nothing that a `finally` would write is there: the folder is copied at that moment."""
    out, copy = tmp_path / "sweep", tmp_path / "copy"
    config = options(yuan_folder, data, out, halving={"factor": 3}, keep="all")
    log = LogFile.on_log

    def on_log(self: LogFile, *rest: Any, **more: Any) -> None:
        log(self, *rest, **more)
        if len(training) == step:
            shutil.copytree(out, copy, ignore=shutil.ignore_patterns(".lock"))
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(LogFile, "on_log", on_log)
        with pytest.raises(Killed):
            sweep(config, console=QUIET)
    shutil.rmtree(out)
    copy.rename(out)
    sweep(config, resume=True, console=QUIET)
    assert board(out) == board(halved)
    assert digest(best_of(out) / WEIGHTS) == digest(best_of(halved) / WEIGHTS)


def test_keep_best_leaves_one_trials_weights(tmp_path: Path, yuan_folder: Path, data: Path) -> None:
    result = sweep(options(yuan_folder, data, tmp_path / "sweep", run__train__max_steps=2), console=QUIET)
    runs = [path for path in (tmp_path / "sweep" / "trials").iterdir() if path.is_dir()]
    assert len(runs) == 3 and all((run / "log.jsonl").is_file() for run in runs)
    assert [run for run in runs if any(run.rglob("*.safetensors"))] == [result.best]
    assert (result.best / WEIGHTS).is_file()


def test_methods_and_what_they_do_not_have(tmp_path: Path, yuan_folder: Path, data: Path) -> None:
    """A method without the option is one trial; scores are the run's own, here F1."""
    tried = {"method": ["lora", "full"], "lora.target_modules": [["q_proj"], ["nope"]]}
    said = io.StringIO()
    config = options(
        yuan_folder, data, tmp_path / "sweep", options=tried, run__train__max_steps=1, run__eval__metric="score"
    )
    result = yuantune.sweep(config, console=Console(file=said, soft_wrap=True))
    assert "1 combination is the same run as others" in said.getvalue()
    rows = board(tmp_path / "sweep")
    assert sorted((row["method"], str(row["lora.target_modules"])) for row in rows) == [
        ("full", "None"), ("lora", "['nope']"), ("lora", "['q_proj']"),
    ]  # fmt: skip
    # Only the model itself tells what its modules are called.
    assert [row["rank"] for row in rows] == [1, 2, None]
    assert (rows[-1]["state"], rows[-1]["lora.target_modules"]) == ("failed", ["nope"])
    assert "nope" in rows[-1]["reason"]
    assert result.standings[0].metric == "f1"


def test_a_trial_that_fails_does_not_end_the_sweep(
    tmp_path: Path, yuan_folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yuantune.models.loss import supervised_loss as loss
    from yuantune.train import portions, step

    def spoilt(model: Any, **batch: Any) -> torch.Tensor:
        if rate == [RATES[0]]:
            return loss(model, **batch) * torch.nan
        if rate == [RATES[1]]:
            raise RuntimeError("a bug\nof somebody")
        return loss(model, **batch)

    rate: list[float] = []

    def training_step(self: SupervisedTrainer, *inputs: Any) -> torch.Tensor:
        rate[:] = [self.args.learning_rate]
        return compute(self, *inputs)

    compute = SupervisedTrainer.training_step
    monkeypatch.setattr(SupervisedTrainer, "training_step", training_step)
    for module in (step, portions):
        monkeypatch.setattr(module, "supervised_loss", spoilt)
    sweep(options(yuan_folder, data, tmp_path / "sweep", run__train__max_steps=2), console=QUIET)
    rows = board(tmp_path / "sweep")
    assert [(row["trial"], row["state"], row["rank"]) for row in rows] == [
        (3, "finished", 1), (1, "failed", None), (2, "failed", None),
    ]  # fmt: skip
    assert "training diverged: the loss is nan at step 1" in rows[1]["reason"]
    assert rows[2]["reason"] == "RuntimeError: a bug"
    assert "Traceback" in (tmp_path / "sweep" / "trials" / "002.txt").read_text("utf-8")


def test_where_all_fail_each_reason_is_told(
    tmp_path: Path, yuan_folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(config: Config, **_: Any) -> None:
        raise WorkFailed(f"no luck with {config.train.learning_rate}")

    monkeypatch.setattr("yuantune.train.run.fine_tune", fails)
    with pytest.raises(WorkFailed, match="none of 3 trials has a score") as caught:
        sweep(options(yuan_folder, data, tmp_path / "sweep"), console=QUIET)
    assert [problem.what for problem in caught.value.problems] == [f"no luck with {rate}" for rate in RATES]


def test_a_full_disk_ends_the_sweep_and_fails_no_trial(
    tmp_path: Path, yuan_folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(config: Config, **_: Any) -> None:
        raise DiskFailed("no room", hint="train --resume")

    monkeypatch.setattr("yuantune.train.run.fine_tune", full)
    with pytest.raises(DiskFailed, match="no room") as caught:
        sweep(options(yuan_folder, data, tmp_path / "sweep"), console=QUIET)
    assert caught.value.hint == f"`yuantune sweep {tmp_path / 'sweep'} --resume` goes on with the sweep"
    assert not list((tmp_path / "sweep" / "trials").glob("*.json"))


def test_another_sweep_is_refused_by_what_differs(halved: Path, yuan_folder: Path, data: Path) -> None:
    changed = options(
        yuan_folder, data, halved, halving={"factor": 2}, run__train__num_train_epochs=4, keep="all",
        options={"train.learning_rate": [1.0]},
    )  # fmt: skip
    with pytest.raises(RunError, match="the sweep differs") as caught:
        sweep(changed, resume=True, console=QUIET)
    assert sorted(problem.where for problem in caught.value.problems) == [
        "halving.factor", "options.train.learning_rate", "run.train.num_train_epochs",
    ]  # fmt: skip
    with pytest.raises(RunError, match="already exists"):
        sweep(changed, console=QUIET)


def test_one_writer(halved: Path) -> None:
    with RunLock(halved) as lock:
        lock.take()
        with pytest.raises(RunError, match="another process"):
            sweep(sweep_of(halved), resume=True, console=QUIET)


def test_data_is_checked_before_anything_is_written(tmp_path: Path, yuan_folder: Path, data: Path) -> None:
    out = tmp_path / "sweep"
    with pytest.raises(DataError, match="nowhere"):
        sweep(options(yuan_folder, tmp_path / "nowhere.jsonl", out), console=QUIET)
    bare = tmp_path / "bare.jsonl"
    bare.write_text('{"text": "张三"}\n', "utf-8")
    with pytest.raises(UserError):
        sweep(options(yuan_folder, data, out, run__data__eval=str(bare)), console=QUIET)
    with pytest.raises(ConfigError, match="1 of 2 trials cannot be trained") as caught:
        tried = {"data.max_length": [4, 1024]}
        sweep(options(yuan_folder, data, out, options=tried), console=QUIET)
    assert caught.value.problems[0].where == "data.max_length=4"
    assert not out.exists()


def test_patience_counts_over_a_pause(
    tmp_path: Path, yuan_folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that paused stops where it would have stopped by itself."""
    left = iter([0.5, 0.4, 0.3])
    monkeypatch.setattr(evaluate, "scores_of", lambda *args: {"micro": {"f1": next(left)}})
    changes = {"run__eval__metric": "score", "run__eval__every": 1, "run__eval__patience": 2}
    config = plan(options(yuan_folder, data, tmp_path / "sweep", **changes))[0][0].config
    run = config.model_copy(update={"output_dir": str(tmp_path / "run")})
    with pytest.raises(Paused):
        fine_tune(run, console=QUIET, callbacks=[PauseAt(2)])
    assert fine_tune(run, resume=True, console=QUIET).steps == 3


def test_the_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, halved: Path, training: list[float]
) -> None:
    code, out, err = run(capsys, "sweep", halved)
    assert code == 2 and f"yuantune sweep {halved} --resume" in err
    code, out, err = run(capsys, "sweep", halved, "--resume")
    assert (code, out, training) == (0, "", [])
    assert err.count("stopped at rung 1") == 2 and "learning_rate" in err
    assert err.splitlines()[-1] == f"next: yuantune train {halved / 'best.yaml'}"

    path = tmp_path / "s.yaml"
    assert run(capsys, "init", path, "--sweep", "--pretrain")[0] == 2
    code, _, err = run(capsys, "init", path, "--sweep", "--data", tmp_path / "nowhere.jsonl")
    assert code == 0 and f"yuantune sweep {path}" in err
    words = ["--set", f"output_dir={tmp_path / 'out'}", "--set", "options.lora.r=[0]"]
    code, _, err = run(capsys, "sweep", path, *words)
    assert code == 2 and "--set options.lora.r=[0]: lora.r: input should be greater than 0" in err
    code, _, err = run(capsys, "sweep", path, *words[:2])
    assert code == 2 and "nowhere.jsonl" in err
    code, _, err = run(capsys, "sweep", path, "--resume", *words[:2])
    assert code == 2 and "leave --resume away to begin it" in err
    assert list(tmp_path.iterdir()) == [path]
