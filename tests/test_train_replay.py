"""`verify --replay`: a run's last steps come out the same again, bit for bit, or it is said what does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.test_cli_pretrain import config_file as pretrain_config  # noqa: F401
from tests.test_cli_pretrain import text_file  # noqa: F401
from tests.test_cli_run import run as command
from tests.test_train_run import QUIET, config, digest
from yuantune.train.run import fine_tune

STATE = {"adapter_model.safetensors", "optimizer.pt", "rng_state.pth", "scheduler.pt"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, yuan_folder: Path) -> Path:
    """A finished run of nine steps with checkpoints at 3, 6 and 9, which was scored while it trained."""
    from tests.conftest import ROWS

    home = tmp_path_factory.mktemp("replayed")
    data = home / "rows.jsonl"
    lines = [json.dumps({"text": text, "labels": labels}, ensure_ascii=False) + "\n" for text, labels in ROWS]
    data.write_text("".join(lines), "utf-8")
    options = config(yuan_folder, data, home / "run", train__num_train_epochs=3, eval={"every": 3, "rows": 2})
    fine_tune(options, console=QUIET)
    return home / "run"


def contents(run: Path) -> dict[str, str]:
    return {str(path.relative_to(run)): digest(path) for path in run.rglob("*") if path.is_file()}


def test_the_last_steps_come_out_the_same(capsys: pytest.CaptureFixture[str], trained: Path) -> None:
    before = contents(trained)
    code, out, _ = command(capsys, "verify", trained, "--replay", 2)
    assert code == 0
    assert out.splitlines()[-1] == (
        "steps 7 to 9: bit for bit the same again (4 files of state, the losses of 3 lines of the log)"
    )
    code, out, _ = command(capsys, "verify", trained, "--replay", 6, "--json")
    assert code == 0
    found = json.loads(out)["replay"]
    assert (found["first"], found["last"], found["same"], found["lines"]) == (4, 9, True, 6)
    assert set(found["files"]) == STATE
    assert contents(trained) == before


def test_what_does_not_come_out_the_same_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path
) -> None:
    """Another run's newest checkpoint, whole in itself, and a log that says something else."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    shutil.rmtree(run / "checkpoint-9")
    shutil.copytree(run / "checkpoint-6", run / "checkpoint-9")
    marker = json.loads((run / "checkpoint-9" / "COMPLETE.json").read_text("utf-8"))
    marker["versions"]["torch"] = "1.0"
    (run / "checkpoint-9" / "COMPLETE.json").write_text(json.dumps({**marker, "step": 9}), "utf-8")
    log = (run / "log.jsonl").read_text("utf-8").replace('"step": 8, "loss": ', '"step": 8, "loss": 1')
    (run / "log.jsonl").write_text(log, "utf-8")
    code, _, err = command(capsys, "verify", run, "--replay", 1)
    assert code == 1
    assert "steps 7 to 9 of" in err and "did not come out the same again" in err
    assert "adapter_model.safetensors: differs" in err and "torch: was 1.0" in err
    assert "step 8: the loss was 1" in err and "OMP_NUM_THREADS" in err


def test_a_checkpoint_must_be_there(capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path) -> None:
    code, _, err = command(capsys, "verify", trained, "--replay", 7)
    assert code == 2
    assert "no whole checkpoint" in err and "7 steps before checkpoint-9" in err and "checkpoint-3" in err


def test_pretraining(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    pretrain_config: Path,  # noqa: F811
) -> None:
    assert command(capsys, "pretrain", pretrain_config)[0] == 0
    code, out, err = command(capsys, "verify", tmp_path / "run", "--replay", 3)
    assert code == 0, err
    assert "steps 4 to 6: bit for bit the same again" in out
