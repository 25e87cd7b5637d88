"""`yuantune bench train` and `extract`: how fast this machine trains and answers, as ratios within one run;
`curve`: whether the losses are those of the padded recipe; `base`: what a base of fewer bits saves and costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yuantune.cli.console import err, out
from yuantune.study.picture import Bar

if TYPE_CHECKING:
    from rich.table import Table

    from yuantune.study.base import Costs
    from yuantune.study.bench import Line
    from yuantune.study.curve import Curves
    from yuantune.study.extract import Line as ExtractLine

app = typer.Typer(help="Measure speed and exactness on this machine.", no_args_is_help=True)


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
    warm_up: Annotated[int, typer.Option(min=1, help="Steps before them that are not counted.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Processes for each recipe.")] = 3,
    batch_size: Annotated[int, typer.Option(min=1)] = 12,
    dtype: Annotated[str, typer.Option(help="Base weights: float32, bfloat16; auto: as in training.")] = "auto",
    template: Annotated[str, typer.Option(help="Prompt template.")] = "resume-ner",
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer of the shapes (default: Yuan2-2B's).")] = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda.")] = "cpu",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the lines there as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the lines there, as a PNG.")] = None,
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
            warm_up=warm_up,
            rounds=rounds,
            batch_size=batch_size,
            dtype=dtype,
            template=template,
            tokenizer=tokenizer,
            device=device,
            note=err.print,
        )
        _print(found, f"{model}, {found[0].dtype}, {device}, batch {batch_size}; {_medians(rounds)}")
        lines += found
        _keep(json_file, lines)
    _draw(
        plot,
        [
            Bar(each.recipe, each.model, each.examples_per_second, each.ratio, each.peak_rss_bytes, each.error)
            for each in lines
        ],
        "examples/s",
        "peak memory",
    )


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
    plot: Annotated[Path | None, typer.Option(help="Draw the lines there, as a PNG.")] = None,
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
        _print_engines(found, f"{model}, {dtype}, {rows} rows; {_medians(rounds)}")
        lines += found
        _keep(json_file, lines)
    _draw(
        plot,
        [
            Bar(each.engine, each.model, each.rows_per_second, each.ratio, each.peak_extra_bytes, each.error)
            for each in lines
        ],
        "rows/s",
        "peak memory beyond the model",
    )


def _draw(plot: Path | None, bars: list[Bar], unit: str, memory: str) -> None:
    from yuantune.study.picture import draw

    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        draw(bars, plot, unit=unit, memory=memory)


@app.command()
def curve(
    models: Annotated[str, typer.Option(help="Models, by name or folder; or shapes: yuan2-4l, …")] = "yuan2-mini",
    data: Annotated[str | None, typer.Option(help="Training rows (default: the sample résumés).")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each run.")] = 51,
    batch_size: Annotated[int, typer.Option(min=2)] = 12,
    dtype: Annotated[str, typer.Option(help="Base weights: float32, bfloat16; auto: as in training.")] = "bfloat16",
    template: Annotated[str, typer.Option(help="Prompt template.")] = "resume-ner",
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer of the shapes (default: Yuan2-2B's).")] = None,
    learning_rate: Annotated[float, typer.Option(min=0, help="Peak, falling to nothing.")] = 5e-5,
    orders: Annotated[int, typer.Option(min=2, help="Orders of the rows in the batches, a run of each.")] = 4,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the losses there as JSON.")] = None,
) -> None:
    """Whether a run follows the padded recipe's losses, within what rounding does to the padded recipe itself."""
    from yuantune.study.curve import bench_curve
    from yuantune.train.quickstart import SAMPLE

    found = []
    for model in models.split(","):
        each = bench_curve(
            model,
            data or str(SAMPLE / "train.jsonl"),
            steps=steps,
            batch_size=batch_size,
            dtype=dtype,
            template=template,
            tokenizer=tokenizer,
            learning_rate=learning_rate,
            orders=orders,
            note=err.print,
        )
        found.append(each)
        _print_curves(each)
        _keep(json_file, found)


@app.command()
def base(
    models: Annotated[str, typer.Option(help="Models, by name or folder; or shapes: yuan2-4l, …")] = "yuan2-mini",
    data: Annotated[str | None, typer.Option(help="Training rows (default: the sample résumés).")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Counted steps in each process.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Processes for each base.")] = 3,
    batch_size: Annotated[int, typer.Option(min=1)] = 12,
    dtype: Annotated[str, typer.Option(help="Full base, and what is computed in: float32, …")] = "auto",
    quantization: Annotated[str, typer.Option(help="model.quantization: int8, bf16.")] = "int8",
    products: Annotated[str, typer.Option(help="model.int8_products: auto, integer, dequantize.")] = "auto",
    template: Annotated[str, typer.Option(help="Prompt template.")] = "resume-ner",
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer of the shapes (default: Yuan2-2B's).")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there as JSON.")] = None,
) -> None:
    """What a base of fewer bits saves and costs: bytes, time of a step, loss and adapter gradients."""
    from yuantune.study.base import bench_base
    from yuantune.train.quickstart import SAMPLE

    found = []
    for model in models.split(","):
        each = bench_base(
            model,
            data or str(SAMPLE / "train.jsonl"),
            steps=steps,
            rounds=rounds,
            batch_size=batch_size,
            dtype=dtype,
            template=template,
            tokenizer=tokenizer,
            quantization=quantization,
            products=products,
            note=err.print,
        )
        found.append(each)
        products_of = f", int8 products: {each.products}" if quantization == "int8" else ""
        what = f"computed in {each.dtype}{products_of}, batch {batch_size}"
        _print_costs(each, f"{model}, {what}; {_medians(rounds)}")
        _keep(json_file, found)


def _print_curves(curves: Curves) -> None:
    products = " (products emulated)" if curves.emulated else ""
    steps, orders = len(curves.exact), len(curves.padded)
    first, last = curves.padded[0][0], curves.padded[0][-1]
    out.print(
        f"{curves.model}, {curves.dtype}{products}, {steps} steps, {orders} orders of rows: loss {first:.4f} to "
        f"{last:.4f}. Differences, root mean square over the steps, medians of all pairs:",
        f"from the same run in {curves.wider}: padded {curves.padded_error:.5f}, yuantune {curves.error:.5f};",
        f"of two padded runs {curves.spread:.5f} (at most {curves.spread_most:.5f}), of two of yuantune "
        f"{curves.own_spread:.5f}, of one of each {curves.distance:.5f} (at most {curves.distance_most:.5f}).",
        sep="\n",
        markup=False,
    )


def _medians(rounds: int) -> str:
    return "one round" if rounds == 1 else f"medians of {rounds} rounds"


def _ratio(ratio: float) -> str:
    """There is none where what it is taken of has failed."""
    return f"{ratio:.2f}" if ratio else "–"


def _table(title: str, first: str, *others: str) -> Table:
    """Narrow enough for 80 columns, which is what a pipe gets."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _print_costs(costs: Costs, title: str) -> None:
    table = _table(title, "base", "weights MiB", "loading MiB", "training MiB", "s/step", "ratio", "loss")
    for name, base, ratio, loss in (
        ("full", costs.full, 1.0, costs.loss),
        (costs.quantization, costs.narrow, costs.ratio, costs.narrow_loss),
    ):
        sizes = (base.weight_bytes, base.load_peak_bytes, base.peak_rss_bytes)
        mebibytes = [f"{size / 2**20:,.0f}" for size in sizes]
        table.add_row(name, *mebibytes, f"{base.seconds_per_step:.3f}", f"{ratio:.2f}", f"{loss:.5f}")
    out.print(table)
    out.print(
        f"The adapters' gradients have a cosine of {costs.cosine_median:.5f} in the median, "
        f"{costs.cosine_least:.5f} at least (layer {costs.least_layer}).",
        markup=False,
    )


def _keep(
    json_file: Path | None, lines: Sequence[Line] | Sequence[ExtractLine] | Sequence[Curves] | Sequence[Costs]
) -> None:
    """Write the lines so far: after each model, since the next one may take an hour."""
    from yuantune.data.writing import write_text

    if json_file is not None:
        write_text(json_file, json.dumps([asdict(line) for line in lines], indent=2) + "\n")


def _print_engines(lines: list[ExtractLine], title: str) -> None:
    from yuantune.study.extract import ENGINES

    table = _table(title, "engine", "rows/s", "ratio", "F1", "valid", "schema", "grounded", "batch", "GiB")
    for line in lines:
        figures = [
            f"{line.rows_per_second:.2f}",
            _ratio(line.ratio),
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
    from yuantune.study.recipes import RECIPES

    table = _table(title, "recipe", "examples/s", "ratio", "s/step", "tokens", "GiB", "GFLOP/s", "share")
    for line in lines:
        figures = [
            f"{line.examples_per_second:.2f}",
            _ratio(line.ratio),
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
            f"A step requires {required:,.0f} GFLOP, whatever the recipe; GFLOP/s are these over its time, share "
            f"that of what matrix products of its shapes alone run at, {products:.0f} GFLOP/s. Tokens are those "
            "computed in a step, GiB the peak of memory.",
            markup=False,
        )
