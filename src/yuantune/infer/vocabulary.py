"""What each token writes: bytes, since a token may hold half a character, several, or nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from yuantune.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SPACE = "\u2581"


def token_bytes(tokenizer: PreTrainedTokenizerBase) -> list[bytes | None]:
    """For each id, the bytes that it adds to a text behind others; None for control tokens and unused ids.

    SentencePiece's pieces (spaces as U+2581, bytes as <0xE5>), byte-level BPE, and fast tokenizers like them.
    Raises ModelError for a tokenizer of another kind."""
    if hasattr(tokenizer, "sp_model"):
        table = [_of_piece(tokenizer.sp_model, index) for index in range(tokenizer.sp_model.get_piece_size())]
    else:
        table = _of_fast(tokenizer)
    for index, token in tokenizer.added_tokens_decoder.items():
        table += [None] * (index + 1 - len(table))
        table[index] = None if token.special else token.content.encode()
    for index in tokenizer.all_special_ids:
        table[index] = None
    return table


def _of_piece(model: Any, index: int) -> bytes | None:
    if model.is_control(index) or model.is_unknown(index) or model.is_unused(index):
        return None
    return _plain(model.id_to_piece(index), byte=model.is_byte(index))


def _plain(piece: str, *, byte: bool) -> bytes:
    return bytes([int(piece[3:-1], 16)]) if byte else piece.replace(_SPACE, " ").encode()


def _of_fast(tokenizer: Any) -> list[bytes | None]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    kinds = _decoders(json.loads(backend.to_str()).get("decoder")) if backend is not None else set()
    vocabulary = tokenizer.get_vocab()
    table: list[bytes | None] = [None] * (max(vocabulary.values()) + 1)
    if "ByteLevel" in kinds:
        bytes_of = _byte_level()
        for token, index in vocabulary.items():
            if all(char in bytes_of for char in token):
                table[index] = bytes(bytes_of[char] for char in token)
    elif kinds & {"Metaspace", "Replace", "ByteFallback"}:
        for token, index in vocabulary.items():
            byte = "ByteFallback" in kinds and len(token) == 6 and token.startswith("<0x") and token.endswith(">")
            table[index] = _plain(token, byte=byte)
    else:
        raise ModelError(f"what the tokens of {type(tokenizer).__name__} write is not known")
    return table


def _decoders(decoder: dict[str, Any] | None) -> set[str]:
    """The kinds of a decoder, and of those that a sequence is made of."""
    if not decoder:
        return set()
    return {decoder["type"]}.union(*map(_decoders, decoder.get("decoders", ())))


def _byte_level() -> dict[str, int]:
    """The characters that byte-level BPE writes for bytes: printable ones for themselves, others from U+0100 on.
    Source: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), its published code."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + at): byte for at, byte in enumerate(others)}
