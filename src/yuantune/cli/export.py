"""`yuantune export`: a trained run as a plain model folder."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yuantune.cli.console import err, out
from yuantune.errors import ConfigError, RunError, UserError

if TYPE_CHECKING:
    from yuantune.data.record import Record
    from yuantune.train.export import Difference


def register(app: typer.Typer) -> None:
    """Put the command on the app."""
    app.command()(export)


def export(
    run: Annotated[Path, typer.Argument(help="Run folder, or a checkpoint in it.")],
    merge: Annotated[bool, typer.Option("--merge", help="Put the adapter into the base's weights.")] = False,
    output: Annotated[Path | None, typer.Option(help="Folder to write (default: RUN-merged).")] = None,
    dtype: Annotated[str, typer.Option(help="Format of the weights: auto (the run's base's), float32, …")] = "auto",
    data: Annotated[
        Path | None, typer.Option(help="Rows that logits are compared on (default: the run's own data).")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="As many of them.")] = 8,
    model: Annotated[str | None, typer.Option(help="Where the base model is now, if it has moved.")] = None,
    device_map: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps.")] = None,
) -> None:
    """Write a trained run as a Hugging Face folder that needs no adapter, and say how exactly it answers as the
    run."""
    from yuantune.train.export import export_merged

    if not merge:
        raise ConfigError("say what to export: --merge puts the adapter into the base's weights")
    records = _records(run, data, rows)
    target = output or run.with_name(f"{run.resolve().name}-merged")
    done = export_merged(run, target, records, dtype=dtype, model=model, device_map=device_map)
    base = "base" if done.quantization == "none" else f"{done.quantization} base"
    err.print(f"compared at {done.tokens} tokens of {done.rows} rows, with {base} and adapter:", markup=False)
    _print("merged", done.merged)
    _print(f"written in {done.dtype}", done.written)
    if done.integer is not None:
        _print("merged, and the run by integer products", done.integer)
    out.print(str(done.folder), markup=False)


def _records(run: Path, data: Path | None, rows: int) -> list[Record]:
    from rich.console import Console

    from yuantune.config import Config
    from yuantune.data.readers import read_all
    from yuantune.methods.card import read_card
    from yuantune.train.folder import CONFIG_FILE, config_of
    from yuantune.train.run import read_records

    if data is not None:
        return read_all(data)[:rows]
    read_card(run)
    home = run if (run / CONFIG_FILE).is_file() else run.parent
    try:
        train, evaluation = read_records(config_of(home, Config), Console(quiet=True))
        return list(islice(evaluation or iter(train), rows))
    except UserError as error:
        raise RunError(
            f"the run's own data: {error.message}", hint="name rows to compare on: --data FILE"
        ) from error


def _print(what: str, difference: Difference) -> None:
    err.print(
        f"  {what}: logits differ by {difference.relative:.2g} of their length, one of them by "
        f"{difference.largest:.2g} at most; {100 * difference.same:.1f} % of the likeliest tokens are the same",
        markup=False,
    )
