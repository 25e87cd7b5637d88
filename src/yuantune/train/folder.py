"""The run folder: what stands in it, the newest checkpoint, and whether the disk can hold what comes.

RUN/config.yaml     every option as it was used
RUN/yuantune.json   template, labels, base model and tokenizer with hashes, versions, seed
RUN/check.json      what the check of the data found
RUN/log.jsonl       a line a logging step
RUN/loss.png        the losses, drawn
RUN/adapter/        PEFT's files (RUN/model/ under full fine-tuning)
RUN/checkpoint-N/   a state to resume from, in the layout of transformers' Trainer
"""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

from yuantune.config import Config, build_config, load_config
from yuantune.errors import Problem, RunError

CONFIG_FILE = "config.yaml"
CHECK_FILE = "check.json"

FREE_TO_CHANGE = (
    "generate.",
    "output_dir",
    "train.dataloader_num_workers",
    "train.eval_",
    "train.logging_steps",
    "train.max_steps",
    "train.num_train_epochs",
    "train.per_device_eval_batch_size",
    "train.report_to",
    "train.save_",
)
"""Options that may differ on a resume; the rest would silently make another run of it."""

RESERVE = 64 * 2**20
"""Bytes to leave free for log, plot and the rest of the machine."""


def check_new(folder: Path) -> None:
    """Raises RunError where `folder` already holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        resumable = newest_checkpoint(folder) is not None
        raise RunError(
            f"the run folder {folder} already exists",
            hint=f"`yuantune train {folder} --resume` goes on with it; or choose another output_dir"
            if resumable
            else "choose another output_dir, or remove the folder",
        )


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the most steps whose state is whole (`trainer_state.json` is written last)."""
    steps = {
        int(match.group(1)): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and _is_whole(path)
    }
    return steps[max(steps)] if steps else None


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (checkpoint / "optimizer.pt").exists() and any(checkpoint.glob("*model*.safetensors"))


def check_resumable(folder: Path, config: Config) -> Path:
    """The checkpoint to go on from. Raises RunError where there is none, or where an option that decides what
    is learnt differs from the run's own config."""
    if not folder.is_dir():
        raise RunError(f"no run folder {folder} to resume", hint="leave --resume away to begin it")
    checkpoint = newest_checkpoint(folder)
    if checkpoint is None:
        raise RunError(
            f"{folder} holds no whole checkpoint to resume from", hint="remove the folder and train anew"
        )
    before, now = _flat(load_config(folder / CONFIG_FILE).model_dump()), _flat(config.model_dump())
    changed = [name for name in now if before.get(name) != now[name] and not name.startswith(FREE_TO_CHANGE)]
    if changed:
        raise RunError(
            f"the options differ from those that {folder} began with",
            problems=[Problem(name, f"was {before.get(name)!r}, is {now[name]!r}") for name in changed],
            hint=f"`yuantune train {folder} --resume` takes the run's own config",
        )
    return checkpoint


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def config_of(folder: Path) -> Config:
    """The resolved config of a run folder, its `output_dir` being where the folder is now."""
    if not (folder / CONFIG_FILE).is_file():
        raise RunError(f"{folder} is no run folder: it has no {CONFIG_FILE}")
    tree = load_config(folder / CONFIG_FILE).model_dump()
    return build_config({**tree, "output_dir": str(folder)})


def check_space(folder: Path, config: Config, *, trained_bytes: int, steps_per_epoch: int) -> None:
    """Raises RunError where the disk cannot hold the run's checkpoints and its result.

    A checkpoint is the trained weights and AdamW's two moments in float32; `trained_bytes` are the weights'."""
    each = 3 * trained_bytes
    total_steps = config.train.max_steps
    if total_steps <= 0:
        total_steps = math.ceil(config.train.num_train_epochs * steps_per_epoch)
    every = {"no": total_steps + 1, "epoch": steps_per_epoch, "steps": config.train.save_steps}
    interval = every[config.train.save_strategy]
    interval = interval if interval >= 1 else interval * total_steps
    count = math.ceil(total_steps / max(interval, 1)) if config.train.save_strategy != "no" else 0
    if config.train.save_total_limit is not None:
        count = min(count, config.train.save_total_limit + 1)
    needed = count * each + trained_bytes + RESERVE
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise RunError(
            f"not enough disk space for {folder}: {free / 2**20:,.0f} MiB are free, "
            f"{needed / 2**20:,.0f} MiB are needed for {count} checkpoints and the result",
            hint="free some, choose an output_dir on another disk, or set train.save_total_limit",
        )
