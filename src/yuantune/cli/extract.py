"""`yuantune extract`: the labels of a whole file of texts, in order, held to form and text; stopped, it goes on."""

from __future__ import annotations

import hashlib
import json
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yuantune.cli.console import err
from yuantune.errors import DataError, Interrupted, Problem, RunError, UserError, WorkFailed

if TYPE_CHECKING:
    from yuantune.infer.extractor import Extractor

_BY_LINE = (".jsonl", ".ndjson", ".txt")


def register(app: typer.Typer) -> None:
    """Put the command on the app."""
    app.command()(extract)


def extract(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    input_file: Annotated[str, typer.Option("--input", help="Texts: file, folder or hub dataset.")],
    output_file: Annotated[Path, typer.Option("--output", help="JSONL, a line for each text, in order.")],
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer in tokens.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows answered at once.")] = None,
    constrain: Annotated[bool | None, typer.Option(help="Hold answers to the labels' JSON.")] = None,
    grounded: Annotated[bool | None, typer.Option(help="And their strings to pieces of the text.")] = None,
    schema: Annotated[Path | None, typer.Option(help="Hold answers to this JSON Schema instead.")] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="NAME=RUN, repeatable: answers the rows whose field adapter is NAME, on the same base."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Where the base model is now, if it has moved.")] = None,
    device_map: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps.")] = None,
) -> None:
    """Answer a file of any size with a trained run; the same command goes on where it was stopped."""
    from yuantune.data.readers import read
    from yuantune.infer.adapters import Adapters
    from yuantune.infer.job import Job, answer_file
    from yuantune.infer.opening import load
    from yuantune.infer.progress import Answering

    records = read(input_file)
    own = schema_of(schema, constrain)
    runs = _named(run, adapter or [], own)
    several = Adapters(runs, model=model, device_map=device_map) if len(runs) > 1 else None
    each_one = [load(run, model=model, device_map=device_map)] if several is None else [*several.values()]
    for folder, one in zip(runs.values(), each_one, strict=True):
        if own is None and not one.template.template.extraction:
            raise RunError(
                f"{folder} answers with text, not with labels", hint="`yuantune generate` answers a file with it"
            )
        one.set(max_new_tokens=max_new_tokens, batch_size=batch_size, constrain=constrain, grounded=grounded)
        one.set(schema=own)
    extractor = several or each_one[0]
    job = Job(output_file, _identity(runs, input_file, each_one))
    done = job.begin()
    if done:
        err.print(f"going on behind {done:,} answers in {job.partial}", markup=False)
    counts = {"failed": 0, "cut short": 0, "in windows": 0}
    try:
        with Answering(err, _lines(Path(input_file)), done) as progress:
            for each in answer_file(extractor, records, job, lambda _: progress.advance()):
                counts["failed"] += bool(each.error)
                counts["cut short"] += not each.finished and not each.error
                counts["in windows"] += each.windows > 1
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped by Ctrl-C: the answers so far are in {job.partial}",
            signal_number=signal.SIGINT,
            hint="the same command goes on from there",
        ) from None
    except DataError as error:  # Of what could not be read: all else is answered.
        _report(output_file, progress, counts)
        error.message = f"{error.message}; all other rows are answered"
        raise
    _report(output_file, progress, counts)
    if counts["failed"]:
        raise WorkFailed(
            f"{counts['failed']} rows have no answer: their lines in {output_file} say why, under error",
            hint=f"grep '\"error\"' {shlex.quote(str(output_file))}",
        )


def _named(run: Path, others: list[str], schema: Any) -> dict[str, Path]:
    """The runs by name, the first one by its folder's. Raises UserError with everything that is wrong with
    `--adapter`."""
    runs, problems = {run.resolve().name: run}, []
    for each in others:
        name, equals, folder = each.partition("=")
        if not name or not equals or not folder:
            problems.append(Problem(f"--adapter {each}", "is not NAME=RUN"))
        elif name in runs:
            problems.append(Problem(f"--adapter {each}", f"{name} is the name of {runs[name]} already"))
        else:
            runs[name] = Path(folder)
    if others and schema is not None:
        problems.append(Problem("--schema", "would hold the answers of all runs to one form"))
    if problems:
        raise UserError(
            "the adapters cannot be told apart", problems=problems,
            hint='`--adapter invoices=runs/invoices` answers the rows that say "adapter": "invoices"; RUN answers '
            "those that name none",
        )  # fmt: skip
    return runs


def schema_of(path: Path | None, constrain: bool | None) -> dict[str, Any] | None:
    """The schema that `--schema` names. Raises UserError beside `--no-constrain`, and ConfigError."""
    from yuantune.infer.json_schema import read_schema

    if path is None:
        return None
    if constrain is False:
        raise UserError("--schema holds answers to a schema, --no-constrain to none: choose one")
    return read_schema(path)


def _report(output_file: Path, progress: Any, counts: dict[str, int]) -> None:
    more = "".join(f"; {count:,} {what}" for what, count in counts.items() if count)
    err.print(f"wrote {progress.done:,} answers to {output_file}, {progress.rate:.1f} rows/s{more}", markup=False)


def _identity(runs: dict[str, Path], source: str, extractors: list[Extractor]) -> dict[str, Any]:
    """What has to be the same when a stopped job goes on."""
    from yuantune.methods.card import read_card

    folders, path, first = list(runs.values()), Path(source), extractors[0]
    cards = [read_card(each).template | read_card(each).base for each in folders]
    card = json.dumps(cards if len(cards) > 1 else cards[0], sort_keys=True, ensure_ascii=False)
    options = {
        name: [getattr(each, name) for each in extractors] for name in ("max_new_tokens", "constrain", "grounded")
    }
    more = {"adapters": {name: str(each.resolve()) for name, each in runs.items()}} if len(runs) > 1 else {}
    return {
        "run": str(folders[0].resolve()),
        **more,
        "prompt and model": _digest(card),
        "input": str(path.resolve()) if path.exists() else source,
        "input bytes": path.stat().st_size if path.is_file() else None,
        **{name: values if len(runs) > 1 else values[0] for name, values in options.items()},
        # Keys in their order: a schema's order is that of answers.
        "schema": None if first.schema is None else _digest(json.dumps(first.schema, ensure_ascii=False)),
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _lines(path: Path) -> int | None:
    """How many rows a file has, where that is quickly told."""
    if not path.is_file() or path.suffix not in _BY_LINE:
        return None
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())
