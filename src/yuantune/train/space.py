"""Whether the disk can hold what a run will write, as estimated before it starts; and what weights weigh."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from yuantune.config import Config
from yuantune.errors import RunError

RESERVE = 64 * 2**20
"""Bytes to leave free for log, plot and the rest of the machine when a run starts."""


def check_space(
    folder: Path, config: Config, *, trained_bytes: int, steps_per_epoch: int, first_step: int = 0
) -> None:
    """Raises RunError where the disk cannot hold the run's result and its checkpoints after `first_step`.

    `trained_bytes` are those of the trained weights in float32."""
    total_steps = config.train.max_steps
    if total_steps <= 0:
        total_steps = math.ceil(config.train.num_train_epochs * steps_per_epoch)
    every = {"no": total_steps + 1, "epoch": steps_per_epoch, "steps": config.train.save_steps}
    interval = every[config.train.save_strategy]
    interval = interval if interval >= 1 else interval * total_steps
    count, limit = 0, config.train.save_total_limit
    if config.train.save_strategy != "no":
        count = math.ceil(max(total_steps - first_step, 0) / max(interval, 1))
    if limit is not None and config.eval.every != "no":
        limit = max(limit, 2)  # The newest, and the best.
    check_room(folder, count, limit, trained_bytes)


def check_room(folder: Path, count: int, limit: int | None, trained_bytes: int) -> None:
    """Raises RunError where the disk cannot hold `count` checkpoints, of which `limit` are kept, and the result.

    A checkpoint is the trained weights, `trained_bytes` in float32, and AdamW's two moments."""
    count = count if limit is None else min(count, limit + 1)
    needed = (3 * count + 1) * trained_bytes + RESERVE
    free = shutil.disk_usage(_nearest_place(folder)).free
    if free < needed:
        raise RunError(
            f"not enough disk space for {folder}: {free / 2**20:,.0f} MiB are free, "
            f"{needed / 2**20:,.0f} MiB are needed for {count} checkpoints and the result",
            hint="free some, choose an output_dir on another disk, or set train.save_total_limit",
        )


def trained_bytes(model: nn.Module) -> int:
    """The bytes of the weights that are trained."""
    return bytes_of([weight for weight in model.parameters() if weight.requires_grad])


def bytes_of(values: Any) -> int:
    """The bytes of all tensors in mappings and sequences within one another."""
    if isinstance(values, torch.Tensor):
        return values.numel() * values.element_size()
    if isinstance(values, Mapping):
        values = values.values()
    elif isinstance(values, str) or not isinstance(values, Iterable):
        return 0
    return sum(map(bytes_of, values))


def _nearest_place(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
