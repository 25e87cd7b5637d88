"""`yuantune verify`: whether what a run has written is still what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yuantune.cli.console import err, out
from yuantune.errors import RunError, WorkFailed

if TYPE_CHECKING:
    from yuantune.train.checkpoint import Examined
    from yuantune.train.replay import Replay


def register(app: typer.Typer) -> None:
    """Put the command on the app."""
    app.command()(verify)


def verify(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    replay: Annotated[
        int | None, typer.Option(min=1, help="Also train so many last steps again, beside the run, and compare.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Compare every checkpoint of a run and its adapter (or model) with the hashes taken when they were written."""
    from yuantune.train.checkpoint import examine
    from yuantune.train.folder import resume_hint

    if not run.is_dir():
        raise RunError(f"no run folder {run}", hint="name the folder that `yuantune train` wrote (its output_dir)")
    examined = examine(run)
    if not examined:
        raise RunError(f"{run} holds neither a checkpoint nor an adapter or model")
    if not as_json:
        _print(examined)
    replayed = None
    if replay is not None:
        from yuantune.train.replay import replay as train_again

        replayed = train_again(run, replay, err)
    if as_json:
        out.print_json(json.dumps(_as_object(run, examined, replayed), ensure_ascii=False))
    elif replayed is not None and not replayed.problems:
        files, lines = len(replayed.files), replayed.lines
        out.print(
            f"steps {replayed.first} to {replayed.last}: bit for bit the same again ({files} files of state, "
            f"the losses of {lines} lines of the log)"
        )
    if count := sum(bool(each.problems) for each in examined):
        raise WorkFailed(f"{count} of {len(examined)} in {run} are not whole", hint=resume_hint(run))
    if replayed is not None and replayed.problems:
        raise WorkFailed(
            f"steps {replayed.first} to {replayed.last} of {run} did not come out the same again",
            problems=replayed.problems,
            hint="the same machine, number of threads (OMP_NUM_THREADS) and versions give the same bits",
        )


def _print(examined: list[Examined]) -> None:
    for each in examined:
        what = "; ".join(f"{problem.where} {problem.what}" for problem in each.problems)
        state = f"not whole: {what}" if what else f"whole ({each.files} files, {each.size / 2**20:,.1f} MiB)"
        out.print(f"{each.name}: {state}", markup=False)


def _as_object(run: Path, examined: list[Examined], replayed: Replay | None) -> dict[str, Any]:
    folders = [
        {
            "name": each.name,
            "whole": not each.problems,
            "files": each.files,
            "bytes": each.size,
            "problems": [{"where": problem.where, "what": problem.what} for problem in each.problems],
        }
        for each in examined
    ]
    value: dict[str, Any] = {"run": str(run), "folders": folders}
    if replayed is not None:
        value["replay"] = {
            "first": replayed.first,
            "last": replayed.last,
            "same": not replayed.problems,
            "files": replayed.files,
            "lines": replayed.lines,
            "problems": [{"where": problem.where, "what": problem.what} for problem in replayed.problems],
        }
    return value
