"""`yuantune bench train` and `extract`: how fast this machine trains and answers, as ratios within one run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yuantune.cli.console import err, out

if TYPE_CHECKING:
    from yuantune.study.bench import Line
    from yuantune.study.extract import Line as ExtractLine

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)


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
    dtype: Annotated[str, typer.Option(help="Base weights: float32, bfloat16; auto: as in training.")] = "auto",
    template: Annotated[str, typer.Option(help="Prompt template.")] = "resume-ner",
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer of the shapes (default: Yuan2-2B's).")] = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda.")] = "cpu",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the lines there as JSON.")] = None,
) -> None:
    """Training recipes side by side, each in its own process, alternating."""
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
        _print(found, f"{model}, {found[0].dtype}, {device}, batch {batch_size}; medians of {rounds} rounds")
        lines += found
        _keep(json_file, lines)


@app.command()
def extract(
    data: Annotated[str, typer.Option(help="Labelled rows to answer.")],
    models: Annotated[str, typer.Option(help="Run folders; or shapes: yuan2-4l, yuan2-2b, smollm2-135m.")],
    engines: Annotated[str, typer.Option(help="Engines, the first is the ratios' base.")] = "generate,free,held",
    rows: Annotated[int, typer.Option(min=1, help="Rows to answer, the first ones.")] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="Processes for each engine and batch size.")] = 3,
    batch_sizes: Annotated[str, typer.Option(help="Rows at once; each engine at its best.")] = "16,32,64",
    dtype: Annotated[str, typer.Option(help="Weights: float32, bfloat16.")] = "float32",
    template: Annotated[str, typer.Option(help="Prompt template of the shapes.")] = "resume-ner",
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer of the shapes (default: Yuan2-2B's).")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer in tokens.")] = 256,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the lines there as JSON.")] = None,
) -> None:
    """Engines that answer the same rows with the same weights, each in its own process, alternating."""
    from yuantune.errors import UserError
    from yuantune.study import extract as study

    sizes = [size.strip() for size in batch_sizes.split(",")]
    if not all(size.isdecimal() and int(size) for size in sizes):
        raise UserError(f"--batch-sizes {batch_sizes}: whole numbers with commas between them, such as 16,32")
    lines: list[study.Line] = []
    for model in models.split(","):
        found = study.bench_extract(
            model,
            data,
            engines=engines.split(","),
            rows=rows,
            rounds=rounds,
            batch_sizes=[int(size) for size in sizes],
            dtype=dtype,
            template=template,
            tokenizer=tokenizer,
            max_new_tokens=max_new_tokens,
            note=err.print,
        )
        _print_engines(found, f"{model}, {dtype}, {rows} rows; medians of {rounds} rounds")
        lines += found
        _keep(json_file, lines)


def _keep(json_file: Path | None, lines: Sequence[Line] | Sequence[ExtractLine]) -> None:
    """Write the lines so far: after each model, since the next one may take an hour."""
    from yuantune.data.writing import write_text

    if json_file is not None:
        write_text(json_file, json.dumps([asdict(line) for line in lines], indent=2) + "\n")


def _print_engines(lines: list[ExtractLine], title: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    from yuantune.study.extract import ENGINES

    table = Table(title=escape(title), title_justify="left")
    names = ("engine", "rows/s", "ratio", "F1", "valid", "schema", "grounded", "batch", "GiB")
    for name in names:
        table.add_column(name, justify="left" if name == "engine" else "right")
    for line in lines:
        figures = [
            f"{line.rows_per_second:.2f}",
            f"{line.ratio:.2f}",
            f"{100 * line.f1:.1f}",
            *(f"{share:.0%}" for share in (line.valid, line.schema, line.grounded)),
            str(line.batch_size),
            f"{line.peak_extra_bytes / 2**30:.2f}",
        ]
        table.add_row(line.engine, *(["–"] * len(figures) if line.error else figures))
    out.print(table)
    for line in lines:
        out.print(f"{line.engine}: {line.error or ENGINES[line.engine]}", markup=False)


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
