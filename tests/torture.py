"""Real `yuantune train` and `extract` processes, killed from outside (SIGKILL) at random instants and gone on with.

    python -m tests.torture [--train-kills 100] [--extract-kills 50] [--seed 6]

Every killed training goes on to its end and is compared, bit for bit, with one that was not killed; every killed
extraction is begun again until it ends, and must then hold each row once. The last line of the output is one JSON
object of what was counted. `tests/test_train_crash.py` runs a few of both.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import ROWS, write_tiny_yuan
from yuantune.train.checkpoint import MARKER, TEMPORARY, checkpoints, examine, flaws, newest_whole, step_of

PRELOADED = ["tests.torture", "yuantune.cli", "yuantune.train.portions", "yuantune.infer.extractor", "peft"]
AIMED = 0.004
"""Seconds within which a kill that is aimed at a save comes, from when the save is seen."""


@dataclass(slots=True)
class Counts:
    """What happened to trainings: kills, those within a save, states that could not be read or gone on with, whole
    checkpoints that were there before a kill and not after it, runs that ended, and those that ended the same."""

    kills: int = 0
    inside_a_save: int = 0
    unreadable: int = 0
    lost: int = 0
    endings: int = 0
    identical: int = 0


@dataclass(slots=True)
class Extracted:
    """What happened to extractions: kills, those that left answers behind, rows that the outputs lack, rows that
    they have more than once, and outputs that are those of the extraction that was not killed."""

    kills: int = 0
    with_answers: int = 0
    rows_lost: int = 0
    rows_twice: int = 0
    endings: int = 0
    identical: int = 0


def yuantune_command(words: list[str], said: Path) -> None:
    """`yuantune WORDS` in this process, what it says going to a file."""
    from yuantune.cli import main

    with said.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["yuantune", *words]
    main()


def starter() -> Any:
    """Starts processes out of one that has imported everything: importing takes longer than the runs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    first = context.Process(target=time.time)  # It waits for the imports.
    first.start()
    first.join()
    return context


def kill(process: Any) -> bool:
    """SIGKILL to a process; whether that is what ended it."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return bool(process.exitcode == -signal.SIGKILL)


@dataclass(slots=True)
class Torture:
    """A folder with a tiny model and six rows, in which processes are started and killed."""

    home: Path
    model: Path
    processes: Any
    chance: random.Random
    texts: int = 600
    """How many an extraction answers: more than are sorted and answered side by side."""
    seconds: float = 0.0
    """What the training that was not killed took."""
    ending: list[str] = field(default_factory=list)
    """Hashes of what it left."""

    def start(self, *words: object) -> Any:
        """A process of the command."""
        process = self.processes.Process(target=yuantune_command, args=([*map(str, words)], self.home / "said"))
        process.start()
        return process

    def finish(self, process: Any) -> bool:
        """Wait for a process; whether it ended well. What it said otherwise is printed."""
        process.join()
        if process.exitcode:
            print((self.home / "said").read_text("utf-8"), file=sys.stderr)
        return bool(process.exitcode == 0)

    # -------------------------------------------------------------------------------------------- training
    def begin(self) -> Path:
        """The training that is not killed; its folder."""
        lines = [json.dumps({"text": text, "labels": labels}, ensure_ascii=False) + "\n" for text, labels in ROWS]
        (self.home / "rows.jsonl").write_text("".join(lines), "utf-8")
        started = time.monotonic()
        assert self.finish(self.train(self.home / "whole", resume=False))
        self.seconds, self.ending = time.monotonic() - started, ending(self.home / "whole")
        return self.home / "whole"

    def train(self, run: Path, *, resume: bool) -> Any:
        """A process that trains into `run`, with a checkpoint at each of twelve steps."""
        if resume:
            return self.start("train", run, "--resume")
        config = self.home / f"{run.name}.yaml"
        config.write_text(
            f"output_dir: {run}\ntemplate: resume-ner\n"
            f"model: {{name: {self.model}, dtype: float32, device_map: cpu}}\n"
            f"data: {{train: {self.home / 'rows.jsonl'}}}\nlora: {{r: 2}}\ngenerate: {{max_new_tokens: 8}}\n"
            "train: {per_device_train_batch_size: 1, gradient_accumulation_steps: 2, num_train_epochs: 4,\n"
            "  learning_rate: 1e-2, save_strategy: steps, save_steps: 1, save_total_limit: 2}\n",
            "utf-8",
        )
        return self.start("train", config)

    def kill_training(self, run: Path, kills: int, counts: Counts) -> None:
        """Train into `run`, killed so often, two times of three within a save if one can be met, then go on."""
        newest: Path | None = None
        done = 0
        while done < kills:
            process = self.train(run, resume=newest is not None)
            # Some saves go by first.
            wanted = step_of(newest) + self.chance.randrange(3)
            if counts.kills % 3 == 2:
                process.join(self.chance.random() * self.seconds / (1 if kills == 1 else 3))
                there = newest_whole(run, hashes=False)[0]
            else:
                while process.is_alive() and max(checkpoints(run), default=0) < wanted:
                    process.join(0.001)
                there = newest_whole(run, hashes=False)[0]
                while process.is_alive() and not (run / TEMPORARY).is_dir():
                    time.sleep(0.0002)
                time.sleep(self.chance.random() * AIMED)
            if not kill(process):  # It had ended.
                assert process.exitcode == 0, (self.home / "said").read_text("utf-8")
                shutil.rmtree(run)
                newest = None
                continue
            done += 1
            counts.kills += 1
            counts.inside_a_save += (run / TEMPORARY).is_dir()
            marked = [path for path in checkpoints(run).values() if (path / MARKER).exists()]
            counts.unreadable += any(flaws(path) for path in marked)
            newest, _ = newest_whole(run)
            counts.lost += step_of(newest) < step_of(there)
            if newest is None:  # Killed before the first checkpoint: it begins anew.
                shutil.rmtree(run, ignore_errors=True)
        counts.endings += 1
        if self.finish(self.train(run, resume=newest is not None)):
            whole = not any(each.problems for each in examine(run))
            counts.identical += whole and ending(run) == self.ending
        else:
            counts.unreadable += 1

    # -------------------------------------------------------------------------------------------- extraction
    def extract(self, run: Path, output: Path) -> Any:
        """A process that answers all texts with a trained run."""
        return self.start(
            "extract", run, "--input", self.home / "texts.txt", "--output", output, "--device-map", "cpu"
        )

    def kill_extraction(self, run: Path, kills: int, counts: Extracted) -> None:
        """Answer texts with `run`, killed so often at random instants, and gone on with."""
        texts = [f"{number}号，{ROWS[number % len(ROWS)][0]}" for number in range(self.texts)]
        (self.home / "texts.txt").write_text("\n".join(texts) + "\n", "utf-8")
        started = time.monotonic()
        assert self.finish(self.extract(run, self.home / "all.jsonl"))
        seconds, expected = time.monotonic() - started, answers(self.home / "all.jsonl")
        while counts.kills < kills:
            output = self.home / "killed.jsonl"
            while not output.exists():
                process = self.extract(run, output)
                if counts.kills < kills:
                    process.join(self.chance.random() * seconds * 1.2)
                    killed = kill(process)
                else:
                    process.join()
                    killed = False
                if killed:
                    counts.kills += 1
                    counts.with_answers += output.with_name("killed.jsonl.partial").exists()
                else:
                    assert process.exitcode == 0, (self.home / "said").read_text("utf-8")
            found = answers(output)
            rows = [row[0] for row in found]
            counts.rows_lost += self.texts - len(set(rows))
            counts.rows_twice += len(rows) - len(set(rows))
            counts.endings += 1
            counts.identical += found == expected
            output.unlink()


def ending(run: Path) -> list[str]:
    """Hashes of adapter and log."""
    files = (run / "adapter" / "adapter_model.safetensors", run / "log.jsonl")
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def answers(output: Path) -> list[tuple[str, str]]:
    """Place and answer of each line."""
    rows = map(json.loads, output.read_text("utf-8").splitlines())
    return [(row["source"], row["raw"]) for row in rows]


def main() -> int:
    """Run it; 0 where every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train-kills", type=int, default=100)
    parser.add_argument("--extract-kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=6)
    options = parser.parse_args()
    trained, extracted = Counts(), Extracted()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="yuantune-torture-") as temporary:
        home = Path(temporary)
        write_tiny_yuan(home / "model")
        torture = Torture(home, home / "model", starter(), random.Random(options.seed))
        whole = torture.begin()
        while trained.kills < options.train_kills:
            torture.kill_training(home / "run", 1, trained)
            shutil.rmtree(home / "run", ignore_errors=True)
            print(f"{trained.kills} of {options.train_kills} trainings killed", file=sys.stderr)
        torture.kill_extraction(whole, options.extract_kills, extracted)
    print(
        json.dumps(
            {
                "train": asdict(trained),
                "extract": asdict(extracted),
                "seed": options.seed,
                "seconds": round(time.monotonic() - started),
            }
        )
    )
    kept = trained.unreadable == trained.lost == extracted.rows_lost == extracted.rows_twice == 0
    kept = kept and trained.identical == trained.endings and extracted.identical == extracted.endings
    return 0 if kept and trained.inside_a_save * 10 >= trained.kills * 3 else 1


if __name__ == "__main__":
    from tests import torture  # Under a name by which other processes find its functions.

    sys.exit(torture.main())
