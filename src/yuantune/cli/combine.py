"""`yuantune combine`: several runs become one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yuantune.cli.console import err, out
from yuantune.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Put the command on the app."""
    app.command()(combine)


def combine(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, at least two; the prompt is the first one's.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to write.")],
    weights: Annotated[
        str | None, typer.Option(help="One for each run: 0.7,0.3; a negative one takes away (default: 1 each).")
    ] = None,
    how: Annotated[
        str | None,
        typer.Option(help="cat (default: the exact sum), svd, linear, ties, dare_ties, … (ties_svd, …)."),
    ] = None,
    rank: Annotated[
        int | None, typer.Option(min=1, help="Rank of svd (default: the highest of the runs').")
    ] = None,
    density: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the numbers that ties, dare, … leave.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(help="Of what dare draws.")] = 0,
    model: Annotated[str | None, typer.Option(help="Where the base model is now, if it has moved.")] = None,
    device_map: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps.")] = None,
) -> None:
    """Add up the adapters of LoRA runs (or average those of (IA)³) on one base, into a folder that answers, is
    scored and exported like a run."""
    from yuantune.train.combine import combine_runs

    done = combine_runs(
        runs,
        to,
        weights=_numbers(weights),
        how=how,
        rank=rank,
        density=density,
        seed=seed,
        model=model,
        device_map=device_map,
    )
    for each in done.prompts_differ:
        err.print(f"note: {each} was trained with another prompt; that of {runs[0]} is kept", markup=False)
    sum_of = " + ".join(f"{weight:g} · {run}" for weight, run in zip(done.weights, runs, strict=True))
    err.print(
        f"{done.how} of {sum_of}: the update differs from this sum by {done.apart:.2g} of its parts' length",
        markup=False,
    )
    out.print(str(done.folder), markup=False)


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        found = [float(each) for each in text.split(",")]
    except ValueError:
        found = [float("nan")]
    if not all(abs(each) < float("inf") for each in found):
        raise ConfigError(f"--weights {text}: give numbers with commas between them", hint="--weights 0.7,0.3")
    return found
