"""Held to a form: what is allowed, against every canonical answer written out and every piece of the text."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny_tokenizers import byte_level, llama_like
from yuantune.data.labels import parse
from yuantune.infer.constraint import Constraint, End, Form
from yuantune.infer.vocabulary import token_bytes
from yuantune.models.load import load_tokenizer

TYPES = ("姓名", "职位", '说"明\\', "职")
PIECES = [
    '"',
    '", "',
    '"], "',
    '": ["',
    '{"',
    "{}",
    '"]}',
    "]}",
    "]",
    ", ",
    "\\",
    '\\"',
    "u00",
    "张三",
    "张",
    "三\n",
    '["a"]}',
]


def form(types: Sequence[str] = TYPES, lead: bytes = b"") -> Form:
    """Every byte is a token, and so are some stretches across the borders of strings."""
    table: list[bytes | None] = (
        [bytes([each]) for each in range(256)] + [piece.encode() for piece in PIECES] + [None]
    )

    def encode(text: str) -> list[int]:
        """The longest pieces first, from the left."""
        data, ids, at = lead + text.encode(), [], 0
        while at < len(data):
            token = max(
                (i for i, each in enumerate(table) if each and data.startswith(each, at)),
                key=lambda i: len(table[i] or b""),
            )
            ids.append(token)
            at += len(table[token] or b"")
        return ids

    return Form(tuple(types), table, lead, encode, (len(table) - 1,))


texts = st.text(st.sampled_from('张三ab"\\\n\t，。😀é '), min_size=1, max_size=12)


@st.composite
def answers(draw: st.DrawFn, text: str, types: Sequence[str] = TYPES) -> str:
    """A canonical answer whose strings are pieces of `text`."""
    labels = {}
    for name in types:
        spans = draw(st.lists(st.tuples(st.integers(0, len(text) - 1), st.integers(1, 4)), max_size=3))
        if spans:
            labels[name] = [text[start : start + size] for start, size in spans]
    return json.dumps(labels, ensure_ascii=False)


@given(st.data(), st.booleans(), st.sampled_from([b"", b" "]))
def test_every_canonical_answer_is_allowed_however_it_is_split(
    data: st.DataObject, grounded: bool, lead: bytes
) -> None:
    text = data.draw(texts)
    answer = lead + data.draw(answers(text)).encode()
    this, at = form(lead=lead), 0
    held = Constraint(this, text if grounded else None)
    while at < len(answer):
        assert not held.ended
        fitting = [i for i, each in enumerate(this.bytes_of) if each and answer.startswith(each, at)]
        token = data.draw(st.sampled_from(fitting))
        assert held.accept(token)
        at += len(this.bytes_of[token] or b"")
    assert held.ended
    assert held.closed.encode() == answer[len(lead) :]


def oracle(answer: str, text: str) -> bool:
    """Whether an answer is canonical JSON with strings from the text, by a regular expression and `json`."""
    string = r'"(?:[^"\\\x00-\x1f]|\\["\\bfnrt]|\\u00[01][0-9a-f])+"'
    pairs = [rf"{re.escape(json.dumps(name, ensure_ascii=False))}: \[{string}(?:, {string})*\]" for name in TYPES]
    if not re.fullmatch(r"\{\}|\{(?:" + "|".join(pairs) + r")(?:, (?:" + "|".join(pairs) + r"))*\}", answer):
        return False
    labels = parse(answer)
    if labels is None or list(labels) != [name for name in TYPES if name in labels]:
        return False
    if json.dumps(labels, ensure_ascii=False) != answer:
        return False
    return all(string in text for strings in labels.values() for string in strings)


@given(st.data(), st.integers(0, 2**32))
def test_what_is_written_is_valid_and_from_the_text(data: st.DataObject, seed: int) -> None:
    """A model that knows nothing writes by its logits; the oracle looks at what comes out."""
    text, this, draw = data.draw(texts), form(), random.Random(seed)
    held = Constraint(this, text)
    for _ in range(400):
        if held.ended:
            break
        logits_V = torch.tensor([draw.random() for _ in this.bytes_of])
        # Else a string hardly ever ends.
        logits_V[ord('"')] += draw.choice((0.0, 0.5))
        logits_V[256:] += 0.3
        token = held.best(logits_V)
        allowed = [i for i in range(len(this.bytes_of)) if this.after(held._state, i, text.encode()) is not None]
        assert token == max(allowed, key=lambda i: float(logits_V[i]))
        assert held.accept(token)
    assert oracle(held.closed, text)


@given(st.data())
def test_an_answer_that_breaks_off_is_closed_behind_its_last_whole_string(data: st.DataObject) -> None:
    text = data.draw(texts)
    answer = data.draw(answers(text))
    this, held = form(), Constraint(form(), text)
    whole, cut = answer.encode(), data.draw(st.integers(0, len(answer.encode())))
    for byte in whole[:cut]:
        assert held.accept(byte)
    assert oracle(held.closed, text)
    mine, theirs = parse(held.closed) or {}, parse(answer) or {}
    for name, strings in mine.items():
        assert strings == theirs[name][: len(strings)]
    found = sum(len(strings) for strings in mine.values())
    assert found >= sum(len(strings) for strings in theirs.values()) - (cut < len(whole)) * len(whole[cut:])
    assert this.types == TYPES


@pytest.mark.parametrize("lead", [b"", b" "])
def test_forced_tokens_are_those_of_the_answer_as_it_is_learnt(lead: bytes) -> None:
    this = form(lead=lead)
    text = "张三任职"
    answer = json.dumps({"职位": ["张三", "任"], "职": ["任职"]}, ensure_ascii=False)
    ids, held, chosen = this.encode(answer), Constraint(this, text), 0
    while not held.ended:
        held.forced()
        assert held.ids == ids[: len(held.ids)]
        if held.ended:
            break
        assert held.accept(ids[len(held.ids)])
        chosen += 1
    assert held.ids == ids
    assert chosen < len(ids) - 3
    assert isinstance(held._state, End)


def test_what_is_refused() -> None:
    this = form()
    held = Constraint(this, "张三任工程师")
    for wrong in (b"[", b" ", b"a", b"\xe5"):
        assert not held.accept(wrong[0])
    assert not held.accept(len(this.bytes_of) - 1)  # A control token.
    assert not held.accept(9999)  # A row of the head that stands for nothing.
    for byte in '{"职位": ['.encode():
        assert held.accept(byte)
    assert not held.accept(ord("]"))  # A type without strings.
    assert held.accept(ord('"'))
    assert not held.accept(ord('"'))  # An empty string.
    for byte in "工程师".encode():
        assert held.accept(byte)
    assert not held.accept("长".encode()[0])
    for byte in b'"], "':
        assert held.accept(byte)
    assert not held.accept("姓".encode()[0])  # It came before.
    assert [byte for byte in range(256) if Constraint(this, None).accept(byte)] == [ord("{")]


@cache
def tokenizers(folder: Path) -> dict[str, object]:
    return {"byte_level": byte_level(), "llama": llama_like(), "yuan": load_tokenizer(folder)}


@pytest.mark.parametrize("kind", ["byte_level", "llama", "yuan"])
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_what_tokens_write(kind: str, text: str) -> None:
    from yuantune.resources import RESOURCES

    tokenizer = tokenizers(RESOURCES / "yuan2-mini")[kind]
    table = token_bytes(tokenizer)  # type: ignore[arg-type]
    if kind == "yuan":
        text = text.replace("▁", " ")
    ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)  # type: ignore[attr-defined]
    written = b"".join(table[index] or b"" for index in ids)
    assert written.removeprefix(b" " if kind != "byte_level" else b"") == text.encode()


def test_control_tokens_write_nothing() -> None:
    from yuantune.resources import RESOURCES

    for tokenizer in tokenizers(RESOURCES / "yuan2-mini").values():
        table = token_bytes(tokenizer)  # type: ignore[arg-type]
        assert all(table[index] is None for index in tokenizer.all_special_ids)  # type: ignore[attr-defined]
