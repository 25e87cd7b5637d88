"""Sources of pretraining: plain text and instruction data, read from the start as often as wanted, made into
tokens.

A source is never whole in memory. Its head is checked when it is opened; rows further on that cannot be read or
have no form under the template are passed over and counted, since a corpus of millions of lines has some.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from yuantune.data.bound import BoundTemplate
from yuantune.data.documents import Corpus, Tokens
from yuantune.data.files import DAMAGE, open_bytes
from yuantune.data.plain_text import TextCorpus, first_row, is_jsonl, text_files
from yuantune.data.readers import read
from yuantune.data.record import Record
from yuantune.data.rows import Rows
from yuantune.data.tagged import looks_tagged
from yuantune.data.template import choose_template
from yuantune.errors import DataError, Problem, TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HEAD = 200
"""Rows that are checked when a source is opened."""
_PRINT_BYTES = 1 << 20


def open_corpus(
    path: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    kind: Literal["auto", "text", "instruction"] = "auto",
    template: str | Mapping[str, Any] = "auto",
    format: str | None = None,
    field: str = "text",
    lines: int = 1,
) -> Corpus:
    """The source `path`, its first rows checked and tokenised.

    `lines` of a plain text make a document (0: blank lines separate them); `field` of a JSONL row holds its text.

    Raises DataError where there is no such source, it is empty, or its first rows cannot be used, TemplateError
    for a wrong template."""
    if kind == "auto":
        kind = _kind_of(path, format, field)
    corpus: Corpus
    if kind == "text":
        corpus = TextCorpus(path, tokenizer, format=format, field=field, lines=lines)
    else:
        corpus = InstructionCorpus(path, tokenizer, template=template, format=format)
    head: list[Any] = list(islice(corpus.rows(), HEAD))
    if not head:
        what = "text" if kind == "text" else "rows with answers"
        raise DataError(f"{path}: the source holds no {what}")
    if not any(tokens is not None for tokens in corpus.encode(head)):
        raise DataError(f"{path}: none of its first {len(head)} documents makes a token")
    return corpus


def fingerprint(path: str) -> dict[str, Any]:
    """What tells whether a source is still what it was: its files with their sizes, and a hash of each one's start.

    A data set on a hub has no files here and is known by its name."""
    place = Path(path)
    files = sorted(file for file in place.iterdir() if file.is_file()) if place.is_dir() else [place]
    prints = {}
    for file in files:
        if file.is_file():
            with file.open("rb") as opened:
                start = hashlib.sha256(opened.read(_PRINT_BYTES)).hexdigest()
            prints[file.name] = {"bytes": file.stat().st_size, "start": start}
    return prints


# ------------------------------------------------------------------------------------------------ instruction data


class InstructionCorpus:
    """Rows with answers, as `data.train` of fine-tuning takes them, rendered by a template."""

    cuttable = False

    def __init__(
        self,
        path: str,
        tokenizer: PreTrainedTokenizerBase,
        *,
        template: str | Mapping[str, Any],
        format: str | None,
    ) -> None:
        self.path = path
        self.unreadable = 0
        self._format = format
        walk = Rows(path, format)
        head = list(islice(walk, HEAD))
        # Label types are found by a walk over the whole source: spare it where there are none.
        look = walk if any(record.labels is not None for record in head) else head
        chosen, _ = choose_template(template, look)
        self.template: BoundTemplate = chosen.bind(tokenizer)

    def rows(self) -> Iterator[Record]:
        """The records that have an answer."""
        self.unreadable = 0
        try:
            for record in read(self.path, format=self._format, notes=[]):
                if record.has_answer:
                    yield record
                else:
                    self.unreadable += 1
        except DataError as error:
            if not error.problems:
                raise
            self.unreadable += len(error.problems)

    def encode(self, rows: Sequence[Record]) -> list[Tokens | None]:
        """Prompt and answer, of which the answer is learnt; None where a record has no form under the template."""
        return [self._encode(record) for record in rows]

    def _encode(self, record: Record) -> Tokens | None:
        try:
            example = self.template.example(record)
        except (TemplateError, DataError):
            return None
        return Tokens.learning(example.ids, example.supervised)


def _kind_of(path: str, format: str | None, field: str) -> Literal["text", "instruction"]:
    """What a source holds, by its first row. Raises DataError as `readers.read` does."""
    files = text_files(path, format) if Path(path).exists() else []
    if files and not is_jsonl(files[0], format):
        return "instruction" if looks_tagged(_first_lines(files[0])) else "text"
    if files:
        row = first_row(files[0])
        if isinstance(row, Mapping) and isinstance(row.get(field), str) and set(row).isdisjoint(_ANSWERS):
            return "text"
    rows = Rows(path, format)
    first = next(iter(rows), None)
    if first is None:
        next(iter(read(path, format=format, notes=[])), None)  # Raises what is wrong with it.
        raise DataError(f"{path}: the source holds no rows")
    return "instruction" if first.has_answer else "text"


_ANSWERS = ("labels", "label", "entities", "spans", "output", "messages", "conversations", "annotations", "tokens")


def _first_lines(file: Path) -> list[str]:
    try:
        with open_bytes(file) as opened:
            return opened.read(1 << 16).decode("utf-8-sig", "replace").splitlines()[:50]
    except DAMAGE as error:
        raise DataError(f"{file} cannot be read", problems=[Problem(str(file), str(error))]) from None
