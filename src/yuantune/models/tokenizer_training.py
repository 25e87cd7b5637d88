"""Training a tokenizer for Yuan2: a SentencePiece model with Yuan2's control tokens, from any text."""

from __future__ import annotations

import io
import json
import os
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from yuantune.data.record import Record
from yuantune.errors import ModelError, UserError, WorkFailed, nearest

MODEL_TYPES = ("bpe", "unigram")
COVERAGES = (0.98, 1.0)
VOCABULARY = "tokenizer.model"
PUNCTUATION = "，。、；：？！“”‘’（）《》〈〉【】〔〕—…·～％℃"
"""Characters that are always pieces, beside printable ASCII: those of Chinese print."""

_SPACE = "\u2581"
_PRINTABLE = "".join(map(chr, range(33, 127)))
_BOUNDARY = "\x1f"
"""Splits a training line where no piece may cross. SentencePiece drops it; the lines themselves are freed of it."""
_CONTROL = re.compile("[\x00-\x1f\x7f\ufeff]+")
_OTHER = re.compile(r"([^\x00-\x7f])")
_PHRASE = re.compile("[\u3400-\u9fff]{2,}")
_WHOLE = 1 << 20
"""Bytes in a training line at most. SentencePiece leaves longer ones out, by itself from 4,192 bytes on."""


def lines_of(records: Iterable[Record]) -> Iterator[str]:
    """Every line of text in `records`: prompts, conversations and answers (labels as JSON)."""
    for record in records:
        labels = None if record.labels is None else json.dumps(record.labels, ensure_ascii=False)
        turns = (message.content for message in record.messages)
        for text in (record.instruction, record.text, *turns, record.output, labels):
            if text:
                yield from text.splitlines()


def sample(lines: Iterable[str], count: int | None, *, seed: int = 0) -> list[str]:
    """`count` of `lines` in a random order, each line as likely as every other (all of them where it is None).

    One pass and `count` lines in memory: reservoir sampling (Vitter, "Random sampling with a reservoir", 1985)."""
    draw = random.Random(seed)
    kept: list[str] = []
    for at, line in enumerate(lines):
        if count is None or len(kept) < count:
            kept.append(line)
        elif (place := int(draw.random() * (at + 1))) < count:
            kept[place] = line
    draw.shuffle(kept)
    return kept


def answers(lines: Sequence[str], count: int, *, seed: int = 0) -> list[str]:
    """`count` extraction answers made of short phrases of `lines`, so that pieces of JSON such as `▁{"` exist.

    Fewer where fewer lines hold two Chinese phrases."""
    draw = random.Random(seed)
    made: list[str] = []
    for line in draw.sample(lines, len(lines)):
        phrases = [phrase[: draw.randint(2, 4)] for phrase in _PHRASE.findall(line)]
        answer: dict[str, list[str]] = {}
        while len(phrases) > 1:
            key, some = phrases.pop(0), draw.randint(1, 3)
            answer[key], phrases = phrases[:some], phrases[some:]
        if len(made) == count:
            break
        if answer:
            made.append(json.dumps(answer, ensure_ascii=False))
    return made


def train_tokenizer(
    lines: Sequence[str],
    *,
    vocab_size: int = 8192,
    model_type: str = "bpe",
    characters: bool = False,
    required: str = "",
    coverage: float = 0.999,
) -> bytes:
    """A SentencePiece model (the bytes of its file) trained on `lines`.

    As in Yuan2's own: byte fallback, one piece for each digit, no normalisation, white space kept, one space put
    before a text, and the sixteen control tokens as pieces that no text reaches, `<eod>` first. `required`
    characters are pieces however rare they are; of the others as many as make up `coverage` of the text.

    With `characters` no piece joins a character outside ASCII with another one. A Chinese string then has the same
    tokens wherever it stands, in a text or in an answer's JSON, which is what a small model needs to copy it: with
    pieces of several characters a name splits one way between its neighbours and another way between quotes.

    Raises UserError where there is no text, or for an unknown model type or a coverage beyond COVERAGES; ModelError
    where `vocab_size` does not suit the text."""
    _check(vocab_size, model_type, coverage)
    if not any(line.strip() for line in lines):
        raise UserError("there is no text to make a tokenizer from")
    import sentencepiece

    from yuantune.models.yuan2.tokenizer import CONTROL_TOKENS, END

    written = io.BytesIO()
    options: dict[str, Any] = {"pretokenization_delimiter": _BOUNDARY} if characters else {}
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_prepared(lines, characters=characters),
            model_writer=written,
            vocab_size=vocab_size,
            model_type=model_type,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=True,
            split_digits=True,
            split_by_unicode_script=True,
            allow_whitespace_only_pieces=True,
            byte_fallback=True,
            max_sentencepiece_length=16,
            max_sentence_length=_WHOLE,
            character_coverage=coverage,
            required_chars="".join(dict.fromkeys(_SPACE + _PRINTABLE + PUNCTUATION + required)),
            control_symbols=[END, *CONTROL_TOKENS],
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
            **options,
        )
    except RuntimeError as error:
        raise _explained(error, vocab_size) from error
    return written.getvalue()


def save_tokenizer(model: bytes, folder: Path) -> None:
    """Write a SentencePiece model as a tokenizer folder that yuantune and transformers load.

    The folder must exist. Raises WorkFailed where it cannot be written."""
    from yuantune.models.yuan2.tokenizer import END, SEPARATOR

    config = {
        "tokenizer_class": "YuanTokenizer",
        **dict.fromkeys(("bos_token", "eos_token", "pad_token"), END),
        "sep_token": SEPARATOR,
        "unk_token": "<unk>",
        "special_tokens_pattern": "none",
        "clean_up_tokenization_spaces": False,
    }
    _write(folder / VOCABULARY, model)
    _write(folder / "tokenizer_config.json", (json.dumps(config, indent=2) + "\n").encode())


def _prepared(lines: Iterable[str], *, characters: bool) -> Iterator[str]:
    for line in lines:
        line = _CONTROL.sub(" ", line)
        yield _OTHER.sub(_BOUNDARY + r"\1" + _BOUNDARY, line) if characters else line


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise WorkFailed(f"{path} cannot be written ({error.strerror or error})") from error


def _check(vocab_size: int, model_type: str, coverage: float) -> None:
    if model_type not in MODEL_TYPES:
        raise UserError(
            f"unknown model type {model_type!r}{nearest(model_type, MODEL_TYPES)}",
            hint=f"one of {', '.join(MODEL_TYPES)}",
        )
    if vocab_size < 1:
        raise UserError(f"a vocabulary of {vocab_size} pieces is none")
    if not COVERAGES[0] <= coverage <= COVERAGES[1]:
        raise UserError(f"coverage is a share from {COVERAGES[0]} to {COVERAGES[1]}, not {coverage}")


def _explained(error: RuntimeError, vocab_size: int) -> ModelError:
    """What SentencePiece says about a vocabulary that does not suit the text, for people."""
    text = str(error)
    if most := re.search(r"value <= (\d+)", text):
        return ModelError(
            f"{vocab_size:,} pieces are too many: the text gives {int(most[1]):,}",
            hint=f"ask for at most {most[1]}, or give more text",
        )
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", text):
        return ModelError(
            f"{vocab_size:,} pieces are too few: control tokens, bytes and single characters alone are "
            f"{int(least[1]):,}",
            hint=f"ask for more than {least[1]}, or let fewer characters be pieces (coverage, required characters)",
        )
    return ModelError(f"SentencePiece cannot make {vocab_size:,} pieces of this text: {text.strip()}")
