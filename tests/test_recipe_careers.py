"""The careers' generator: marked passages of many forms, the same for the same seed."""

from __future__ import annotations

import re
import string
from collections import Counter
from functools import cache
from itertools import pairwise
from random import Random

import pytest
from recipes.yuan2_mini.careers import FORMS, GRAMMAR, career
from recipes.yuan2_mini.careers_grammar import Grammar, marked_segments
from recipes.yuan2_mini.careers_life import LAST_YEAR, WORDS, Life, han_number, han_year, surname_of
from recipes.yuan2_mini.segments import Segment, text_of

TAGS = {"NAME", "CONT", "RACE", "TITLE", "EDU", "PRO", "ORG", "LOC"}
LEAST_SHARE = {
    **{"NAME": 0.5, "ORG": 0.6, "TITLE": 0.6},
    **{"EDU": 0.12, "PRO": 0.1, "LOC": 0.07, "RACE": 0.06, "CONT": 0.04},
}
"""Passages with at least one such entity."""
BRANDS = ["量衡", "拾羽", "Kestrel", "麦秧（北方）"]


@cache
def passages() -> list[list[Segment]]:
    draw = Random(11)
    return [career(draw, BRANDS) for _ in range(2000)]


def skeleton(segments: list[Segment]) -> str:
    return "".join(piece if tag is None else f"<{tag}>" for piece, tag in segments)


def test_the_same_seed_gives_the_same_passages() -> None:
    first, second, third = ([career(draw, BRANDS) for _ in range(50)] for draw in (Random(5), Random(5), Random(6)))
    assert first == second != third


def test_pieces_are_tagged_with_the_eight_types_and_leave_no_mark_behind() -> None:
    for segments in passages():
        assert all(piece and (tag is None or tag in TAGS) for piece, tag in segments)
        assert not set("[]{}<>¶*") & set(text_of(segments))
        assert not any(f"({tag})" in text_of(segments) for tag in TAGS)
        assert all(a or b for (_, a), (_, b) in pairwise(segments)), "two bare pieces meet"


def test_entities_begin_and_end_with_no_sign_of_their_own() -> None:
    for segments in passages():
        for piece, tag in segments:
            if tag is not None:
                assert piece == piece.strip(" 　\n，。；：、,;:") and "\n" not in piece, (piece, tag)


def test_lengths_are_those_of_resume_passages() -> None:
    lengths = sorted(len(text_of(segments)) for segments in passages())
    assert lengths[0] >= 8 and lengths[-1] <= 350
    assert 20 <= lengths[len(lengths) // 2] <= 80
    assert sum(20 <= length <= 80 for length in lengths) > 0.65 * len(lengths)


def test_every_type_has_its_share_and_some_passages_hold_none() -> None:
    found = Counter(tag for segments in passages() for tag in {tag for _, tag in segments if tag})
    total = len(passages())
    assert {tag: found[tag] / total for tag, least in LEAST_SHARE.items() if found[tag] < least * total} == {}
    empty = sum(not any(tag for _, tag in segments) for segments in passages())
    assert 0.02 * total < empty < 0.12 * total


def test_skeletons_and_entities_are_many() -> None:
    total = len(passages())
    assert len({skeleton(segments) for segments in passages()}) > 0.8 * total
    for tag, least in {"NAME": 0.9, "ORG": 0.85, "LOC": 0.7, "TITLE": 0.15}.items():
        strings = [piece for segments in passages() for piece, own in segments if own == tag]
        assert len(set(strings)) > least * len(strings), tag


def test_brands_enter_the_names_of_organisations() -> None:
    assert any("拾羽" in piece for segments in passages() for piece, tag in segments if tag == "ORG")


@pytest.mark.parametrize("form", FORMS.values)
def test_each_form_can_be_told_in_each_trade(form: str) -> None:
    for trade in GRAMMAR.trades:
        draw = Random(f"{form} {trade}")
        assert GRAMMAR.tell(Life.begun(draw, [trade]), form)


def test_no_rule_and_no_word_is_left_unused() -> None:
    """A rule is a form, a trade's, or filled into another."""
    filled = GRAMMAR.used | set(FORMS.values)
    own = {name for name in GRAMMAR.rules if name.split(".")[-1] not in GRAMMAR.used_by_trade}
    assert own - filled == set() == WORDS.keys() - filled
    assert set(FORMS.values) <= GRAMMAR.rules.keys()


def grammar(rules: str) -> Grammar:
    return Grammar((rules,), WORDS)


def told(rules: str, seed: int = 0, trade: str = "med") -> str:
    return grammar(rules).tell(Life.begun(Random(seed), [trade]), "start")


def test_a_choice_a_weight_and_a_repeat() -> None:
    assert {told("= start\nx<a|b|>y", seed) for seed in range(40)} == {"xay", "xby", "xy"}
    often = Counter(told("= start\na *9\nb", seed) for seed in range(200))
    assert often["a"] > 6 * often["b"] > 0
    different = "= start\n{letter*3、}\n= letter\n" + "\n".join(string.ascii_lowercase)
    assert all(len(set(told(different, seed).split("、"))) == 3 for seed in range(20))
    assert told("= start\n{letter+3-3;}\n= letter\nq") == "q"
    assert told("= start\n{letter+2}a|b\n= letter\nq") == "qa|b"


def test_a_key_returns_the_same_string_and_a_trade_has_its_own_rule() -> None:
    same = [told("= start\n{num:1} {num:1} {num}", seed).split() for seed in range(30)]
    assert all(a == b for a, b, _ in same) and any(b != c for _, b, c in same)
    rules = "= start\n{@place}\n= any.place\nanywhere\n= med.place\nclinic"
    assert (told(rules), told(rules, trade="law")) == ("clinic", "anywhere")


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("= start\n{nowhere}", "nothing fills nowhere"),
        ("= start\n{@nowhere}", "nothing fills @nowhere"),
        ("= start\na\n= start\nb", "given twice"),
        ("= num\na", "given twice"),
        ("= start\n<a|b", "has no >"),
        ("= start\na>b", "without its <"),
        ("= start\n{a b}", "no slot"),
    ],
)
def test_a_slip_in_the_rules_is_named(rules: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        grammar(rules)


def test_marked_text_in_pieces() -> None:
    pieces = [("张三", "NAME"), ("（兼）任", None), ("公司", "ORG"), ("董事", "TITLE"), ("。", None)]
    assert marked_segments("[张三](NAME)（兼）任[公司](ORG)[董事](TITLE)。") == pieces
    assert marked_segments("无") == [("无", None)]


def test_a_life_does_not_run_backwards() -> None:
    for seed in range(60):
        life = Life.begun(Random(seed), ["med"])
        life.dates = 1
        years = [int(year) for _ in range(4) for year in re.findall(r"\d{4}", WORDS["span"](life))]
        assert years == sorted(years) and life.born < years[0] and years[-1] <= LAST_YEAR


def test_numerals_and_surnames() -> None:
    assert [han_number(number) for number in (0, 3, 10, 17, 20, 45)] == ["零", "三", "十", "十七", "二十", "四十五"]
    assert han_year(1987) == "一九八七"
    names = ("张三", "欧阳牧", "司徒婉如", "诺敏高娃", "埃里克·桑", "EricSand")
    assert [surname_of(name) for name in names] == ["张", "欧阳", "司徒", "诺敏高娃", "埃里克·桑", "EricSand"]
