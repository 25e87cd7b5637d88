"""`yuantune verify`: whether what a run has written is still what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from yuantune.cli.console import out
from yuantune.errors import RunError, WorkFailed


def register(app: typer.Typer) -> None:
    """Put the command on the app."""
    app.command()(verify)


def verify(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
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
    if as_json:
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
        out.print_json(json.dumps({"run": str(run), "folders": folders}, ensure_ascii=False))
    else:
        for each in examined:
            what = "; ".join(f"{problem.where} {problem.what}" for problem in each.problems)
            state = f"not whole: {what}" if what else f"whole ({each.files} files, {each.size / 2**20:,.1f} MiB)"
            out.print(f"{each.name}: {state}", markup=False)
    if count := sum(bool(each.problems) for each in examined):
        raise WorkFailed(f"{count} of {len(examined)} in {run} are not whole", hint=resume_hint(run))
