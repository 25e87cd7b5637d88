"""A sweep's folder: what it began with, and whether it may go on there."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from yuantune.config import Config
from yuantune.config_file import build_as, load_as
from yuantune.data.strict_json import parse_json
from yuantune.data.writing import write_text
from yuantune.errors import Problem, RunError
from yuantune.study.sweep_plan import Trial, run_tree
from yuantune.sweep_config import SweepConfig
from yuantune.train import folder as run_folder
from yuantune.train.lock import RunLock

SWEEP_FILE = "sweep.yaml"
PLAN_FILE = "plan.json"
FREE_TO_CHANGE = ("output_dir", "keep")
"""Options of a sweep that may differ on a resume."""


def begin(config: SweepConfig, trials: Sequence[Trial], lock: RunLock) -> None:
    """Make the folder, lock it, and write down what is to be done, before the first trial. Raises DiskFailed where
    the disk refuses, RunError where somebody else has just made it."""
    folder = lock.folder
    run_folder.make(folder, lock)
    written = config.model_copy(update={"run": run_tree(config, {})[0]})
    write_text(folder / SWEEP_FILE, written.dump())
    tree = [{"number": each.number, "options": each.options, "config": each.config.model_dump()} for each in trials]
    write_text(folder / PLAN_FILE, json.dumps({"trials": tree}, ensure_ascii=False, indent=1) + "\n")


def read_plan(folder: Path) -> list[Trial]:
    """The trials that a sweep began with. Raises RunError where they cannot be read."""
    try:
        tree = parse_json((folder / PLAN_FILE).read_text(encoding="utf-8"))
        return [Trial(each["number"], each["options"], build_as(Config, each["config"])) for each in tree["trials"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder / PLAN_FILE} cannot be used", hint="remove the folder, and sweep anew") from error


def sweep_of(folder: Path) -> SweepConfig:
    """The config of a sweep's folder, its `output_dir` being where the folder is now.

    Raises RunError where it is no sweep's."""
    if not (folder / SWEEP_FILE).is_file() or not (folder / PLAN_FILE).is_file():
        raise RunError(
            f"{folder} holds no sweep to go on with: it lacks {SWEEP_FILE} or {PLAN_FILE}",
            hint="remove the folder, and leave --resume away to begin it",
        )
    return load_as(SweepConfig, folder / SWEEP_FILE).model_copy(update={"output_dir": str(folder)})


def check_same(folder: Path, config: SweepConfig) -> None:
    """Raises RunError where there is no sweep in `folder`, or another one than `config`."""
    if not folder.is_dir():
        raise RunError(f"no sweep folder {folder} to resume", hint="leave --resume away to begin it")
    trees = [
        {**each.model_dump(), "run": run_tree(each, {})[0], "options": each.model_dump()["options"]}
        for each in (sweep_of(folder), config)
    ]
    for tree in trees:
        tree["options"] = {name: str(value) for name, value in tree["options"].items()}
    before, now = map(run_folder.flat_options, trees)
    names = [name for name in {**now, **before} if not name.startswith(FREE_TO_CHANGE)]
    changed = [name for name in names if before.get(name) != now.get(name)]
    if changed:
        raise RunError(
            f"the sweep differs from the one that {folder} began with",
            problems=[Problem(name, f"was {before.get(name)}, is {now.get(name)}") for name in changed],
            hint=f"`{resume_command(folder)}` goes on with that one; or choose another output_dir",
        )


def resume_command(folder: Path) -> str:
    """What to type to go on with a sweep."""
    return f"yuantune sweep {shlex.quote(str(folder))} --resume"
