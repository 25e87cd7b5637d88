"""`yuantune train`, `generate`, `quickstart` and `demo`."""

from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from yuantune.cli.console import err, out
from yuantune.cli.extract import schema_of
from yuantune.cli.scores import print_scores
from yuantune.errors import DataError, Interrupted, UserError

if TYPE_CHECKING:
    from yuantune.config import AnyConfig
    from yuantune.data.record import Prediction, Record
    from yuantune.infer.extractor import Extractor
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


def options_of(
    kind: type[AnyConfig], config: Path, settings: list[str] | None, resume: bool, command: str
) -> AnyConfig:
    """A run's options: of a config file, or of the run folder that is to go on."""
    from yuantune.config_file import load_as, override
    from yuantune.train.folder import config_of

    if not config.is_dir():
        return load_as(kind, config, settings or [])
    if not resume:
        hint = f"`yuantune {command} {shlex.quote(str(config))} --resume` goes on with a run"
        raise UserError(f"{config} is a folder", hint=hint)
    return override(config_of(config, kind), settings or [])


def train(
    config: Annotated[Path, typer.Argument(help="Config file (see `yuantune init`), or a run folder to resume.")],
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's newest checkpoint.")] = False,
) -> None:
    """Fine-tune a model by a config file; everything is left in its run folder."""
    from yuantune.config import Config
    from yuantune.train.run import fine_tune

    result = fine_tune(options_of(Config, config, settings, resume, "train"), resume=resume, console=err)
    if result.first_step == result.steps:
        err.print(
            f"{result.folder} is already finished: {result.steps} steps; "
            "a higher train.num_train_epochs or train.max_steps goes on with it",
            markup=False,
        )
    else:
        _print_run(result)
    _print_next(result.folder)


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
    constrain: Annotated[bool | None, typer.Option(help="Extraction: hold answers to the labels' JSON.")] = None,
    grounded: Annotated[bool | None, typer.Option(help="And their strings to pieces of the text.")] = None,
    schema: Annotated[Path | None, typer.Option(help="Hold answers to this JSON Schema instead.")] = None,
) -> None:
    """Answer texts with a trained run: the saved prompt, parsed JSON beside the raw answer."""
    from yuantune.infer.job import as_row
    from yuantune.infer.opening import load
    from yuantune.train.evaluate import answer_all, scores_of

    if bool(text) == bool(input_file):
        raise UserError("say what to answer: --text TEXT or --input FILE, one of them")
    if raw and (input_file or output_file):
        raise UserError("--raw prints the answers to --text; a row of --input or --output has it under raw")
    if output_file is not None:
        _check_output(output_file)
    records = _records(text or [], input_file)
    own = schema_of(schema, constrain)
    extractor = load(run, model=model, device_map=device_map)
    extractor.set(max_new_tokens=max_new_tokens, batch_size=batch_size, constrain=constrain, grounded=grounded)
    extractor.set(schema=own)
    if output_file is not None:
        predictions = _answer_into(output_file, extractor, records)
    else:
        predictions = answer_all(extractor, records, err)
        if text:
            _print_answers(predictions, raw=raw)
        for prediction in predictions if input_file else ():
            out.print(json.dumps(as_row(prediction), ensure_ascii=False), markup=False)
    if (scores := scores_of(extractor, records, predictions, None)) is not None:
        print_scores({"": scores}, "on the rows that have an answer")


def _records(texts: list[str], input_file: Path | None) -> list[Record]:
    from yuantune.data.readers import read_all
    from yuantune.data.record import Record, Source

    if input_file is None:
        return [Record(source=Source("--text", number), text=each) for number, each in enumerate(texts, 1)]
    records = read_all(input_file)
    if not records:
        raise DataError(f"{input_file} holds no records")
    return records


def _check_output(output_file: Path) -> None:
    from yuantune.data.writing import check_target

    check_target(output_file)
    partial = _partial(output_file)
    if partial.exists():
        raise DataError(
            f"{partial} exists already: it holds the answers of a command that was stopped",
            hint="move it away, or remove it",
        )


def _print_answers(predictions: list[Prediction], *, raw: bool) -> None:
    for prediction in predictions:
        parsed = None if raw or prediction.labels is None else json.dumps(prediction.labels, ensure_ascii=False)
        out.print(prediction.raw if parsed is None else parsed, markup=False)
        if prediction.error:
            err.print(f"note: no answer by the schema: {prediction.error}", markup=False)
        elif not raw and parsed is None and prediction.value is None:
            err.print("note: the answer is not a JSON object of string lists; printed as it is")


def _partial(output_file: Path) -> Path:
    return output_file.with_name(f"{output_file.name}.partial")


def _answer_into(output_file: Path, extractor: Extractor, records: list[Record]) -> list[Prediction]:
    """Answer records into a file, which appears when all are answered. Until then the answers are in one beside it,
    as they come: hours of work are not lost to what stops it."""
    from yuantune.data.writing import growing, write_lines
    from yuantune.infer.job import as_row
    from yuantune.train.evaluate import answer_all

    partial, count = _partial(output_file), 0

    def row(prediction: Prediction) -> str:
        return json.dumps(as_row(prediction), ensure_ascii=False) + "\n"

    def keep(prediction: Prediction) -> None:
        nonlocal count
        write(row(prediction))
        count += 1

    try:
        with growing(partial) as write:
            predictions = answer_all(extractor, records, err, on_answer=keep)
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped by Ctrl-C: {count} of {len(records)} answers are there"
            + (f", in {partial}, in the order in which they came" if count else ""),
            signal_number=signal.SIGINT,
        ) from None
    finally:
        if not count:
            partial.unlink(missing_ok=True)
    write_lines(output_file, map(row, predictions))
    partial.unlink(missing_ok=True)
    invalid = sum(each.labels is None and each.value is None for each in predictions)
    err.print(
        f"wrote {len(predictions)} answers to {output_file}; {invalid} are no JSON object of string lists",
        markup=False,
    )
    return predictions


def quickstart(
    data: Annotated[str, typer.Argument(help="Labelled data: file, folder or hub dataset.")],
    model: Annotated[str, typer.Option(help="Base model.")] = "yuan2-mini",
    template: Annotated[str, typer.Option(help="Prompt template.")] = "auto",
    output_dir: Annotated[str | None, typer.Option(help="Run folder (default: a new runs/quickstart-N).")] = None,
    eval_data: Annotated[
        str | None, typer.Option("--eval", help="Held-out data; else a tenth is split off.")
    ] = None,
    settings: Settings = None,
) -> None:
    """One command: split, check, train, score and report."""
    from yuantune.config_file import load_config
    from yuantune.train.quickstart import quickstart as quick

    chosen = [
        f"model.name={json.dumps(model)}",
        f"data.train={json.dumps(data)}",
        f"template={json.dumps(template)}",
    ]
    chosen.append(f"output_dir={json.dumps(output_dir or str(_free_folder(Path('runs'), 'quickstart')))}")
    chosen.append(f"data.eval={json.dumps(eval_data)}" if eval_data else "data.split=0.1")
    result = quick(load_config(None, [*chosen, *(settings or [])]), console=err)
    _print_run(result.run)
    _print_result(result)
    _print_next(result.run.folder)


def demo(
    output_dir: Annotated[Path | None, typer.Option(help="Run folder (default: a new runs/demo-N).")] = None,
    settings: Settings = None,
) -> None:
    """Fine-tune the built-in yuan2-mini on the sample résumés with LoRA, and ask it the tutorial's question."""
    from yuantune.config_file import override
    from yuantune.infer.opening import load
    from yuantune.train.quickstart import TUTORIAL_TEXT, demo_config
    from yuantune.train.quickstart import quickstart as quick

    config = override(demo_config(str(output_dir or _free_folder(Path("runs"), "demo"))), settings or [])
    err.print("[bold]yuantune demo[/]: LoRA on yuan2-mini, 240 sample résumés, scored on 80 others")
    result = quick(config, score_before=True, console=err)
    _print_run(result.run)
    _print_result(result)
    answer = load(result.run.folder).generate(TUTORIAL_TEXT)
    err.print(f"\n[bold]{TUTORIAL_TEXT}[/]")
    out.print(answer, markup=False)
    folder = result.run.folder
    err.print(f"\nThe run is in {folder}: config.yaml, log.jsonl, loss.png, adapter/, eval/.", markup=False)
    _print_next(folder, "李四，回族，1980年生，硕士，高级工程师。")
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


def _print_next(folder: Path, text: str = "…") -> None:
    err.print(f'next: yuantune generate {shlex.quote(str(folder))} --text "{text}"', markup=False)


def _print_result(result: QuickstartResult) -> None:
    if result.after is None:
        err.print("no scores: the held-out rows carry no answers")
        return
    before = {} if result.before is None else {"before": result.before}
    print_scores({**before, "after": result.after}, "on the held-out rows")
