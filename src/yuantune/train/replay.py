"""Whether a run's last steps come out the same again, bit for bit, from the checkpoint before them.

The checkpoint is copied into a folder of its own, where training goes on from it with the run's options up to the
step of the newest one; then both are compared. The run's folder is only read.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from yuantune.config import Config
from yuantune.data.strict_json import parse_json
from yuantune.errors import Problem, RunError, WorkFailed
from yuantune.train import checkpoint as checkpoints
from yuantune.train import folder as run_folder
from yuantune.train.checkpoint import MARKER, read_marker

COMPARED = (".safetensors", ".bin", ".pt", ".pth")
"""Files of a checkpoint that hold state: weights, optimizer, scheduler, random states."""
_APART = ("training_args.bin",)
"""Options with the folder's name in them."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Steps `first` to `last` were trained again; `files` and the losses of `lines` of the log were compared."""

    first: int
    last: int
    files: list[str]
    lines: int
    problems: list[Problem]


def replay(run: Path, steps: int, console: Console) -> Replay:
    """Train the last `steps` of a run again, or more, up to the step of its newest whole checkpoint.

    Raises RunError where no whole checkpoint is that far back, and what training raises; WorkFailed where the copy
    cannot be written."""
    start, end = _ends(run, steps)
    first, last = checkpoints.step_of(start), checkpoints.step_of(end)
    with tempfile.TemporaryDirectory(prefix="yuantune-replay-") as temporary:
        copy = Path(temporary) / run.resolve().name
        size = sum(size for size, _ in read_marker(start).files.values())
        run_folder.check_free(Path(temporary), copy.name, 3 * size)
        try:
            _copy(run, start, copy)
        except OSError as error:
            raise WorkFailed(f"{start} cannot be copied to {copy}: {error.strerror or error}") from error
        _train(run, copy, last, console)
        again = copy / end.name
        problems, files = _compare(end, again)
        before, now = _losses(run, first, last), _losses(copy, first, last)
        problems += [
            Problem(f"step {step}", f"the loss was {before[step]}, and is {now.get(step)}")
            for step in sorted(before)
            if before[step] != now.get(step)
        ]
    return Replay(first + 1, last, files, len(before), problems)


def _ends(run: Path, steps: int) -> tuple[Path, Path]:
    """The newest whole checkpoint, and the newest one at least `steps` before it."""
    found = checkpoints.checkpoints(run)
    whole = [found[step] for step in sorted(found) if not checkpoints.flaws(found[step])]
    if not whole:
        raise RunError(f"{run} holds no whole checkpoint to replay to")
    last = checkpoints.step_of(whole[-1])
    before = [path for path in whole if checkpoints.step_of(path) <= last - steps]
    if not before:
        raise RunError(
            f"no whole checkpoint of {run} is {steps} steps before {whole[-1].name}, its newest: there "
            + (f"is {', '.join(path.name for path in whole[:-1])}" if whole[1:] else "is no other"),
            hint="ask for fewer steps; train.save_total_limit says how many checkpoints are kept",
        )
    return before[-1], whole[-1]


def _copy(run: Path, start: Path, copy: Path) -> None:
    copy.mkdir()
    for path in run.iterdir():
        if path.is_file() and path.suffix in (".yaml", ".json", ".jsonl"):
            shutil.copy(path, copy)
    shutil.copytree(start, copy / start.name)


def _train(run: Path, copy: Path, last: int, console: Console) -> None:
    """Go on in the copy up to step `last`, without evaluation, which changes nothing of what is learnt."""
    from yuantune.train.progress import StopAt

    if run_folder.command_of(run) == "yuantune pretrain":
        from yuantune.pretrain_config import PretrainConfig
        from yuantune.train.pretrain import pretrain

        options = run_folder.config_of(copy, PretrainConfig)
        options.data.eval, options.train.max_minutes = [], None
        options.train.save_total_limit = None
        pretrain(options, resume=True, console=console, callbacks=[StopAt(last)])
        return
    from yuantune.train.run import fine_tune

    config = run_folder.config_of(copy, Config)
    config.eval.every, config.train.eval_strategy = "no", "no"
    config.train.save_total_limit = None
    fine_tune(config, resume=True, console=console, callbacks=[StopAt(last)])


def _compare(before: Path, now: Path) -> tuple[list[Problem], list[str]]:
    """What differs between two checkpoints of one step, and the files that were compared."""
    old = parse_json((before / MARKER).read_text(encoding="utf-8"))
    was, is_now = read_marker(before).files, read_marker(now).files
    names = [name for name in sorted(was) if name.endswith(COMPARED) and name not in _APART]
    problems = [
        Problem(name, "is not there now" if name not in is_now else "differs")
        for name in names
        if was[name] != is_now.get(name)
    ]
    if problems:
        new = parse_json((now / MARKER).read_text(encoding="utf-8"))
        problems += _other_versions(old.get("versions"), new["versions"])
    return problems, names


def _other_versions(before: Any, now: dict[str, str]) -> list[Problem]:
    before = before if isinstance(before, dict) else {}
    return [
        Problem(name, f"was {before.get(name)}, and is {version}")
        for name, version in now.items()
        if before.get(name) != version
    ]


def _losses(run: Path, first: int, last: int) -> dict[int, float]:
    """The losses in a run's log behind step `first`, up to `last`."""
    from yuantune.train.progress import LOG_FILE, read_log

    lines = [line for line in read_log(run / LOG_FILE) if "loss" in line and first < line["step"] <= last]
    return {line["step"]: line["loss"] for line in lines}
