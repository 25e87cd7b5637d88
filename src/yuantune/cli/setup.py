"""`yuantune init` and `yuantune env`: a config to start from, and what this machine has."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from yuantune.cli.console import err, out
from yuantune.errors import UserError


def register(app: typer.Typer) -> None:
    """Put the commands on the app."""
    app.command()(init)
    app.command()(env)


def init(
    path: Annotated[Path, typer.Argument(help="Where to write the config.")] = Path("yuantune.yaml"),
    data: Annotated[str | None, typer.Option(help="Training data to put into it.")] = None,
    model: Annotated[str | None, typer.Option(help="Base model to put into it.")] = None,
    template: Annotated[str | None, typer.Option(help="Prompt template to put into it.")] = None,
    pretrain: Annotated[bool, typer.Option("--pretrain", help="A config for `yuantune pretrain`.")] = False,
    sweep: Annotated[bool, typer.Option("--sweep", help="A config for `yuantune sweep`.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a config file with every option, its default and what it means."""
    from yuantune.config import Config
    from yuantune.config_file import commented_config
    from yuantune.data.writing import write_text
    from yuantune.pretrain_config import PretrainConfig
    from yuantune.sweep_config import SweepConfig

    if pretrain and sweep:
        raise UserError("--pretrain or --sweep, one of them")
    if os.path.lexists(path) and not force:
        raise UserError(f"{path} is already there", hint="choose another name, or --force to replace it")
    values: dict[str, Any] = {}
    if data:
        values["data"] = {"train": data}
    if model:
        values["model"] = {"name": model}
    if template and pretrain:
        raise UserError(
            "--template: in pretraining each source has its own", hint="data.train: [{path: …, template: …}]"
        )
    if template:
        values["template"] = template
    if sweep:
        rows = {"train": data or "train.jsonl", "split": 0.2}
        rates = {"train.learning_rate": [1e-4, 3e-4, 1e-3, 3e-3]}
        values = {"run": {**values, "data": rows, "eval": {"every": "epoch"}}, "options": rates}
    kind = PretrainConfig if pretrain else SweepConfig if sweep else Config
    write_text(path, commented_config(values, kind))
    err.print(f"wrote {path}", markup=False)
    first = "" if data else f"edit {'run' if sweep else 'data.train'} in it, then "
    command = "pretrain" if pretrain else "sweep" if sweep else "train"
    err.print(f"next: {first}`yuantune {command} {shlex.quote(str(path))}`", markup=False)


def env(as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False) -> None:
    """Show versions, device, memory and threads: what to paste into a bug report."""
    import json

    from rich.table import Table

    facts = _facts()
    if as_json:
        out.print_json(json.dumps(facts))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in facts.items():
        table.add_row(name, str(value))
    out.print(table)


def _facts() -> dict[str, Any]:
    import platform
    from importlib import metadata

    import psutil
    import torch

    facts: dict[str, Any] = {"yuantune": metadata.version("yuantune"), "python": platform.python_version()}
    for package in ("torch", "transformers", "peft", "accelerate", "datasets", "sentencepiece", "modelscope"):
        facts[package] = metadata.version(package)
    facts["system"] = platform.platform()
    facts["processor"] = _processor()
    facts["cores"] = os.cpu_count()
    facts["torch threads"] = torch.get_num_threads()
    facts["cpu capability"] = torch.backends.cpu.get_cpu_capability()
    facts["memory"] = f"{psutil.virtual_memory().total / 2**30:.1f} GiB"
    facts["memory free"] = f"{psutil.virtual_memory().available / 2**30:.1f} GiB"
    facts["device"] = _device()
    return facts


def _processor() -> str:
    import platform

    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return "cuda: " + ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in gpus)
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"
