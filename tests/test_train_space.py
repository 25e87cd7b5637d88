"""A disk that is too small is said before anything is written to it, and a folder that goes away by its name."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
import torch

from tests.test_train_portions import trainer
from tests.test_train_run import QUIET, config
from yuantune.errors import WorkFailed
from yuantune.methods import lora
from yuantune.train import folder as run_folder
from yuantune.train.checkpoint import checkpoints, flaws
from yuantune.train.folder import FEW
from yuantune.train.portions import RowsTrainer
from yuantune.train.run import fine_tune
from yuantune.train.space import bytes_of, trained_bytes


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=count))


def saved(folder: Path) -> RowsTrainer:
    """A run with a checkpoint of its first step, about to save that of its second one."""
    run = trainer(folder, 8, 1)
    run.save_weights = lora.save
    run.train()
    run.state.global_step = 1
    run._save_checkpoint(run.model, None)
    run.state.global_step = 2
    return run


def test_the_bytes_of_tensors() -> None:
    tree = {"a": torch.zeros(3), "b": [torch.zeros(2, dtype=torch.float64), ("text", 4, None)], "c": {}}
    assert bytes_of(tree) == 12 + 16


def test_space_is_checked_before_each_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = saved(tmp_path / "run")
    needed = trained_bytes(run.model) + bytes_of(run.optimizer.state_dict()) + FEW
    size = sum(file.stat().st_size for file in (tmp_path / "run" / "checkpoint-1").glob("*.*"))
    assert size < needed < size + 2 * FEW
    free(monkeypatch, needed - 1)
    with pytest.raises(WorkFailed, match=r"not enough disk space for .*checkpoint-2") as caught:
        run._save_checkpoint(run.model, None)
    assert "--resume" in caught.value.hint
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint-1"]
    assert flaws(tmp_path / "run" / "checkpoint-1") == []
    free(monkeypatch, needed)
    run._save_checkpoint(run.model, None)
    assert checkpoints(tmp_path / "run").keys() == {1, 2}


def test_space_is_checked_before_the_result(
    tmp_path: Path, yuan_folder: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run_folder.check_new

    def then_little(folder: Path) -> None:
        real(folder)
        if folder.is_dir():  # The run begins: what was checked before it is done.
            free(monkeypatch, FEW)

    monkeypatch.setattr(run_folder, "check_new", then_little)
    options = config(yuan_folder, rows_file, tmp_path / "run", train__save_strategy="no", train__max_steps=1)
    with pytest.raises(WorkFailed, match=r"not enough disk space for .*adapter"):
        fine_tune(options, console=QUIET)
    assert not (tmp_path / "run" / "adapter").exists()


def test_a_run_folder_that_goes_away(tmp_path: Path) -> None:
    run = saved(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(WorkFailed, match="run is gone") as caught, run_folder.failures(tmp_path / "run"):
        run._save_checkpoint(run.model, None)
    assert "--resume" in caught.value.hint and not (tmp_path / "run").exists()


def test_a_run_folder_that_becomes_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = saved(tmp_path / "run")

    def refuse(self: Path, *args: object, **more: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with (
            pytest.raises(WorkFailed, match="failed: Read-only file system"),
            run_folder.failures(tmp_path / "run"),
        ):
            run._save_checkpoint(run.model, None)
    assert flaws(tmp_path / "run" / "checkpoint-1") == []
