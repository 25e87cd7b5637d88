"""The data of a run: read, mixed, split, checked and tokenised, before a model is loaded."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from yuantune.config import Config, DatasetSection
from yuantune.data.bound import BoundTemplate
from yuantune.data.check import CheckReport, overlap, prepare
from yuantune.data.check_report import raise_for_errors
from yuantune.data.examples import ExampleSet
from yuantune.data.readers import read_all
from yuantune.data.record import Record
from yuantune.data.rows import Joined, Rows
from yuantune.data.split import mix, split
from yuantune.data.template import AUTO, choose_template
from yuantune.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Prepared:
    """The data of a run, checked and tokenised."""

    template: BoundTemplate
    train: ExampleSet
    eval: ExampleSet | None
    reports: dict[str, CheckReport]
    eval_records: list[Record]


def prepare_data(config: Config, tokenizer: Any, console: Console) -> Prepared:
    """Read, mix, split, check and tokenise. Raises DataError with every row that would be lost or wrong."""
    if not config.data.train:
        raise ConfigError("data.train names no data", hint="put `data: {train: FILE}` into the config")
    train_records, eval_records = read_records(config, console)
    look = train_records.lenient() if isinstance(train_records, Rows) else train_records
    # A rare type may have fallen to the evaluation side of a split alone: it is a type all the same.
    template, schema = choose_template(config.template, Joined((look, eval_records)))
    bound = template.bind(tokenizer)
    check = functools.partial(
        prepare, bound=bound, schema=schema, max_length=config.data.max_length, on_overflow=config.data.on_overflow
    )
    train_set, report = check(train_records, role="train")
    if isinstance(train_records, Rows):
        _print_notes(train_records.notes, console)
    reports = {"train": report}
    eval_set = None
    if eval_records:
        eval_set, reports["eval"] = check(eval_records, role="eval")
        overlap(report, reports["eval"])
    raise_for_errors(*reports.values())
    chosen = ", chosen by the rows' shape" if config.template == AUTO else ""
    console.print(f"template: {template.name}{chosen}", markup=False)
    for role, each in reports.items():
        console.print(f"{role}: {each.summary()}", markup=False)
    return Prepared(bound, train_set, eval_set, reports, eval_records)


def read_records(config: Config, console: Console) -> tuple[list[Record] | Rows, list[Record]]:
    """The training and the evaluation records that the config names.

    Training data that is neither mixed nor split is not read here, but walked through when it is needed: it may
    be larger than memory."""
    single = config.data.train[0]
    if len(config.data.train) == 1 and single.weight == 1 and (config.data.eval or not config.data.split):
        rows = Rows(
            single.path,
            single.format,
            strict=True,
            limit=config.data.limit,
            row_bytes=config.data.max_row_bytes,
            file_bytes=config.data.max_file_bytes,
        )
        return rows, _read_datasets(config.data.eval, config, console)
    train = _read_datasets(config.data.train, config, console)
    if config.data.eval:
        evaluation = _read_datasets(config.data.eval, config, console)
    elif config.data.split:
        share = config.data.split < 1
        train, evaluation = split(
            train,
            fraction=config.data.split if share else None,
            count=None if share else int(config.data.split),
            seed=config.train.seed,
        )
    else:
        evaluation = []
    return train[: config.data.limit], evaluation


def _read_datasets(datasets: list[DatasetSection], config: Config, console: Console) -> list[Record]:
    if not datasets:
        return []
    notes: list[str] = []
    rows, files = config.data.max_row_bytes, config.data.max_file_bytes
    every = functools.partial(read_all, limit_row_bytes=rows, limit_file_bytes=files, notes=notes)
    read = [(every(each.path, format=each.format), each.weight) for each in datasets]
    _print_notes(notes, console)
    return read[0][0] if len(read) == 1 and read[0][1] == 1 else mix(read, seed=config.train.seed)


def _print_notes(notes: Sequence[str], console: Console) -> None:
    for note in notes:
        note_to(console, note)


def note_to(console: Console, text: str) -> None:
    """Print a note, whatever brackets it holds."""
    console.print(f"note: {text}", markup=False)
