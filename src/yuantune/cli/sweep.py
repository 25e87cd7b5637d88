"""`yuantune sweep`: which options of a run are best, by grid or random search with successive halving."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from yuantune.cli.console import err
from yuantune.cli.run import Settings
from yuantune.errors import UserError

if TYPE_CHECKING:
    from yuantune.study.sweep import SweepResult
    from yuantune.sweep_config import SweepConfig


def register(app: typer.Typer) -> None:
    """Put the command on the app."""
    app.command()(sweep)


def sweep(
    config: Annotated[
        Path, typer.Argument(help="Sweep file (see `yuantune init --sweep`), or a sweep's folder to resume.")
    ],
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the sweep was stopped.")] = False,
) -> None:
    """Train many runs that differ in some options, and rank them by their scores."""
    from yuantune.study.sweep import sweep as run

    options, where = _options(config, settings or [], resume)
    result = run(options, resume=resume, console=err, where=where)
    _print_result(result)


def _options(config: Path, settings: list[str], resume: bool) -> tuple[SweepConfig, dict[Any, str]]:
    from yuantune.config_file import override
    from yuantune.study.sweep_folder import resume_command, sweep_of
    from yuantune.sweep_config import read_sweep

    if not config.is_dir():
        return read_sweep(config, settings)
    if not resume:
        raise UserError(f"{config} is a folder", hint=f"`{resume_command(config)}` goes on with a sweep")
    return override(sweep_of(config), settings), {}


def _print_result(result: SweepResult) -> None:
    from rich import box
    from rich.table import Table

    from yuantune.study.leaderboard import rows_of
    from yuantune.study.sweep_plan import shown

    rows = rows_of(result.standings, result.names)
    metric = rows[0]["metric"]
    table = Table(title=escape(f"sweep {result.folder}"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("rank", "trial"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in result.names:
        table.add_column(escape(name.replace(".", ".\n")), overflow="fold")
    columns = {"score": metric, "loss": "loss", "steps": "steps", "seconds": "s"}
    if metric == "loss":
        del columns["loss"]
    for name in columns.values():
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state")
    for row in rows:
        options = ["–" if row[name] is None else escape(shown(row[name])) for name in result.names]
        numbers = ["" if row[name] is None else _number(name, row[name]) for name in columns]
        state = f"{row['state']}: {row['reason']}" if row["reason"] else row["state"]
        table.add_row(str(row["rank"] or ""), str(row["trial"]), *options, *numbers, escape(state))
    err.print(table)
    folder, best = shlex.quote(str(result.folder)), shlex.quote(str(result.best))
    err.print(f"wrote leaderboard.json, .csv and .png in {folder}", markup=False)
    if result.standings[0].state == "finished":
        err.print(f'best: yuantune generate {best} --text "…"', markup=False)
    err.print(f"next: yuantune train {shlex.quote(str(result.best_config))}", markup=False)


def _number(name: str, value: float) -> str:
    return f"{value:.4f}" if name in ("score", "loss") else f"{value:,.1f}" if name == "seconds" else f"{value:,}"
