"""Exercises that are no résumés: strings stand in the text in its order, labels are of asked types, kinds vary."""

from __future__ import annotations

import lzma
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import pytest
from recipes.yuan2_mini.passages import passages
from recipes.yuan2_mini.passages_asking import Passage, Shelf, exercises
from recipes.yuan2_mini.passages_form_kinds import FORM_KINDS
from recipes.yuan2_mini.passages_forms import FAMILIES
from recipes.yuan2_mini.passages_history import appointments, lives, speeches
from recipes.yuan2_mini.passages_patterns import BY_SOURCE, found
from recipes.yuan2_mini.passages_values import WORDS, Values
from recipes.yuan2_mini.segments import Exercise

from yuantune.data.labels import LabelSchema, in_text_order

LINES: Mapping[str, Sequence[str]] = {
    "histories-modern": [
        "张三，字伯平，江州云陌人。起初在乡里教书，后来出仕。",
        "李四字仲安，是河东安邑人。",
        "洪武三年正月初九，朝廷任命王五为江州刺史、镇南将军。",
        "王五说： 今年春天的雨水很多，应当早些修好河堤。",
        "甲子日，军队走了三百里，得到马五百匹。",
        "他的父亲和哥哥都很喜欢读《诗经》和《论语》，家里有书三千卷。",
    ],
    "laws": [
        "第三条 用人单位应当自收到通知之日起三十日内答复劳动者。",
        "第四条 违反本条例第三条第二款规定的，由公安机关处五百元以上一千元以下罚款。",
        "第五条 采购人与供应商应当在七日内签订合同，并报县级以上人民政府备案。",
        "（一）违反《某某市养犬管理办法》的；",
    ],
    "kdconv": [
        "张三的国籍是中国",
        "张三的职业是演员",
        "云陌山庄，周边景点，云陌湖",
        "这部电影2004年06月25日在美国上映，片长120分钟。",
    ],
    "csl": [
        "云陌河流域水土保持研究",
        "采用实验方法研究了云陌河流域的水土保持,结果表明水土保持效果提高了15%.",
        "水土保持_云陌河流域_生态",
    ],
    "paddle": ["返回 ``Tensor``，数据类型与 ``x`` 一致。", "- **axis** (int，可选) - 沿着哪个维度计算。"],
}
NAMES = ["云陌", "江州制造", "好得快", "三味茶"]


def made(count: int, seed: int = 0, lines: Mapping[str, Sequence[str]] = LINES) -> list[Exercise]:
    return list(islice(passages(lines, NAMES, random.Random(seed)), count))


def check(exercise: Exercise) -> None:
    """What holds of every exercise."""
    assert exercise.asked, "something is asked"
    assert len(set(exercise.asked)) == len(exercise.asked) <= 9
    assert all(name == name.strip() and name for name in exercise.asked)
    assert list(exercise.labels) == [name for name in exercise.asked if name in exercise.labels]
    assert sum(map(len, exercise.labels.values())) <= 30
    assert 8 <= len(exercise.text) <= 420
    for strings in exercise.labels.values():
        at = 0
        for string in strings:
            place = exercise.text.find(string, at)
            assert string and place >= 0, (string, exercise)
            # The next string may lie inside this one or overlap it, but does not begin before it.
            at = place + 1
    assert in_text_order(exercise.labels, exercise.text, LabelSchema(exercise.asked)) == exercise.labels


def test_strings_stand_in_the_text_in_its_order_and_only_asked_types_are_labelled() -> None:
    for exercise in made(3000):
        check(exercise)


def test_the_same_seed_gives_the_same_exercises() -> None:
    assert made(500, seed=3) == made(500, seed=3)
    assert made(100, seed=3) != made(100, seed=4)


def test_kinds_and_names_vary() -> None:
    some = made(4000)
    kinds = Counter(exercise.kind for exercise in some)
    assert len(kinds) > 20
    assert max(kinds.values()) < 1000
    assert len({name for exercise in some for name in exercise.asked}) > 1000
    assert {len(exercise.asked) for exercise in some} == set(range(1, 10))
    counts = [sum(map(len, exercise.labels.values())) for exercise in some]
    assert 3.5 < sum(counts) / len(counts) < 7
    assert 0.05 < counts.count(0) / len(counts) < 0.15


@pytest.mark.parametrize("source", [*LINES, None])
def test_any_source_may_be_missing(source: str | None) -> None:
    lines = {} if source is None else {name: own for name, own in LINES.items() if name != source}
    for exercise in made(300, lines=lines):
        check(exercise)


def test_a_single_line_without_anything_to_find_does_no_harm() -> None:
    for exercise in made(300, lines={name: ["此处什么也没有，只有一句话。"] for name in LINES}):
        check(exercise)


def labelled(source: str, text: str) -> dict[str, list[str]]:
    """What the patterns of a source find, by key."""
    spans, _, _ = found(text, BY_SOURCE[source])
    strings: dict[str, list[str]] = {}
    for start, end, key in spans:
        strings.setdefault(key, []).append(text[start:end])
    return strings


def test_patterns_of_history() -> None:
    text = "洪武三年正月初九，军队走了三百里，得到马五百匹，读《诗经》。"
    assert labelled("histories-modern", text) == {
        "era": ["洪武"],
        "dated": ["洪武三年"],
        "month": ["正月"],
        "day": ["初九"],
        "li": ["三百里"],
        "horses": ["五百匹"],
        "title": ["诗经"],
        "titled": ["《诗经》"],
    }


def test_patterns_of_law() -> None:
    text = (
        "违反本条例第三条第二款规定的，由公安机关处五百元以上一千元以下罚款，并在三十日内报县级以上人民政府备案。"
    )
    assert labelled("laws", text) == {
        "article": ["第三条"],
        "clause": ["第二款"],
        "police": ["公安机关"],
        "money": ["五百元", "一千元"],
        "penalty": ["罚款"],
        "term": ["三十日"],
        "government": ["县级以上人民政府"],
    }


def test_a_type_in_doubt_is_neither_labelled_nor_said_to_be_missing() -> None:
    for source, text, key in (
        ("histories-modern", "某某三年，又到洪武四年，天下大旱。", "era"),
        ("histories-modern", "走了三百里，又走了七里多的路。", "li"),
        ("laws", "由北京市高级人民法院和中级人民法院管辖。", "court"),
        ("kdconv", "他是中国人，后来去了不丹王国。", "country"),
    ):
        spans, names, absent = found(text, BY_SOURCE[source])
        doubtful = next(finder.names for finder in BY_SOURCE[source] if finder.key == key)
        assert key not in names and doubtful not in absent
        assert all(own != key for _, _, own in spans)


def test_lives_appointments_and_speeches() -> None:
    shelf, draw = Shelf(LINES), random.Random(0)

    def strings(passage: Passage | None) -> set[tuple[str, str]]:
        assert passage is not None
        return {(key, passage.text[start:end]) for start, end, key in passage.spans}

    several = set().union(*(strings(passage) for passage in islice(lives(shelf, draw), 40)))
    assert several == {
        ("name", "张三"), ("style", "伯平"), ("home", "江州云陌"),
        ("name", "李四"), ("style", "仲安"), ("home", "河东安邑"),
    }  # fmt: skip
    assert strings(next(appointments(shelf, draw))) == {
        ("office", "江州刺史"),
        ("office", "镇南将军"),
        ("man", "王五"),
    }
    assert strings(next(speeches(shelf, draw))) == {
        ("speaker", "王五"),
        ("speech", "今年春天的雨水很多，应当早些修好河堤。"),
    }


def test_forms_name_only_makers_that_exist_and_fields_that_they_have() -> None:
    values = Values(random.Random(0), NAMES, "天地玄黄")
    for kind in FORM_KINDS:
        assert kind.makers.keys() == kind.names.keys()
        for makers in kind.makers.values():
            assert all(values.make(maker) for maker in makers)
        for sentence in kind.sentences:
            fields = {part for i, part in enumerate(sentence.replace("}", "{").split("{")) if i % 2}
            assert fields <= kind.makers.keys(), (kind.name, fields - kind.makers.keys())
    assert all(name in WORDS or hasattr(values, name) for name in FAMILIES)


def test_an_ambiguous_order_gives_no_exercise() -> None:
    # The second 云陌 is labelled, but the product would take the label for the first, which stands before 江州.
    names = {"a": ("地名",)}
    doubtful = Passage("云陌无事，江州云陌有事。", [(5, 7, "a"), (7, 9, "a")], names, "test", whole=True)
    assert not list(exercises(doubtful, random.Random(0)))
    clear = Passage("云陌无事，江州云陌有事。", [(0, 2, "a"), (5, 7, "a"), (7, 9, "a")], names, "test", whole=True)
    (exercise,) = exercises(clear, random.Random(0))
    assert exercise.labels == {"地名": ["云陌", "江州", "云陌"]}


def test_exercises_from_the_corpus(test_data: Path) -> None:
    def head(name: str) -> list[str]:
        with lzma.open(test_data / "corpus" / f"{name}.txt.xz", "rt", encoding="utf-8") as file:
            return [line.rstrip("\n") for line in islice(file, 20_000)]

    lines = {name: head(name) for name in LINES}
    names = head("names/company-short-names")
    some = list(islice(passages(lines, names, random.Random(0)), 3000))
    for exercise in some:
        check(exercise)
    assert {"laws-parties", "triples-role", "history-lives", "history-offices", "pattern-laws"} <= {
        exercise.kind for exercise in some
    }
