"""Where a model computes, and in what numbers: the device and the number format that options mean here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from yuantune.errors import ModelError, nearest
from yuantune.models import folder as model_folder
from yuantune.resources import BUILTIN

if TYPE_CHECKING:
    import torch

DTYPES = ("bfloat16", "float16", "float32", "float64")
KEPT_FROM = 1 / 3
"""Share of the memory above which float32 weights stay bfloat16 where they came as that. In a training step of many
tokens nothing is lost by it, but one token alone takes two to three times as long."""
DEVICES = ("auto", "cpu", "cuda", "mps")


def device_of(device_map: str) -> str:
    """The device that `model.device_map` names on this machine: `cpu`, `mps`, or `cuda:0` and so on.

    auto takes a GPU, then MPS, then the CPU. Under torchrun a process takes the GPU of its local rank. Raises
    ModelError for an unknown name, or a device that is not there."""
    import torch

    kind, _, index = device_map.partition(":")
    if kind == "auto":
        mps = "mps" if torch.backends.mps.is_available() else "cpu"
        kind = "cuda" if torch.cuda.is_available() else mps
    if kind not in DEVICES or (index and (kind != "cuda" or not index.isdecimal())):
        raise ModelError(
            f"unknown device_map {device_map!r}{nearest(device_map, DEVICES)}",
            hint=f"one of {', '.join(DEVICES)}, cuda:1",
        )
    if kind == "cuda":
        number = int(index or os.environ.get("LOCAL_RANK", "0"))
        if number >= torch.cuda.device_count():
            have = f"{torch.cuda.device_count()} GPUs" if torch.cuda.is_available() else "no GPU that torch can use"
            raise ModelError(f"device_map {device_map}: this machine has {have}", hint="use auto or cpu")
        return f"cuda:{number}"
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ModelError("device_map mps: this machine has none", hint="use auto or cpu")
    return kind


def dtype_of(dtype: str, name: str | Path, device: str) -> torch.dtype:
    """The number format that `dtype` means for the model called `name` on a `device` (cpu, cuda:0, mps).

    Raises ModelError for an unknown one."""
    import torch

    if dtype == "auto":
        dtype = "bfloat16" if str(name) not in BUILTIN and computes_bfloat16(device) else "float32"
    if dtype not in DTYPES:
        raise ModelError(
            f"unknown dtype {dtype!r}{nearest(dtype, DTYPES)}", hint=f"one of auto, {', '.join(DTYPES)}"
        )
    return getattr(torch, dtype)


def dtype_name(dtype: str, name: str | Path, device: str) -> str:
    """What `dtype_of` gives, as options and files have it: float32, bfloat16."""
    return str(dtype_of(dtype, name, device)).removeprefix("torch.")


def computes_bfloat16(device: str) -> bool:
    """Whether bfloat16 products are worth having on a `device` (cpu, cuda:0, mps).

    Every GPU has kernels for them. So has oneDNN from AVX-512 on; below, torch's own loops take hundreds of times
    as long as float32 (Zen 3: 0.3 GFLOP/s for 180)."""
    import torch

    if not device.startswith("cpu"):
        return True
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def keeps_bfloat16(quantization: str, name: str | Path, folder: Path, *, dtype: str, computed: torch.dtype) -> bool:
    """Whether the linear layers of the model called `name`, in `folder`, keep bfloat16 weights and compute in
    `computed`, by the options of the model.

    auto: where `dtype` is left open, too, the device would only emulate bfloat16, the file has no other numbers, so
    that nothing is lost, and float32 weights would take more than a third of the memory. All are facts of the
    machine and the file."""
    import torch

    from yuantune.models.memory import memory_of

    if quantization == "bf16":
        return computed in (torch.float32, torch.float64)
    if quantization != "auto" or dtype != "auto" or computed != torch.float32 or str(name) in BUILTIN:
        return False
    wide = 2 * sum(file.stat().st_size for file in model_folder.weight_files(folder))
    return wide > KEPT_FROM * memory_of(torch.device("cpu")) and model_folder.is_bfloat16(folder)
