"""`yuantune export`: a trained run as a plain model folder."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yuantune.cli.console import err, out
from yuantune.errors import ConfigError, RunError, UserError

if TYPE_CHECKING:
    from yuantune.data.record import Record
    from yuantune.train.export import Difference
    from yuantune.train.gguf.export import Written


def register(app: typer.Typer) -> None:
    """Put the command on the app."""
    app.command()(export)


def export(
    run: Annotated[Path, typer.Argument(help="Run folder, or a checkpoint in it.")],
    merge: Annotated[bool, typer.Option("--merge", help="Put the adapter into the base's weights.")] = False,
    gguf: Annotated[
        bool, typer.Option("--gguf", help="model.gguf and a Modelfile, for llama.cpp and Ollama: beside, or alone.")
    ] = False,
    quantize: Annotated[
        str | None, typer.Option(help="Format of the GGUF file's weights: f32, f16 (default), bf16, q8_0.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder to write (default: RUN-merged; RUN-gguf with --gguf alone).")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Format of the weights: auto (the run's base's), float32, …")] = "auto",
    data: Annotated[
        Path | None, typer.Option(help="Rows that logits are compared on (default: the run's own data).")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="As many of them.")] = 8,
    model: Annotated[str | None, typer.Option(help="Where the base model is now, if it has moved.")] = None,
    device_map: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps.")] = None,
) -> None:
    """Write a trained run as a Hugging Face folder that needs no adapter, as a GGUF file, or as both, and say how
    exactly it answers as the run."""
    from yuantune.train.export import export_merged

    if not merge and not gguf:
        raise ConfigError(
            "say what to export: --merge puts the adapter into the base's weights, --gguf writes the merged model "
            "as one file for llama.cpp and Ollama"
        )
    if quantize is not None and not gguf:
        raise ConfigError("--quantize is the format of a GGUF file", hint="say --gguf too, or --dtype for --merge")
    if dtype != "auto" and not merge:
        raise ConfigError("--dtype is the format of the merged folder", hint="say --merge too, or --quantize")
    records = _records(run, data, rows)
    target = output or run.with_name(f"{run.resolve().name}-{'merged' if merge else 'gguf'}")
    with _tensors() as on_tensor:
        done = export_merged(
            run,
            target,
            records,
            dtype=dtype,
            model=model,
            device_map=device_map,
            gguf=(quantize or "f16") if gguf else None,
            plain=merge,
            on_tensor=on_tensor,
        )
    base = "base" if done.quantization == "none" else f"{done.quantization} base"
    err.print(f"compared at {done.tokens} tokens of {done.rows} rows, with {base} and adapter:", markup=False)
    _print("merged", done.merged)
    if done.written is not None:
        _print(f"written in {done.dtype}", done.written)
    if done.integer is not None:
        _print("merged, and the run by integer products", done.integer)
    if done.gguf is not None and done.gguf_written is not None:
        _print(f"{done.gguf.file} in {done.gguf.type}", done.gguf_written)
        _print_gguf(done.folder, done.gguf)
    out.print(str(done.folder), markup=False)


@contextmanager
def _tensors() -> Iterator[Callable[[int, int], None]]:
    """How many tensors of the GGUF file are written: a bar on a terminal, else a line each tenth."""
    from rich.progress import MofNCompleteColumn, Progress

    bar = Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=err, transient=True)
    task = bar.add_task("model.gguf", total=None, visible=False)

    def on_tensor(number: int, count: int) -> None:
        if err.is_terminal:
            bar.update(task, completed=number, total=count, visible=True)
        elif number * 10 // count > (number - 1) * 10 // count:
            err.print(f"model.gguf: {number} of {count} tensors", markup=False)

    with bar if err.is_terminal else nullcontext():
        yield on_tensor


def _print_gguf(folder: Path, gguf: Written) -> None:
    others = ", ".join(f"{count} in {kind}" for kind, count in gguf.otherwise.items())
    err.print(
        f"  {gguf.bytes / 2**20:,.1f} MiB, {gguf.tensors} tensors{f' ({others})' if others else ''}; "
        f"llama.cpp reads the prompts of {gguf.same_prompts} of {gguf.told} rows with the tokens of training",
        markup=False,
    )
    if gguf.same_prompts < gguf.told:
        why = "a control token in their text, white space at its ends, or characters in a decomposed form"
        err.print(f"  what makes prompts differ: {why}", markup=False)
    name = re.sub(r"[^a-z0-9._-]+", "-", folder.name.lower()).strip("-._") or "model"
    where = shlex.quote(str(folder / "Modelfile"))
    err.print(f"next: ollama create {name} -f {where} && ollama run {name}", markup=False, soft_wrap=True)


def _records(run: Path, data: Path | None, rows: int) -> list[Record]:
    from rich.console import Console

    from yuantune.config import Config
    from yuantune.data.readers import read_all
    from yuantune.methods.card import read_card
    from yuantune.train.combine import parts_of
    from yuantune.train.folder import CONFIG_FILE, config_of
    from yuantune.train.prepare import read_records

    if data is not None:
        return read_all(data)[:rows]
    read_card(run)
    home = parts_of(run)[0]
    home = home if (home / CONFIG_FILE).is_file() else home.parent
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
