"""`yuantune bench train`: training recipes side by side, each in its own process, in turn, on the same rows.

The machine's speed drifts, so recipes alternate within one run and ratios are taken round by round; medians are
quoted. Out of memory or another failure is a result too, and stands in the table.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from yuantune.errors import UserError, nearest
from yuantune.study.recipes import RECIPES, TRL, Job, examples_of


@dataclass(frozen=True, slots=True)
class Line:
    """One recipe's figures with one model: medians over rounds.

    `ratio` is its examples/s over the first recipe's, the median of the ratios round by round. `tokens_computed`
    and `required_flops` are of one step, on average; the latter is the least that any recipe has to compute
    for it (`yuantune.study.flops`). `gemm_flops_per_second` is what the step's matrix products alone run at, the
    best of the model's rounds and recipes. On a GPU `peak_rss_bytes` are those of its memory. A failure has its
    message in `error` and no figures."""

    recipe: str
    model: str
    dtype: str
    examples_per_second: float = 0.0
    seconds_per_step: float = 0.0
    tokens_computed: int = 0
    peak_rss_bytes: int = 0
    required_flops: int = 0
    achieved_flops_per_second: float = 0.0
    gemm_flops_per_second: float = 0.0
    ratio: float = 0.0
    error: str = ""


def bench_train(
    model: str,
    data: str,
    *,
    recipes: Sequence[str],
    steps: int,
    warm_up: int,
    rounds: int,
    batch_size: int,
    dtype: str,
    template: str,
    tokenizer: str | None = None,
    device: str = "cpu",
    note: Callable[[str], None] = lambda text: None,
) -> list[Line]:
    """Time `steps` optimizer steps of each recipe, after `warm_up` that are not counted, in each of `rounds`
    rounds. `tokenizer` is for a model that is a shape (`yuantune.study.subjects`).

    Raises UserError for what no recipe could do: an unknown recipe, model or dtype, a device that is not there,
    data that the check refuses, fewer rows than a batch, a peer that is not installed."""
    from yuantune.models.placement import device_of, dtype_name

    check_recipes(recipes)
    if warm_up < 1:
        raise UserError("a step has to come before those that count", hint="set --warm-up to 1 or more")
    if device not in ("cpu", "cuda"):
        raise UserError(f"unknown device {device}", hint="cpu, cuda")
    device_of(device)
    dtype = dtype_name(dtype, model, device)
    check_rows(model, tokenizer, data, template, batch_size)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in recipes}
    for turn in range(rounds):
        for name in recipes:
            note(f"{model}, round {turn + 1}/{rounds}: {name}")
            job = Job(
                name, model, tokenizer, data, template, dtype, steps + warm_up, batch_size, device, warm_up=warm_up
            )
            runs[name].append(in_process("yuantune.study.recipes", job.to_json()))
    lines = [_line(name, model, dtype, runs[name], runs[recipes[0]]) for name in recipes]
    fastest = max(line.gemm_flops_per_second for line in lines)
    return [line if line.error else replace(line, gemm_flops_per_second=fastest) for line in lines]


def check_recipes(recipes: Sequence[str]) -> None:
    """Raises UserError for a recipe that is unknown, or whose peer is not installed."""
    for name in recipes:
        if name not in RECIPES:
            raise UserError(f"unknown recipe {name}{nearest(name, RECIPES)}", hint=", ".join(RECIPES))
        if name in TRL and importlib.util.find_spec("trl") is None:
            raise UserError(f"the recipe {name} needs TRL", hint="pip install 'yuantune[peers]', or leave it out")


def check_rows(model: str, tokenizer: str | None, data: str, template: str, batch_size: int) -> None:
    """Raises UserError for data that the check refuses, or that has fewer rows than a batch."""
    rows = len(examples_of(model, tokenizer, data, template))
    if rows < batch_size:
        raise UserError(
            f"{data} has {rows} rows, fewer than a batch of {batch_size}", hint="set --batch-size lower"
        )


def in_process(module: str, job: str) -> dict[str, Any]:
    """What `python -m module job` prints, as JSON; `error` where it fails."""
    command = [sys.executable, "-m", module, job]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    if done.returncode < 0:  # What it wrote last is not why.
        killed = f"killed by {signal.Signals(-done.returncode).name}"
        return {"error": f"{killed}, most likely out of memory" if done.returncode == -signal.SIGKILL else killed}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _line(name: str, model: str, dtype: str, runs: list[dict[str, Any]], base: list[dict[str, Any]]) -> Line:
    failed = [run["error"] for run in runs if "error" in run]
    if failed:
        return Line(name, model, dtype, error=failed[0])
    rates = [run["examples"] / run["seconds"] for run in runs]
    pairs = [rate * b["seconds"] / b["examples"] for rate, b in zip(rates, base, strict=True) if "error" not in b]
    return Line(
        recipe=name,
        model=model,
        dtype=dtype,
        examples_per_second=median(rates),
        seconds_per_step=median(run["seconds"] / run["steps"] for run in runs),
        tokens_computed=round(runs[0]["tokens"] / runs[0]["steps"]),
        peak_rss_bytes=int(median(run["peak_rss"] for run in runs)),
        required_flops=round(runs[0]["required_flops"] / runs[0]["steps"]),
        achieved_flops_per_second=median(run["required_flops"] / run["seconds"] for run in runs),
        gemm_flops_per_second=max(run["product_rate"] for run in runs),
        ratio=median(pairs) if pairs else 0.0,
    )
