"""Texts that are too long: their windows hold everything, and their labels come together as if there were none."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yuantune.data.labels import LabelSchema, in_text_order
from yuantune.data.record import Labels, Record, Source
from yuantune.data.template import load_template
from yuantune.errors import DataError
from yuantune.infer.extractor import Extractor
from yuantune.infer.windows import merged, windows
from yuantune.models.load import load_model, load_tokenizer

SCHEMA = LabelSchema(("name", "firm"))


@given(st.text(st.sampled_from("ab。\n"), min_size=1, max_size=200), st.integers(1, 60))
def test_windows_fit_overlap_and_hold_every_character(text: str, size: int) -> None:
    found = windows(text, lambda part: len(part) <= size)
    assert found[0][0] == 0 and found[-1][1] == len(text)
    assert all(0 < stop - start <= size for start, stop in found)
    for (start, stop), (following, end) in pairwise(found):
        assert start < following <= stop < end
        assert size < 8 or stop - following >= size // 16  # What stands at a border stands whole in one of them.


def test_windows_end_at_sentences() -> None:
    text = "一二三。" * 30
    for start, stop in windows(text, lambda part: len(part) <= 45):
        assert text[stop - 1] == "。" and (start == 0 or text[start - 1] == "。")


def test_nothing_fits() -> None:
    assert windows("abc", lambda part: not part) == []


@given(st.integers(0, 2**32))
def test_labels_come_together_as_if_there_were_no_windows(seed: int) -> None:
    """Each window finds what stands whole in it, and pieces of what its borders cut."""
    draw = random.Random(seed)
    text, spans = "", []
    for number in range(draw.randint(1, 60)):
        text += draw.choice(["。", "，", "and ", "，in "])
        string = f"E{number}x"
        spans.append((draw.choice(SCHEMA.types), len(text), len(text) + len(string)))
        text += string
    found = []
    for start, stop in windows(text, lambda part: len(part) <= 60):
        labels: Labels = {}
        for kind, first, last in spans:
            piece = text[max(first, start) : min(last, stop)]
            if piece:
                labels.setdefault(kind, []).append(piece)
        found.append(((start, stop), labels))
    expected: Labels = {}
    for kind, first, last in spans:
        expected.setdefault(kind, []).append(text[first:last])
    assert merged(text, found, SCHEMA) == in_text_order(expected, text, SCHEMA)


def test_a_text_longer_than_the_model(tmp_path: Path) -> None:
    template = load_template("resume-ner").bind(load_tokenizer("yuan2-mini"))
    model = load_model("yuan2-mini", dtype="float32", device_map="cpu")
    extractor = Extractor(model, template, max_new_tokens=40)
    sentence = "王小明先生，汉族，工程师。"
    long = Record(source=Source("t", 1), text=sentence * 90)
    short = Record(source=Source("t", 2), text=sentence)
    whole, one = extractor.predict([long, short])
    assert whole.windows > 1 and one.windows == 1
    assert whole.labels is not None
    assert all(string in long.text for strings in whole.labels.values() for string in strings)
    assert whole.prompt_tokens > 1024 and whole.answer_tokens > one.answer_tokens
    other = Extractor(model, load_template("plain").bind(load_tokenizer("yuan2-mini")), max_new_tokens=40)
    with pytest.raises(DataError, match="1 of 2 rows cannot be answered"):
        list(other.predict([long, short]))
    failed, fine = other.predict([long, short], keep_going=True)
    assert "it reads 1024" in failed.error and failed.labels is None and not failed.finished
    assert not fine.error
