"""A save that fails anywhere, and real processes that are killed at any time: nothing that was whole is lost."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import peft.peft_model
import pytest
import torch

from tests.faults import ERRORS, Faults
from tests.test_train_portions import trainer
from tests.torture import Counts, Extracted, Torture, starter
from yuantune.errors import WorkFailed
from yuantune.methods import lora
from yuantune.train import folder as run_folder
from yuantune.train.checkpoint import MARKER, examine, flaws, newest_whole, tidy

NATIVE = ((torch, "save"), (peft.peft_model, "safe_save_file"))


@pytest.mark.parametrize("for_good", [False, True])
def test_the_checkpoint_before_is_whole_whatever_fails(tmp_path: Path, for_good: bool) -> None:
    """Each call of a checkpoint's save fails in turn, once or from then on: it ends with a message, and what stood
    before it stands after it. Only what tidies up behind a new checkpoint may fail without a word."""
    run = trainer(tmp_path / "run", 8, 1)
    run.save_weights = lora.save
    run.keep = 1
    run.train()
    folder = tmp_path / "run"
    run.state.global_step = 1
    run._save_checkpoint(run.model, None)
    first, second = folder / "checkpoint-1", folder / "checkpoint-2"
    marker = (first / MARKER).read_bytes()
    run.keep = None
    run.state.global_step = 2
    failed = 0
    for number in range(1000):
        faults = Faults(number, ERRORS[number % 3], for_good=for_good, native=NATIVE)
        error: WorkFailed | None = None
        try:
            with run_folder.failures(folder), faults:
                run._save_checkpoint(run.model, None)
        except WorkFailed as caught:
            error = caught
            failed += 1
            assert str(folder) in caught.message and (
                "--resume" in caught.hint or "nothing was written" in str(caught)
            )
        assert flaws(first) == [] and (first / MARKER).read_bytes() == marker
        newest = newest_whole(folder)[0]
        # Of a disk that refuses all from a new marker on, even the removal of that, the new one is whole as well.
        assert newest == (first if error else second) or (for_good and newest == second)
        tidy(folder)
        assert newest_whole(folder)[0] == newest
        if not faults.happened:
            break
        shutil.rmtree(second, ignore_errors=True)
    assert failed > 30
    assert {path.name for path in folder.iterdir()} == {"checkpoint-1", "checkpoint-2"}


def test_the_result_before_is_whole_whatever_fails(tmp_path: Path) -> None:
    class Tokenizer:
        def save_pretrained(self, folder: Path) -> None:
            (folder / "tokenizer.json").write_text("{}", "utf-8")

    def save(content: str) -> Any:
        def write(folder: Path) -> None:
            folder.mkdir()
            (folder / "adapter_model.safetensors").write_text(content, "utf-8")

        return write

    result = tmp_path / "adapter"
    run_folder.save_result(tmp_path, "adapter", save("before"), Tokenizer(), 1, size=9)
    failed = 0
    for number in range(1000):
        faults = Faults(number, ERRORS[number % 3])
        try:
            with faults:
                run_folder.save_result(tmp_path, "adapter", save("after"), Tokenizer(), 2, size=9)
        except WorkFailed as error:
            failed += 1
            assert error.message.startswith(f"writing to {tmp_path} failed: ")
        tidy(tmp_path)
        assert flaws(result) == [] and [path.name for path in tmp_path.iterdir()] == ["adapter"]
        if not faults.happened:
            break
        if (result / "adapter_model.safetensors").read_text("utf-8") == "after":
            run_folder.save_result(tmp_path, "adapter", save("before"), Tokenizer(), 1, size=9)
    assert failed > 15


def test_the_best_checkpoint_is_compared_with_its_hashes(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", 8, 1)
    run.save_weights = lora.save
    run.train()
    run._save_checkpoint(run.model, None)
    weights = tmp_path / "run" / "checkpoint-2" / "adapter_model.safetensors"
    run.state.best_model_checkpoint = str(weights.parent)
    run._load_best_model()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(WorkFailed, match="the best checkpoint") as caught:
        run._load_best_model()
    assert caught.value.problems[0].where == str(weights)


# ----------------------------------------------------------------------------------------------------- kills


@pytest.fixture(scope="module")
def torture(tmp_path_factory: pytest.TempPathFactory, yuan_folder: Path) -> Torture:
    """A few of the kills of `tests/torture.py`."""
    return Torture(tmp_path_factory.mktemp("torture"), yuan_folder, starter(), random.Random(6), texts=280)


@pytest.fixture(scope="module")
def whole(torture: Torture) -> Path:
    return torture.begin()


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(torture: Torture, whole: Path) -> None:
    """No checkpoint that was whole is lost, none is half, and adapter and log end bit for bit the same."""
    counts, run = Counts(), torture.home / "run"
    torture.kill_training(run, 6, counts)
    assert (
        counts.kills == 6
    )  # How many of them land inside a save depends on the machine: `make torture` asks for 30 %.
    assert (counts.unreadable, counts.lost, counts.endings, counts.identical) == (0, 0, 1, 1)
    assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in whole.iterdir())
    assert [each.problems for each in examine(run)] == [[], [], []]


def test_an_extraction_that_is_killed_again_and_again_has_each_row_once(torture: Torture, whole: Path) -> None:
    counts = Extracted()
    torture.kill_extraction(whole, 3, counts)
    assert counts.kills == 3
    assert (counts.rows_lost, counts.rows_twice) == (0, 0) and counts.identical == counts.endings
