"""`yuantune train`, `generate`, `quickstart` and `demo`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from yuantune.cli.console import err, out
from yuantune.errors import DataError, UserError

if TYPE_CHECKING:
    from yuantune.data.record import Record
    from yuantune.score.entities import EntityScore
    from yuantune.train.quickstart import QuickstartResult
    from yuantune.train.run import RunResult

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="OPTION=VALUE", help="Override one option, e.g. train.learning_rate=1e-4."),
]


def register(app: typer.Typer) -> None:
    """Put the commands on the app."""
    app.command()(demo)
    app.command()(quickstart)
    app.command()(train)
    app.command()(generate)


def train(
    config: Annotated[Path, typer.Argument(help="Config file (see `yuantune init`), or a run folder to resume.")],
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's newest checkpoint.")] = False,
) -> None:
    """Fine-tune a model by a config file; everything is left in its run folder."""
    from yuantune.config import load_config, override
    from yuantune.train.folder import config_of
    from yuantune.train.run import fine_tune

    if config.is_dir():
        if not resume:
            raise UserError(f"{config} is a folder", hint=f"`yuantune train {config} --resume` goes on with a run")
        options = override(config_of(config), settings or [])
    else:
        options = load_config(config, settings or [])
    result = fine_tune(options, resume=resume, console=err)
    _print_run(result)
    err.print(f'next: yuantune generate {result.folder} --text "…"', markup=False)


def generate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    text: Annotated[list[str] | None, typer.Option("--text", help="A text to answer; may be repeated.")] = None,
    input_file: Annotated[Path | None, typer.Option("--input", help="File of records to answer.")] = None,
    output_file: Annotated[
        Path | None, typer.Option("--output", help="JSONL of answers (default: stdout).")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer in tokens.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows answered at once.")] = None,
    model: Annotated[str | None, typer.Option(help="Where the base model is now, if it has moved.")] = None,
    device_map: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="With --text: print the answers as they are.")] = False,
) -> None:
    """Answer texts with a trained run: the saved prompt, parsed JSON beside the raw answer."""
    from yuantune.data.readers import read_all
    from yuantune.data.record import Record, Source
    from yuantune.data.writing import check_target, write_lines
    from yuantune.infer.extractor import load
    from yuantune.train.quickstart import answer_all, as_row

    if bool(text) == bool(input_file):
        raise UserError("say what to answer: --text TEXT or --input FILE, one of them")
    if output_file is not None:
        check_target(output_file)
    records: list[Record]
    if input_file is not None:
        records = read_all(input_file)
        if not records:
            raise DataError(f"{input_file} holds no records")
    else:
        records = [Record(source=Source("--text", number), text=each) for number, each in enumerate(text or [], 1)]
    extractor = load(run, model=model, device_map=device_map)
    extractor.max_new_tokens = max_new_tokens or extractor.max_new_tokens
    extractor.batch_size = batch_size or extractor.batch_size
    predictions = answer_all(extractor, records, err)
    if text and output_file is None:
        for prediction in predictions:
            parsed = None if raw or prediction.labels is None else json.dumps(prediction.labels, ensure_ascii=False)
            out.print(prediction.raw if parsed is None else parsed, markup=False)
            if not raw and parsed is None:
                err.print("note: the answer is not a JSON object of string lists; printed as it is")
        return
    rows = (json.dumps(as_row(prediction), ensure_ascii=False) + "\n" for prediction in predictions)
    if output_file is not None:
        write_lines(output_file, rows)
        invalid = sum(prediction.labels is None for prediction in predictions)
        err.print(
            f"wrote {len(predictions)} answers to {output_file}; {invalid} are no JSON object of string lists",
            markup=False,
        )
    else:
        for row in rows:
            out.print(row, end="", markup=False)


def quickstart(
    data: Annotated[str, typer.Argument(help="Labelled data: file, folder or hub dataset.")],
    model: Annotated[str, typer.Option(help="Base model.")] = "yuan2-mini",
    template: Annotated[str, typer.Option(help="Prompt template.")] = "auto",
    output_dir: Annotated[str, typer.Option(help="Run folder.")] = "runs/quickstart",
    eval_data: Annotated[
        str | None, typer.Option("--eval", help="Held-out data; else a tenth is split off.")
    ] = None,
    settings: Settings = None,
) -> None:
    """One command: split, check, train, score and report."""
    from yuantune.config import load_config
    from yuantune.train.quickstart import quickstart as quick

    chosen = [
        f"model.name={json.dumps(model)}",
        f"data.train={json.dumps(data)}",
        f"template={json.dumps(template)}",
    ]
    chosen.append(f"output_dir={json.dumps(output_dir)}")
    chosen.append(f"data.eval={json.dumps(eval_data)}" if eval_data else "data.split=0.1")
    result = quick(load_config(None, [*chosen, *(settings or [])]), console=err)
    _print_run(result.run)
    _print_scores(result)
    err.print(f'next: yuantune generate {result.run.folder} --text "…"', markup=False)


def demo(
    output_dir: Annotated[Path | None, typer.Option(help="Run folder (default: a new runs/demo-N).")] = None,
    settings: Settings = None,
) -> None:
    """Fine-tune the built-in yuan2-mini on the sample résumés with LoRA, and ask it the tutorial's question."""
    from yuantune.config import override
    from yuantune.infer.extractor import load
    from yuantune.models.folder import weight_files
    from yuantune.models.load import resolve
    from yuantune.train.quickstart import TUTORIAL_TEXT, demo_config
    from yuantune.train.quickstart import quickstart as quick

    config = override(demo_config(str(output_dir or _free_folder(Path("runs"), "demo"))), settings or [])
    err.print("[bold]yuantune demo[/]: LoRA on yuan2-mini, 240 sample résumés, scored on 80 others")
    result = quick(config, score_before=True, console=err)
    _print_run(result.run)
    _print_scores(result)
    answer = load(result.run.folder).generate(TUTORIAL_TEXT)
    err.print(f"\n[bold]{TUTORIAL_TEXT}[/]")
    out.print(answer, markup=False)
    folder = result.run.folder
    if not weight_files(resolve(config.model.name)):
        err.print(
            "\nnote: this release's yuan2-mini has random weights: all of it runs, but it cannot answer well yet"
        )
    err.print(f"\nThe run is in {folder}: config.yaml, log.jsonl, loss.png, adapter/, eval/.", markup=False)
    err.print(f'next: yuantune generate {folder} --text "李四，回族，1980年生，硕士，高级工程师。"', markup=False)
    err.print("      yuantune quickstart YOUR.jsonl        your own data, one command")
    err.print("      yuantune init                          every option, explained")


def _free_folder(parent: Path, name: str) -> Path:
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


def _print_run(result: RunResult) -> None:
    from rich.table import Table

    table = Table(title=escape(f"run {result.folder}"), title_justify="left", show_header=False)
    table.add_row("steps", str(result.steps))
    table.add_row("loss, first to last", f"{result.first_loss:.4f} → {result.last_loss:.4f}")
    if result.eval_loss is not None:
        table.add_row("evaluation loss", f"{result.eval_loss:.4f}")
    share = 100 * result.trainable / result.parameters
    table.add_row("trained parameters", f"{result.trainable:,} of {result.parameters:,} ({share:.2f} %)")
    table.add_row("time", f"{result.seconds:.1f} s, {result.rows_per_second:.1f} rows/s")
    err.print(table)


def _print_scores(result: QuickstartResult) -> None:
    from rich.table import Table

    if result.after is None:
        err.print("no scores: the held-out rows carry no labels")
        return
    scores: dict[str, EntityScore] = {"after": result.after}
    if result.before is not None:
        scores = {"before": result.before, **scores}
    table = Table(title="entities on the held-out rows (exact type and string)", title_justify="left")
    table.add_column("")
    for name in ("precision", "recall", "F1", "valid JSON", "rows right"):
        table.add_column(name, justify="right")
    for name, score in scores.items():
        micro = score.micro
        figures = [f"{100 * value:.1f}" for value in (micro.precision, micro.recall, micro.f1)]
        table.add_row(name, *figures, f"{score.valid}/{score.rows}", f"{score.exact}/{score.rows}")
    err.print(table)
