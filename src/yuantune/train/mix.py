"""The sources of a pretraining run: opened, packed by their weights, and what was taken from each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from yuantune.batch.pack import Packer, Row
from yuantune.data.corpus import open_corpus
from yuantune.data.documents import Corpus
from yuantune.data.stream import DocumentStream
from yuantune.errors import DataError, Problem
from yuantune.pretrain_config import PretrainDataSection, SourceSection


@dataclass(frozen=True, slots=True)
class SourceUse:
    """What a run took from one source: input tokens, their share of all, passes begun, and what was left out."""

    name: str
    tokens: int
    share: float
    passes: int
    too_long: int
    unusable: int


def open_all(sources: Sequence[SourceSection], tokenizer: Any, option: str) -> list[Corpus]:
    """All sources; raises one error for all that is wrong with them."""
    opened: list[Corpus] = []
    errors: list[DataError] = []
    for source in sources:
        options = source.model_dump(exclude={"path", "weight"})
        try:
            opened.append(open_corpus(source.path, tokenizer, **options))
        except DataError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        problems = [each for error in errors for each in (Problem("", error.message), *error.problems)]
        hints = dict.fromkeys(error.hint for error in errors if error.hint)
        raise DataError(
            f"{len(errors)} sources of {option} cannot be used", problems=problems, hint=" ".join(hints)
        )
    return opened


def packer_of(data: PretrainDataSection, corpora: Sequence[Corpus], *, pad_id: int, seed: int) -> Packer:
    """Rows of the training mix, without end. Raises DataError for a source of which no document can be used."""
    length = data.sequence_length
    for corpus in corpora:
        next(DocumentStream(corpus, seed="", shuffle_buffer=1, longest=length, endless=False))
    streams = [
        DocumentStream(corpus, seed=f"{seed} {number}", shuffle_buffer=data.shuffle_buffer, longest=length)
        for number, corpus in enumerate(corpora)
    ]
    return Packer(streams, [source.weight for source in data.train], length=length, pad_id=pad_id)


def eval_rows_of(data: PretrainDataSection, corpora: Sequence[Corpus], *, pad_id: int) -> dict[str, list[Row]]:
    """The first rows of each evaluation source, by its name: in the order of the file, so always the same."""
    rows: dict[str, list[Row]] = {}
    for name, corpus in zip(names_of(data.eval), corpora, strict=True):
        stream = DocumentStream(corpus, seed="", shuffle_buffer=1, longest=data.sequence_length, endless=False)
        packer = Packer([stream], [1.0], length=data.sequence_length, pad_id=pad_id)
        rows[name] = list(islice(packer, data.eval_rows))
    return rows


def names_of(sources: Sequence[SourceSection]) -> list[str]:
    """A short name for each source: of its file, without endings; numbered where two are alike."""
    names: list[str] = []
    for source in sources:
        name = re.sub(r"(\.[A-Za-z0-9]+)+$", "", Path(source.path).name) or source.path
        number = 2
        unique = name
        while unique in names:
            unique, number = f"{name}-{number}", number + 1
        names.append(unique)
    return names


def uses_of(sources: Sequence[SourceSection], packer: Packer) -> list[SourceUse]:
    """What was taken from each source."""
    total = max(sum(packer.drawn), 1)
    return [
        SourceUse(
            name=name,
            tokens=tokens,
            share=tokens / total,
            passes=stream.number + 1,
            too_long=stream.too_long,
            unusable=stream.empty + stream.corpus.unreadable,
        )
        for name, tokens, stream in zip(names_of(sources), packer.drawn, packer.streams, strict=True)
    ]


def notes_of(uses: Sequence[SourceUse], packer: Packer) -> list[str]:
    """What a person has to know about what was left out, or filled up."""
    notes = [f"{use.name}: {use.too_long} examples longer than a row, left out" for use in uses if use.too_long]
    notes += [f"{use.name}: {use.unusable} rows that cannot be used" for use in uses if use.unusable]
    if packer.padded:
        share = packer.padded / (packer.padded + sum(packer.drawn))
        notes.append(f"{packer.padded:,d} tokens of padding ({share:.1%}): there is no text to fill the gaps with")
    return notes
