"""`yuantune bench train`: how fast training is here, as ratios within one run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yuantune.cli.console import err, out

if TYPE_CHECKING:
    from yuantune.study.bench import Line

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Keeps `train` a subcommand while it is the only one."""


@app.command()
def train(
    models: Annotated[
        str, typer.Option(help="Models, by name or folder; or shapes: yuan2-4l, yuan2-2b, smollm2-135m.")
    ] = "yuan2-mini",
    data: Annotated[str | None, typer.Option(help="Training rows (default: the sample résumés).")] = None,
    recipes: Annotated[str, typer.Option(help="Recipes, the first is the ratios' base.")] = (
        "tutorial,no-checkpointing,no-sharing,yuantune"
    ),
    steps: Annotated[int, typer.Option(min=1, help="Counted steps in each process.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Processes for each recipe.")] = 3,
    batch_size: Annotated[int, typer.Option(min=1)] = 12,
    dtype: Annotated[str, typer.Option(help="Base weights: float32, bfloat16.")] = "bfloat16",
    template: Annotated[str, typer.Option(help="Prompt template.")] = "resume-ner",
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer of the shapes (default: Yuan2-2B's).")] = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda.")] = "cpu",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the lines there as JSON.")] = None,
) -> None:
    """Training recipes side by side, each in its own process, alternating."""
    from yuantune.data.writing import write_text
    from yuantune.study.bench import bench_train
    from yuantune.train.quickstart import SAMPLE

    lines: list[Line] = []
    for model in models.split(","):
        found = bench_train(
            model,
            data or str(SAMPLE / "train.jsonl"),
            recipes=recipes.split(","),
            steps=steps,
            rounds=rounds,
            batch_size=batch_size,
            dtype=dtype,
            template=template,
            tokenizer=tokenizer,
            device=device,
            note=err.print,
        )
        _print(found, f"{model}, {dtype}, {device}, batch {batch_size}; medians of {rounds} rounds")
        lines += found
        if json_file is not None:  # After each model: the next one may take an hour.
            write_text(json_file, json.dumps([asdict(line) for line in lines], indent=2) + "\n")


def _print(lines: list[Line], title: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    from yuantune.study.recipes import RECIPES

    table = Table(title=escape(title), title_justify="left")
    names = ("recipe", "examples/s", "ratio", "s/step", "tokens/step", "peak GiB", "GFLOP/s", "of products")
    for name in names:
        table.add_column(name, justify="left" if name == "recipe" else "right")
    for line in lines:
        figures = [
            f"{line.examples_per_second:.2f}",
            f"{line.ratio:.2f}",
            f"{line.seconds_per_step:.3f}",
            f"{line.tokens_computed:,}",
            f"{line.peak_rss_bytes / 2**30:.2f}",
            f"{line.achieved_flops_per_second / 1e9:.0f}",
            f"{line.achieved_flops_per_second / max(line.gemm_flops_per_second, 1):.0%}",
        ]
        shown = ["–"] * len(figures) if line.error else figures
        table.add_row(line.recipe, *shown)
    out.print(table)
    for line in lines:
        out.print(f"{line.recipe}: {line.error or RECIPES[line.recipe]}", markup=False)
    for line in [line for line in lines if not line.error][:1]:
        required, products = line.required_flops / 1e9, line.gemm_flops_per_second / 1e9
        out.print(
            f"A step requires {required:,.0f} GFLOP, whatever the recipe; GFLOP/s are these over its time. "
            f"Matrix products of its shapes alone run at {products:.0f} GFLOP/s.",
            markup=False,
        )
