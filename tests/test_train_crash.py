"""A save that fails anywhere, and real processes that are killed at any time: nothing that was whole is lost."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import peft.peft_model
import pytest
import torch

from tests.conftest import ROWS
from tests.faults import ERRORS, Faults
from tests.test_train_portions import trainer
from yuantune.errors import WorkFailed
from yuantune.methods import lora
from yuantune.train import folder as run_folder
from yuantune.train.checkpoint import MARKER, TEMPORARY, checkpoints, examine, flaws, newest_whole, step_of, tidy

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

KILLS = 6


def yuantune_command(words: list[str], said: Path) -> None:
    """`yuantune WORDS` in this process, what it says going to a file."""
    from yuantune.cli import main

    with said.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["yuantune", *words]
    main()


@pytest.fixture(scope="module")
def processes() -> Any:
    """Starts processes out of one that has imported everything: importing takes longer than the runs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.test_train_crash", "yuantune.cli", "yuantune.train.portions", "peft"])
    return context


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(
    tmp_path: Path, yuan_folder: Path, processes: Any
) -> None:
    """SIGKILL from outside, most of them while a checkpoint is written; at once another process goes on. No
    checkpoint that was whole is lost, none is half, and the adapter and the log end bit for bit the same."""
    data = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": text, "labels": labels}, ensure_ascii=False) + "\n" for text, labels in ROWS]
    data.write_text("".join(lines), "utf-8")

    def begin(run: Path, resume: bool) -> Any:
        config = tmp_path / f"{run.name}.yaml"
        config.write_text(
            f"output_dir: {run}\ntemplate: resume-ner\n"
            f"model: {{name: {yuan_folder}, dtype: float32, device_map: cpu}}\ndata: {{train: {data}}}\n"
            "lora: {r: 2}\n"
            "train: {per_device_train_batch_size: 1, gradient_accumulation_steps: 2, num_train_epochs: 4,\n"
            "  learning_rate: 1e-2, save_strategy: steps, save_steps: 1, save_total_limit: 2}\n",
            "utf-8",
        )
        words = ["train", str(run), "--resume"] if resume else ["train", str(config)]
        process = processes.Process(target=yuantune_command, args=(words, tmp_path / "said"))
        process.start()
        return process

    whole, run = tmp_path / "whole", tmp_path / "run"
    process = begin(whole, resume=False)
    process.join()
    assert process.exitcode == 0, (tmp_path / "said").read_text("utf-8")

    chance = random.Random(6)
    inside = 0
    newest: Path | None = None
    for kill in range(KILLS):
        process = begin(run, resume=newest is not None)
        # Some saves go by first; the last kill comes at any time.
        wanted = step_of(newest) + chance.randrange(2)
        while process.is_alive() and max(checkpoints(run), default=0) < wanted:
            process.join(0.001)
        while process.is_alive() and kill < KILLS - 1 and not (run / TEMPORARY).is_dir():
            pass
        process.join(chance.random() * (0.02 if kill < KILLS - 1 else 0.2))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL, (tmp_path / "said").read_text("utf-8")
        inside += (run / TEMPORARY).is_dir()
        marked = [path for path in checkpoints(run).values() if (path / MARKER).exists()]
        assert [flaws(path) for path in marked] == [[] for _ in marked]
        after, _ = newest_whole(run)
        assert step_of(after) >= step_of(newest)
        if after is None:  # Killed before the first checkpoint: it begins anew.
            shutil.rmtree(run, ignore_errors=True)
        newest = after
    assert inside >= 2
    process = begin(run, resume=newest is not None)
    process.join()
    assert process.exitcode == 0, (tmp_path / "said").read_text("utf-8")

    def ending(folder: Path) -> list[str]:
        files = (folder / "adapter" / "adapter_model.safetensors", folder / "log.jsonl")
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]

    assert ending(run) == ending(whole)
    assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in whole.iterdir())
    assert [each.problems for each in examine(run)] == [[], [], []]
