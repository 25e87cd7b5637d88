"""`yuantune bench train`: how fast training is here, as ratios within one run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from yuantune.cli.console import err, out

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Keeps `train` a subcommand while it is the only one."""


@app.command()
def train(
    model: Annotated[str, typer.Option(help="Model to train.")] = "yuan2-mini",
    data: Annotated[str | None, typer.Option(help="Training rows (default: the sample résumés).")] = None,
    recipes: Annotated[str, typer.Option(help="Recipes, the first is the ratios' base.")] = (
        "tutorial,no-checkpointing,yuantune"
    ),
    steps: Annotated[int, typer.Option(min=1, help="Counted steps in each process.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Processes for each recipe.")] = 3,
    batch_size: Annotated[int, typer.Option(min=1)] = 12,
    dtype: Annotated[str, typer.Option(help="Base weights: float32, bfloat16.")] = "bfloat16",
    template: Annotated[str, typer.Option(help="Prompt template.")] = "resume-ner",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the lines there as JSON.")] = None,
) -> None:
    """Training recipes side by side, each in its own process, alternating."""
    from rich.markup import escape
    from rich.table import Table

    from yuantune.data.writing import write_text
    from yuantune.study.bench import RECIPES, bench_train
    from yuantune.train.quickstart import SAMPLE

    lines = bench_train(
        model,
        data or str(SAMPLE / "train.jsonl"),
        recipes=recipes.split(","),
        steps=steps,
        rounds=rounds,
        batch_size=batch_size,
        dtype=dtype,
        template=template,
        note=err.print,
    )
    title = escape(f"{model}, {dtype}, batch {batch_size}; medians of {rounds} rounds")
    table = Table(title=title, title_justify="left")
    for name in ("recipe", "examples/s", "ratio", "s/step", "peak GiB", ""):
        table.add_column(name, justify="left" if name in ("recipe", "") else "right")
    for line in lines:
        figures = [f"{line.examples_per_second:.2f}", f"{line.ratio:.2f}", f"{line.seconds_per_step:.3f}"]
        shown = ["–"] * 4 if line.error else [*figures, f"{line.peak_rss_bytes / 2**30:.2f}"]
        table.add_row(line.recipe, *shown, escape(line.error or RECIPES[line.recipe]))
    out.print(table)
    if json_file is not None:
        write_text(json_file, json.dumps([asdict(line) for line in lines], indent=2) + "\n")
