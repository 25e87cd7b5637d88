"""`yuantune pretrain`: full training of a new model, or further training of a base, on text and instruction
data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from yuantune.cli.console import err
from yuantune.cli.run import Settings, options_of

if TYPE_CHECKING:
    from yuantune.train.pretrain import PretrainResult


def register(app: typer.Typer) -> None:
    """Put the command on the app."""
    app.command()(pretrain)


def pretrain(
    config: Annotated[
        Path, typer.Argument(help="Config file (see `yuantune init --pretrain`), or a run folder to resume.")
    ],
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's newest checkpoint.")] = False,
) -> None:
    """Train a new model from its config, or go on training a base, on a mix of text and instruction data."""
    from yuantune.pretrain_config import PretrainConfig
    from yuantune.train.folder import resume_command
    from yuantune.train.pretrain import pretrain as run

    result = run(options_of(PretrainConfig, config, settings, resume, "pretrain"), resume=resume, console=err)
    _print_result(result)
    folder = result.folder
    if result.finished:
        err.print(
            f"next: put `model: {{name: {folder / 'model'}}}` into a config, then `yuantune train`", markup=False
        )
    else:
        err.print(f"the time is up after step {result.steps} of {result.max_steps}, state saved", markup=False)
        err.print(f"next: {resume_command(folder)}", markup=False)


def _print_result(result: PretrainResult) -> None:
    from rich.table import Table

    table = Table(title=escape(f"run {result.folder}"), title_justify="left", show_header=False)
    table.add_row("steps", f"{result.steps} of {result.max_steps}")
    table.add_row("loss, first to last", f"{result.first_loss:.4f} → {result.last_loss:.4f}")
    for name, loss in result.eval_losses.items():
        table.add_row(escape(f"evaluation loss, {name}"), f"{loss:.4f}")
    for source in result.sources:
        passes = "pass" if source.passes == 1 else "passes"
        share = f"{source.tokens:,} tokens, {source.share:.1%}, in {source.passes} {passes}"
        table.add_row(escape(f"source {source.name}"), share)
    table.add_row("trained parameters", f"{result.parameters:,}")
    table.add_row("time", f"{result.seconds:.1f} s, {result.tokens_per_second:,.0f} tokens/s")
    err.print(table)
