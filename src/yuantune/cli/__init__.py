"""The `yuantune` command. Each subcommand imports what it needs inside, so that `--help` answers at once."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Annotated, Any

import typer

import yuantune
from yuantune.cli import (
    bench,
    combine,
    data,
    export,
    extract,
    model,
    pretrain,
    run,
    scores,
    setup,
    sweep,
    tokenizer,
    verify,
)
from yuantune.cli.console import err, out, print_error
from yuantune.errors import Interrupted, UserError, YuantuneError


class _Commands(typer.core.TyperGroup):
    """Typer would end at Ctrl-C without a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("stopped by Ctrl-C", signal_number=signal.SIGINT) from None


app = typer.Typer(
    name="yuantune",
    cls=_Commands,
    help="Fine-tune a language model on your own labelled examples, and let it answer. "
    "用您自己的标注数据微调语言模型。",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
run.register(app)
extract.register(app)
scores.register(app)
pretrain.register(app)
sweep.register(app)
verify.register(app)
export.register(app)
combine.register(app)
setup.register(app)
app.add_typer(data.app, name="data")
app.add_typer(model.app, name="model")
app.add_typer(bench.app, name="bench")
app.add_typer(tokenizer.app, name="tokenizer")


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"yuantune {yuantune.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    # Libraries' own bars and notes would run through ours; what matters is raised or printed here.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.simplefilter("ignore")


def main() -> None:
    """The console script: runs the command and turns its errors into messages and exit codes."""
    try:
        _check_text(sys.argv[1:])
        app()
    except YuantuneError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("stopped")
        sys.exit(130)


def _check_text(words: list[str]) -> None:
    """Raises UserError for an argument in another encoding than the terminal's: no file could take it."""
    for number, word in enumerate(words, 1):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"argument {number} is not text: {os.fsencode(word)!r}", hint="write it in UTF-8"
            ) from None
