"""The run folder: what stands in it, the newest checkpoint, and whether the disk can hold what comes.

RUN/config.yaml     every option as it was used
RUN/yuantune.json   template, labels, base model and tokenizer with hashes, versions, seed
RUN/check.json      what the check of the data found
RUN/log.jsonl       a line a logging step
RUN/loss.png        the losses, drawn
RUN/adapter/        PEFT's files (RUN/model/ under full fine-tuning)
RUN/checkpoint-N/   a state to resume from, in the layout of transformers' Trainer
RUN/eval/NAME/      predictions and scores (quickstart and demo)
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yuantune.config import Config, build_config, load_config
from yuantune.data.writing import write_text
from yuantune.errors import Problem, RunError, WorkFailed

if TYPE_CHECKING:
    from yuantune.data.check import CheckReport
    from yuantune.methods.card import Card

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


# ---------------------------------------------------------------------------------------------- before training


def check_new(folder: Path) -> None:
    """Raises RunError where `folder` already holds something, or cannot be made."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            resumable = newest_checkpoint(folder) is not None
            raise RunError(
                f"the run folder {folder} already exists",
                hint=f"`yuantune train {folder} --resume` goes on with it; or choose another output_dir"
                if resumable
                else "choose another output_dir, or remove the folder",
            )
        place = _nearest_place(folder)
        if not place.is_dir():
            raise RunError(f"the run folder {folder} cannot be made: {place} is a file")
        if not os.access(place, os.W_OK | os.X_OK):
            raise RunError(f"the run folder {folder} cannot be made: {place} may not be written to")
    except OSError as error:
        raise RunError(f"the run folder {folder} cannot be made: {error.strerror}") from error


def _nearest_place(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


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


def check_same(folder: Path, card: Card, reports: Mapping[str, CheckReport]) -> None:
    """Raises RunError where template, base model or training data are no longer those that the run began with: the
    options may name the same files, and the files hold something else."""
    from yuantune.methods.card import read_card

    before, now = asdict(read_card(folder)), json.loads(json.dumps(asdict(card)))
    problems = [
        Problem(what, "is not what it was")
        for what, part in (("template", "template"), ("the tokenizer's framing", "framing"), ("base model", "base"))
        if before[part] != now[part]
    ]
    try:
        found = json.loads((folder / CHECK_FILE).read_text(encoding="utf-8"))["train"]
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError(f"{folder / CHECK_FILE} is missing or damaged", hint="train anew") from None
    for count in ("examples", "supervised_tokens"):
        if found.get(count) != (is_now := reports["train"].to_dict()[count]):
            problems.append(Problem("training data", f"had {found.get(count)} {count}, has {is_now}"))
    if problems:
        raise RunError(
            f"{folder} began with something else than there is now",
            problems=problems,
            hint="put back what it began with, or train anew into another output_dir",
        )


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


def check_space(
    folder: Path, config: Config, *, trained_bytes: int, steps_per_epoch: int, first_step: int = 0
) -> None:
    """Raises RunError where the disk cannot hold the run's result and its checkpoints after `first_step`.

    A checkpoint is the trained weights and AdamW's two moments in float32; `trained_bytes` are the weights'."""
    each = 3 * trained_bytes
    total_steps = config.train.max_steps
    if total_steps <= 0:
        total_steps = math.ceil(config.train.num_train_epochs * steps_per_epoch)
    every = {"no": total_steps + 1, "epoch": steps_per_epoch, "steps": config.train.save_steps}
    interval = every[config.train.save_strategy]
    interval = interval if interval >= 1 else interval * total_steps
    count = 0
    if config.train.save_strategy != "no":
        count = math.ceil(max(total_steps - first_step, 0) / max(interval, 1))
    if config.train.save_total_limit is not None:
        count = min(count, config.train.save_total_limit + 1)
    needed = count * each + trained_bytes + RESERVE
    free = shutil.disk_usage(_nearest_place(folder)).free
    if free < needed:
        raise RunError(
            f"not enough disk space for {folder}: {free / 2**20:,.0f} MiB are free, "
            f"{needed / 2**20:,.0f} MiB are needed for {count} checkpoints and the result",
            hint="free some, choose an output_dir on another disk, or set train.save_total_limit",
        )


# -------------------------------------------------------------------------------------------------- what is written


def begin(folder: Path, config: Config, card: Card, reports: Mapping[str, CheckReport]) -> None:
    """Make the run folder: options, card and check, before the first step."""
    with failures(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG_FILE, config.dump())
    report = {role: each.to_dict() for role, each in reports.items()}
    write_text(folder / CHECK_FILE, json.dumps(report, ensure_ascii=False, indent=2) + "\n")
    card.save(folder)


def save_result(folder: Path, name: str, save: Callable[[Path], None], tokenizer: Any) -> None:
    """Write the trained weights, tokenizer and card into `folder/name`: whole, or not there."""
    from yuantune.methods.card import CARD_FILE

    beside = folder / f".{name}.tmp"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with failures(folder):
            save(beside)
            tokenizer.save_pretrained(beside)
            shutil.copy(folder / CARD_FILE, beside)
            shutil.rmtree(folder / name, ignore_errors=True)
            os.replace(beside, folder / name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def failures(folder: Path) -> Iterator[None]:
    """Turns what the disk and the memory refuse into WorkFailed; other errors go through.

    torch and safetensors report a full disk each in their own way, and not as OSError."""
    from safetensors import SafetensorError
    from torch import OutOfMemoryError

    try:
        yield
    except (OSError, SafetensorError, RuntimeError, MemoryError) as error:
        text = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if isinstance(error, OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in text:
            raise WorkFailed(
                "there is not enough memory for a training step",
                hint="set train.per_device_train_batch_size lower and train.gradient_accumulation_steps higher, or "
                "train.gradient_checkpointing: true; `yuantune model show` estimates what is needed",
            ) from error
        if isinstance(error, RuntimeError) and not ("PytorchStreamWriter" in text or "inline_container" in text):
            raise
        why = error.strerror if isinstance(error, OSError) and error.strerror else text
        raise WorkFailed(f"writing to {folder} failed: {why}", hint=resume_hint(folder)) from error


def resume_hint(folder: Path) -> str:
    """What to do with a run that stopped."""
    if newest_checkpoint(folder) is None:
        return f"there is no checkpoint yet: remove {folder} and train anew"
    return f"`yuantune train {folder} --resume` goes on from its newest checkpoint"
