"""`yuantune tokenizer`: a tokenizer for a Yuan2 of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from yuantune.cli.console import err, out
from yuantune.errors import DataError

if TYPE_CHECKING:
    from yuantune.data.record import Record

app = typer.Typer(help="Make a tokenizer for a new model. 为新模型训练分词器。", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Make a tokenizer for a new model. 为新模型训练分词器。"""


@app.command()
def train(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Text (.txt, one a line) or rows (.jsonl, …); .xz, .gz too."),
    ],
    to: Annotated[Path, typer.Option(help="New folder for the tokenizer.")],
    vocab_size: Annotated[int, typer.Option(min=1, help="Pieces, control tokens and bytes included.")] = 8192,
    model_type: Annotated[Literal["bpe", "unigram"], typer.Option(help="How pieces are found.")] = "bpe",
    characters: Annotated[
        bool,
        typer.Option(
            help="No piece joins characters outside ASCII, so that a Chinese string has the same tokens in a text "
            "and in an answer: for small models that extract."
        ),
    ] = False,
    required: Annotated[
        Path | None, typer.Option(help="UTF-8 file: each character in it becomes a piece, however rare.")
    ] = None,
    coverage: Annotated[
        float,
        typer.Option(min=0.98, max=1.0, help="Share of the text whose characters are pieces."),
    ] = 0.999,
    lines: Annotated[int | None, typer.Option(min=1, help="Lines drawn from all files (default: all).")] = None,
    answers: Annotated[
        int, typer.Option(min=0, help="JSON answers made of the lines' phrases and added, so that JSON is short.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="For the draw of lines.")] = 0,
) -> None:
    """Train a SentencePiece tokenizer with Yuan2's control tokens, byte fallback and one piece for each digit."""
    from yuantune.models import tokenizer_training as training

    _check_new(to)
    wanted = "" if required is None else _characters(required)
    texts = training.sample(training.lines_of(_read(sources)), lines, seed=seed)
    if not texts:
        raise DataError(f"{', '.join(sources)}: no text in it")
    texts += training.answers(texts, answers, seed=seed)
    with err.status(f"training on {len(texts):,} lines"):
        model = training.train_tokenizer(
            texts,
            vocab_size=vocab_size,
            model_type=model_type,
            characters=characters,
            required=wanted,
            coverage=coverage,
        )
    to.mkdir(parents=True, exist_ok=True)
    training.save_tokenizer(model, to)
    err.print(f"{vocab_size:,} pieces from {len(texts):,} lines")
    out.print(str(to), markup=False)


def _check_new(to: Path) -> None:
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise DataError(f"{to} is already there", hint="name a new folder")


def _characters(path: Path) -> str:
    try:
        return "".join(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from error


def _read(sources: list[str]) -> Iterator[Record]:
    """The records of all sources, counted before the reader's eyes."""
    from yuantune.data.readers import read

    with err.status("reading") as status:
        count = 0
        for source in sources:
            for record in read(source):
                count += 1
                if not count % 50_000:
                    status.update(f"reading: {count:,} lines")
                yield record
