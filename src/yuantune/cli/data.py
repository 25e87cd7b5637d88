"""`yuantune data`: look at labelled data, check it against a model, convert, split and fetch it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from yuantune.cli.console import SHOWN, err, out
from yuantune.data.rows import Joined, Rows
from yuantune.errors import DataError, Problem, UserError, nearest

if TYPE_CHECKING:
    from rich.table import Table

    from yuantune.data.bound import BoundTemplate
    from yuantune.data.check_report import CheckReport
    from yuantune.data.record import Record

app = typer.Typer(
    help="Look at labelled data, check it, convert, split and fetch it. 查看、检查、转换数据。",
    no_args_is_help=True,
)

Data = Annotated[str, typer.Argument(metavar="DATA", help="File, folder or hub dataset of labelled rows.")]
Model = Annotated[str, typer.Option(help="Whose tokenizer counts.")]
Template = Annotated[str, typer.Option(help="Prompt: auto, a built-in name, or a YAML file.")]
Format = Annotated[str | None, typer.Option(help="Format, where the file does not tell it.")]


@app.command()
def check(
    data: Data,
    model: Model = "yuan2-mini",
    template: Template = "auto",
    max_length: Annotated[int | None, typer.Option(min=1, help="Longest example in tokens.")] = None,
    eval_data: Annotated[
        str | None, typer.Option("--eval", help="Evaluation data, checked too and compared.")
    ] = None,
    format: Format = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything found as one JSON object.")] = False,
) -> None:
    """Check every row as training will see it: lengths, cut answers, labels, duplicates. Exit 2 on errors."""
    from yuantune.config import DataSection
    from yuantune.data.check import overlap, prepare
    from yuantune.data.check_report import raise_for_errors

    limit = max_length or DataSection.model_fields["max_length"].default
    first_look = Rows(data, format)
    bound = _bind(Joined((first_look, Rows(eval_data))) if eval_data else first_look, model, template)
    rows = Rows(data, format, strict=True)
    _, report = prepare(rows, bound, max_length=limit)
    reports = {"train": report}
    _print_notes(rows.notes)
    if eval_data:
        rows = Rows(eval_data, strict=True)
        _, reports["eval"] = prepare(rows, bound, max_length=limit, role="eval")
        _print_notes(rows.notes)
        overlap(report, reports["eval"])
    if as_json:
        found: dict[str, Any] = {"model": model, "framing": bound.framing()}
        found |= {role: each.to_dict() for role, each in reports.items()}
        out.print(json.dumps(found, ensure_ascii=False, indent=2), markup=False)
    else:
        chosen = ", chosen by the rows' shape" if template == "auto" else ""
        out.print(f"template: {bound.template.name}{chosen}", markup=False)
        _print_reports(reports)
    raise_for_errors(*reports.values())


@app.command()
def show(
    data: Data,
    model: Model = "yuan2-mini",
    template: Template = "auto",
    row: Annotated[
        int | None, typer.Option(min=1, help="Show this row as its tokens, decoded, with what carries loss.")
    ] = None,
    format: Format = None,
) -> None:
    """Show the prompt that a row becomes; with --row the ids decoded, masked and supervised parts marked."""
    rows = Rows(data, format)
    bound = _bind(rows, model, template)
    number = row or 1
    record = next(islice(rows, number - 1, None), None)
    if record is None:
        raise DataError(f"{data} has no row {number}: it has {sum(1 for _ in rows)}")
    if row is None or not record.has_answer:
        out.print(f"[bold]prompt[/] of {record.source}, template {bound.template.name}:", markup=True)
        out.print(bound.preview(record), markup=False)
        answer = bound.answer(record)
        out.print("[bold]answer:[/]" if answer is not None else "no answer")
        if answer is not None:
            out.print(answer, markup=False)
        return
    example = bound.example(record)
    err.print(f"{record.source}: {len(example.ids)} tokens, {sum(example.supervised)} supervised")
    for supervised, pairs in groupby(zip(example.ids, example.supervised, strict=True), key=lambda pair: pair[1]):
        ids = [token for token, _ in pairs]
        name = "supervised" if supervised else "masked"
        out.print(f"── {name}, {len(ids)} tokens ──", style="bold green" if supervised else "dim")
        # The end token belongs to what is learnt: it is shown.
        out.print(bound.decode_answer(ids), markup=False, style="green" if supervised else "dim")


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="Tagged text (BMES, BIO, BIOES), doccano, Label Studio, spans, …")],
    target: Annotated[Path, typer.Argument(help="File to write: .jsonl, or .json for one array.")],
    format: Format = None,
    names: Annotated[
        str | None, typer.Option(metavar="CODE=TYPE,…", help="Rename label types, e.g. NAME=姓名,ORG=组织名.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Rename by this template's codes; with --as tutorial, its prompt.")
    ] = None,
    form: Annotated[
        Literal["records", "tutorial"],
        typer.Option("--as", help="records: text and labels; tutorial: input (the whole prompt) and output."),
    ] = "records",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Convert tagged or annotated data to extraction records, or to the tutorial's input and output."""
    from yuantune.data.convert import convert as convert_file

    renamed, render = _names_and_rows(Rows(source, format), names, template, form)
    report = convert_file(source, target, format=format, names=renamed, template=render, overwrite=overwrite)
    _print_notes(report.notes)
    err.print(f"wrote {report.rows} rows to {target}, {report.empty} of them without entity", markup=False)
    counts = "  ".join(f"{name} {count}" for name, count in report.entities.items())
    err.print(counts, markup=False, soft_wrap=True)


@app.command()
def split(
    data: Data,
    fraction: Annotated[float | None, typer.Option(help="Share of rows to hold out (default 0.1).")] = None,
    count: Annotated[int | None, typer.Option(help="Number of rows to hold out.")] = None,
    seed: Annotated[int, typer.Option(help="Which rows: the same seed holds out the same.")] = 42,
    to: Annotated[Path, typer.Option(help="Folder for train.jsonl and eval.jsonl.")] = Path(),
    format: Format = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """Hold out rows for evaluation: train.jsonl and eval.jsonl, equal texts on one side."""
    from yuantune.data.readers import read_all
    from yuantune.data.record import row_of
    from yuantune.data.split import split as split_rows
    from yuantune.data.writing import check_target, obstacle, write_rows

    if fraction is None and count is None:
        fraction = 0.1
    if why := obstacle(to):
        raise DataError(f"the folder {to} cannot be made: {why}")
    sides = split_rows(read_all(data, format=format), fraction=fraction, count=count, seed=seed)
    paths = [to / "train.jsonl", to / "eval.jsonl"]
    for path in paths if to.exists() else ():
        check_target(path, overwrite=overwrite)
    for path, records in zip(paths, sides, strict=True):
        write_rows(path, map(row_of, records))
        err.print(f"wrote {len(records)} rows to {path}", markup=False)


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="Name of a data set, e.g. resumener.")],
    to: Annotated[Path | None, typer.Option(help="Folder to put it into (default: data/NAME).")] = None,
    accept: Annotated[bool, typer.Option("--accept", help="You have read its notice and accept it.")] = False,
) -> None:
    """Fetch a data set that yuantune may not ship, with its citation and licence notice."""
    from yuantune.data.get import get as fetch

    folder = to or Path("data") / name
    fetched = fetch(name, folder, accept=accept)
    err.print(fetched.notice, markup=False)
    _print_notes(fetched.notes)
    for path in fetched.paths:
        out.print(str(path), markup=False)


# --------------------------------------------------------------------------------------------- what they share


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        err.print(f"note: {note}", markup=False, soft_wrap=True)


def _bind(rows: Rows | Joined, model: str, template: str) -> BoundTemplate:
    from yuantune.data.template import choose_template
    from yuantune.models.load import load_tokenizer

    chosen, _ = choose_template(template, rows)
    return chosen.bind(load_tokenizer(model))


def _names_and_rows(
    rows: Rows, names: str | None, template: str | None, form: str
) -> tuple[dict[str, str], Callable[[Record], tuple[str, str]] | None]:
    """Which types to rename, and how to make input and output of a record (None: leave it a record)."""
    from yuantune.data.labels import canonical, infer_schema
    from yuantune.data.template import load_template

    renamed = _parse_names(names)
    tutorial = form == "tutorial"
    if template is None and not tutorial:
        return renamed, None
    chosen = load_template(template or "resume-ner")
    found = infer_schema(rows).types
    # Codes that the data does not use are no mistake here; those given by name are.
    codes = chosen.label_schema.codes
    renamed = {**{code: name for code, name in codes.items() if code in found}, **renamed}
    types = list(dict.fromkeys(renamed.get(name, name) for name in found))
    if not chosen.labels:
        chosen = chosen.model_copy(update={"labels": dict.fromkeys(types, ())})
    known = chosen.label_schema
    if unknown := [name for name in types if name not in known.types]:
        near = [*known.types, *codes]
        raise DataError(
            f"label types that template {chosen.name} does not have",
            problems=[Problem(name, f"no such type or code{nearest(name, near)}") for name in unknown],
            hint=f"its types: {', '.join(known.types)}; rename others with --names",
        )
    if not tutorial:
        return renamed, None

    def input_and_output(record: Record) -> tuple[str, str]:
        return chosen.render(record), canonical(record.labels or {}, record.text, known)

    return renamed, input_and_output


def _parse_names(names: str | None) -> dict[str, str]:
    pairs = [pair.strip().partition("=") for pair in (names or "").split(",") if pair.strip()]
    wrong = [code or "=" for code, sign, name in pairs if not (code.strip() and sign and name.strip())]
    if wrong:
        raise UserError(f"--names: {', '.join(wrong)}: write CODE=TYPE, e.g. NAME=姓名,ORG=组织名")
    return {code.strip(): name.strip() for code, _, name in pairs}


# --------------------------------------------------------------------------------------------- the check's table


def _print_reports(reports: dict[str, CheckReport]) -> None:
    from yuantune.data.check_report import KINDS

    out.print(_lengths_table(reports))
    out.print(_totals_table(reports))
    for role, report in reports.items():
        for (kind, severity), count in report.counts.items():
            out.print(f"{role}, {severity}: {KINDS[kind]}: {count}", markup=False)
            if severity == "error":
                continue  # Listed by the error that follows.
            listed = [each for each in report.findings if (each.kind, each.severity) == (kind, severity)]
            for each in listed[:SHOWN]:
                out.print(f"  {each.where}: {each.detail}", markup=False)
            if count > SHOWN:
                out.print(f"  … and {count - SHOWN} more (--json lists up to 1000 of a kind)", markup=False)
        if not report.counts:
            out.print(f"{role}: nothing to complain about", markup=False)


def _lengths_table(reports: dict[str, CheckReport]) -> Table:
    from rich.table import Table

    limit = next(iter(reports.values())).max_length
    table = Table(box=None, pad_edge=False)
    table.add_column(f"tokens (max_length {limit})")
    for name in ("min", "median", "p95", "max", "sum"):
        table.add_column(name, justify="right")
    for role, report in reports.items():
        for part, lengths in report.to_dict()["tokens"].items():
            table.add_row(f"{role} {part}", *(f"{value:,}".removesuffix(".0") for value in lengths.values()))
    return table


def _totals_table(reports: dict[str, CheckReport]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for role in reports:
        table.add_column(role, justify="right")
    found = [report.to_dict() for report in reports.values()]
    for name, key, form in (
        ("rows", "rows", "{:,}"),
        ("examples", "examples", "{:,}"),
        ("rows without entity", "no_entity", "{:,}"),
        ("supervised tokens", "supervised_tokens", "{:,}"),
        ("prompt tokens that all rows share", "shared_prefix", "{:,}"),
        ("share of them", "shared_share", "{:.1%}"),
        ("characters a token", "characters_per_token", "{:.2f}"),
        ("unknown tokens in the texts", "unknown_share", "{:.2%}"),
        ("single bytes in the texts", "byte_share", "{:.2%}"),
    ):
        table.add_row(name, *(form.format(each[key]) for each in found))
    return table
