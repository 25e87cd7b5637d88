"""Labels: one canonical form, its order, and what counts as an answer."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yuantune.data.labels import LabelSchema, canonical, in_text_order, infer_schema, parse
from yuantune.data.record import Record, Source

SCHEMA = LabelSchema(("姓名", "职位", "组织名"), {"NAME": "姓名"})

words = st.text(alphabet='ab汉"\\ ', min_size=1, max_size=4)
labels = st.dictionaries(
    st.sampled_from(["姓名", "职位", "组织名", "别的"]), st.lists(words, max_size=4), max_size=4
)
texts = st.text(alphabet='ab汉"\\ |', max_size=30)


def test_the_form_of_an_answer() -> None:
    found = {"组织名": ["甲公司", "乙公司"], "姓名": ["张三"], "职位": []}
    assert (
        canonical(found, "张三在甲公司，后在乙公司。", SCHEMA)
        == '{"姓名": ["张三"], "组织名": ["甲公司", "乙公司"]}'
    )
    assert canonical({}, "没有。", SCHEMA) == "{}"
    assert canonical({"职位": []}, "没有。", SCHEMA) == "{}"
    assert canonical({"姓名": ['张"三']}, "", SCHEMA) == '{"姓名": ["张\\"三"]}'


@pytest.mark.parametrize(
    ("text", "given_order", "expected"),
    [
        ("甲乙", ["乙", "甲"], ["甲", "乙"]),
        ("甲乙甲", ["甲", "甲", "乙"], ["甲", "乙", "甲"]),
        ("银行，中国银行，工商", ["工商", "中国银行", "银行"], ["银行", "中国银行", "工商"]),
        # The first 银行 stands inside a longer label, so the label 银行 means the second.
        ("中国银行，工商，银行", ["银行", "工商", "中国银行"], ["中国银行", "工商", "银行"]),
        # All occurrences are inside: nested, at the place where it stands.
        ("工商，中国银行，丙", ["丙", "银行", "中国银行", "工商"], ["工商", "中国银行", "银行", "丙"]),
        ("乙", ["无", "缺", "乙", "无"], ["乙", "无", "缺", "无"]),
        ("甲乙", ["乙", "甲", "甲"], ["甲", "甲", "乙"]),
        ("甲", ["", "甲"], ["甲", ""]),
        ("aaa", ["aa", "a"], ["aa", "a"]),
    ],
)
def test_strings_come_in_text_order(text: str, given_order: list[str], expected: list[str]) -> None:
    assert in_text_order({"组织名": given_order}, text, SCHEMA) == {"组织名": expected}


def test_a_longer_label_of_another_type_claims_its_place_first() -> None:
    found = {"职位": ["经理", "董事"], "组织名": ["经理学院"]}
    assert in_text_order(found, "经理学院董事、经理", SCHEMA)["职位"] == ["董事", "经理"]


def test_types_outside_the_schema_follow_in_their_order() -> None:
    found = {"丁": ["d"], "职位": ["b"], "丙": ["c"], "姓名": ["a"]}
    assert list(in_text_order(found, "abcd", SCHEMA)) == ["姓名", "职位", "丁", "丙"]


@given(labels, texts)
def test_canonical_says_the_same_and_is_idempotent(found: dict[str, list[str]], text: str) -> None:
    answer = canonical(found, text, SCHEMA)
    back = parse(answer)
    assert back is not None
    assert {k: Counter(v) for k, v in back.items()} == {k: Counter(v) for k, v in found.items() if v}
    assert canonical(back, text, SCHEMA) == answer
    assert json.dumps(back, ensure_ascii=False) == answer


@given(labels, texts, st.randoms(use_true_random=False))
def test_the_given_order_matters_for_strings_outside_the_text_only(
    found: dict[str, list[str]], text: str, rng: random.Random
) -> None:
    inside = {name: [s for s in strings if s in text] for name, strings in found.items() if name != "别的"}
    shuffled = {name: rng.sample(strings, len(strings)) for name, strings in inside.items()}
    items = list(shuffled.items())
    rng.shuffle(items)
    assert canonical(dict(items), text, SCHEMA) == canonical(inside, text, SCHEMA)


@given(st.lists(st.text(alphabet="ab", min_size=1, max_size=5), max_size=8), st.randoms(use_true_random=False))
def test_where_every_occurrence_is_labelled_the_order_is_that_of_the_text(
    segments: list[str], rng: random.Random
) -> None:
    """The reference knows the positions: the text is built of its labels. A string has one type."""
    types = {string: SCHEMA.types[i % 2] for i, string in enumerate(sorted(set(segments)))}
    expected: dict[str, list[str]] = {}
    for segment in segments:
        expected.setdefault(types[segment], []).append(segment)
    shuffled = {name: rng.sample(strings, len(strings)) for name, strings in expected.items()}
    assert in_text_order(shuffled, "|".join(segments), SCHEMA) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"姓名": ["张三"]}', {"姓名": ["张三"]}),
        (' \n{"a":[]}\t', {"a": []}),
        ("{}", {}),
        ('{"a": "b"}', None),
        ('{"a": [1]}', None),
        ('{"a": [["b"]]}', None),
        ('["a"]', None),
        ('{"a": ["b"]} 完', None),
        ('{"a": ["b"]', None),
        ('{"a": ["b"], "a": ["c"]}', None),
        ('{"a": [NaN]}', None),
        ("", None),
        ("[" * 100_000, None),
        ("9" * 5_000, None),
    ],
)
def test_what_is_an_answer(answer: str, expected: dict[str, list[str]] | None) -> None:
    assert parse(answer) == expected


@given(st.text(max_size=40))
def test_parse_never_raises(answer: str) -> None:
    parse(answer)


def test_a_schema_is_inferred_in_order_of_appearance() -> None:
    rows = [{"b": ["x"], "a": ["y"]}, {}, {"c": ["z"], "a": ["y"]}]
    records = [Record(Source("f", i), "xyz", labels=row) for i, row in enumerate(rows)]
    assert infer_schema([*records, Record(Source("f", 9), "t")]).types == ("b", "a", "c")
    assert infer_schema([]).types == ()
    assert SCHEMA.to_dict() == {"types": ["姓名", "职位", "组织名"], "codes": {"NAME": "姓名"}}
