"""Plain text as a source of pretraining: every token is learnt, and the end of each document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yuantune.data.documents import Tokens
from yuantune.data.encoding import TextEncoder
from yuantune.data.files import DAMAGE, Lines, open_bytes, suffix_of
from yuantune.data.framing import begin_token
from yuantune.data.problems import Problems, TooManyProblems
from yuantune.data.readers import ROW_BYTES, read
from yuantune.errors import DataError, TemplateError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextCorpus:
    """Plain text: lines of .txt files, or a field of JSONL rows, compressed or not; else the texts of records."""

    cuttable = True

    def __init__(
        self, path: str, tokenizer: PreTrainedTokenizerBase, *, format: str | None, field: str, lines: int
    ) -> None:
        self.path = path
        self.unreadable = 0
        self._format, self._field, self._lines = format, field, lines
        self._tokenizer = tokenizer
        self._encoder = TextEncoder(tokenizer)
        begin = begin_token(self._encoder)
        self._begin = [] if begin is None else [self._encoder.control[begin]]
        self._end = int(tokenizer.eos_token_id)
        self._control = frozenset(self._encoder.control.values()) - {tokenizer.unk_token_id}
        self._files = text_files(path, format)
        if any(is_jsonl(file, format) for file in self._files):
            self._check_field()

    def rows(self) -> Iterator[str]:
        """The texts, those that are blank left out."""
        self.unreadable = 0
        if not self._files:
            yield from self._record_texts()
        for file in self._files:
            problems = Problems()
            try:
                lines = Lines(file, problems, limit=ROW_BYTES)
                yield from self._json_texts(lines) if is_jsonl(file, self._format) else self._joined(lines)
            except TooManyProblems:
                pass
            self.unreadable += len(problems)

    def encode(self, rows: Sequence[str]) -> list[Tokens | None]:
        """The texts' tokens between the tokenizer's own begin token, if it has one, and the end token.

        A control token in a text is text (`yuantune.data.encoding`)."""
        return [
            Tokens.learning([*self._begin, *ids, self._end]) if ids else None for ids in self._encode_texts(rows)
        ]

    def _encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        try:
            if hasattr(self._tokenizer, "encode_text"):
                # Yuan2's, past transformers' walk over pieces in Python: and no control token ever comes out.
                return list(self._tokenizer.sp_model.encode(list(texts), out_type=int, num_threads=1))
            found = self._tokenizer(
                list(texts),
                add_special_tokens=False,
                split_special_tokens=True,
                return_attention_mask=False,
                verbose=False,
            )["input_ids"]
        except (RuntimeError, TypeError):  # Half of a surrogate pair in one of them, which UTF-8 cannot hold.
            found = [None] * len(texts)
        return [
            ids if ids is not None and self._control.isdisjoint(ids) else self._encode_alone(text)
            for text, ids in zip(texts, found, strict=True)
        ]

    def _encode_alone(self, text: str) -> list[int]:
        try:
            return self._encoder.encode(self._encoder.hide(text))
        except (DataError, TemplateError):
            return []

    def _joined(self, lines: Iterator[str] | Lines) -> Iterator[str]:
        """Documents of so many lines, or of what stands between blank ones."""
        held: list[str] = []
        for line in lines:
            if line.strip():
                held.append(line)
                if len(held) == self._lines:
                    yield "\n".join(held)
                    held = []
            elif self._lines == 0 and held:
                yield "\n".join(held)
                held = []
        if held:
            yield "\n".join(held)

    def _json_texts(self, lines: Lines) -> Iterator[str]:
        for line in lines:
            if not line.strip():
                continue
            try:
                text = json.loads(line)[self._field]
            except (ValueError, KeyError, TypeError, RecursionError):
                text = None
            if not isinstance(text, str):
                self.unreadable += 1
            elif text.strip():
                yield text

    def _record_texts(self) -> Iterator[str]:
        try:
            for record in read(self.path, format=self._format, notes=[]):
                if record.text.strip():
                    yield record.text
        except DataError as error:
            if not error.problems:
                raise
            self.unreadable += len(error.problems)

    def _check_field(self) -> None:
        """Raises DataError where the first row has no such field, or no text in it."""
        for file in self._files:
            row = first_row(file)
            if isinstance(row, Mapping) and not isinstance(row.get(self._field), str):
                known = ", ".join(str(name) for name in row) or "none"
                close = nearest(self._field, map(str, row))
                raise DataError(
                    f"{file}: the first row has no text in a field '{self._field}'{close}",
                    hint=f"its fields: {known}. Name the one that holds the text: {{path: …, field: …}}",
                )


def text_files(path: str, format: str | None) -> list[Path]:
    """The files of a source of text that are read here; none where `readers.read` has to do it."""
    place = Path(path)
    if place.is_dir():
        files = sorted(file for file in place.iterdir() if file.is_file() and suffix_of(file) in (".txt", ".jsonl"))
        if not files:
            raise DataError(f"{path}: no .txt or .jsonl files in this folder")
        return files
    if place.is_file() and (format in ("text", "jsonl") or (format is None and suffix_of(place) in _OWN)):
        return [place]
    return []


_OWN = (".txt", ".jsonl", ".ndjson")


def is_jsonl(file: Path, format: str | None) -> bool:
    return format == "jsonl" or (format is None and suffix_of(file) in (".jsonl", ".ndjson"))


def first_row(file: Path) -> object:
    """The first JSONL row, None where it cannot be read."""
    try:
        with open_bytes(file) as opened:
            line = next((line for line in opened if line.strip()), b"")
        return json.loads(line)
    except (*DAMAGE, ValueError, RecursionError):
        return None
