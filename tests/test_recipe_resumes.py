"""The made-up biographies: their marks, their variety, their sizes."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from recipes.yuan2_mini import lexicon
from recipes.yuan2_mini.biographies_person import Executive
from recipes.yuan2_mini.firms import relative
from recipes.yuan2_mini.grammar import Grammar, joined, rules_in
from recipes.yuan2_mini.resumes import GRAMMAR, LONGEST, dense, executive
from recipes.yuan2_mini.segments import Segment, text_of

TAGS = {"NAME", "CONT", "RACE", "TITLE", "EDU", "PRO", "ORG", "LOC"}


@pytest.fixture(scope="module")
def texts() -> list[list[Segment]]:
    draw = random.Random(20)
    return [executive(draw) for _ in range(4000)]


def test_the_same_seed_gives_the_same_text() -> None:
    first, second = ([executive(random.Random(seed)) for seed in range(40)] for _ in range(2))
    assert first == second
    assert len({text_of(segments) for segments in first}) == 40


def test_segments_are_marked_strings_without_blanks_at_the_ends_of_entities(texts: list[list[Segment]]) -> None:
    for segments in texts:
        assert all(string and (tag is None or tag in TAGS) for string, tag in segments)
        assert joined(segments) == segments
        for string, tag in segments:
            if tag:
                assert string == string.strip(" 、，；。：,;:|[]<>（("), segments


def test_texts_hold_no_trace_of_the_grammar(texts: list[list[Segment]]) -> None:
    for segments in texts:
        text = text_of(segments)
        assert not re.search(r"[<>\[\]|=_\n\t]|，，|。。|、、|；；|；。|，。|None", text), text


def test_sizes_go_from_fragments_to_whole_biographies(texts: list[list[Segment]]) -> None:
    sizes = sorted(len(text_of(segments)) for segments in texts)
    assert sizes[0] >= 8 and sizes[-1] <= LONGEST
    assert 25 <= sizes[len(sizes) // 2] <= 70
    assert sizes[len(sizes) // 20] < 20 and sizes[-len(sizes) // 20] > 140


def test_every_type_is_frequent_and_some_texts_have_none(texts: list[list[Segment]]) -> None:
    with_tag = Counter(tag for segments in texts for tag in {tag for _, tag in segments})
    least = {"NAME": 0.2, "CONT": 0.05, "RACE": 0.05, "TITLE": 0.6, "EDU": 0.2, "PRO": 0.1, "ORG": 0.6, "LOC": 0.03}
    for tag, share in least.items():
        assert with_tag[tag] / len(texts) > share, tag
    empty = sum(all(tag is None for _, tag in segments) for segments in texts) / len(texts)
    assert 0.03 < empty < 0.2


def test_entities_are_varied(texts: list[list[Segment]]) -> None:
    entities = Counter((tag, string) for segments in texts for string, tag in segments if tag)
    distinct = Counter(tag for tag, _ in entities)
    total = Counter({tag: 0 for tag in TAGS})
    for (tag, _), count in entities.items():
        total[tag] += count
    share = {tag: distinct[tag] / total[tag] for tag in TAGS}
    assert share["NAME"] > 0.8 and share["ORG"] > 0.6 and share["PRO"] > 0.25 and share["LOC"] > 0.6, share
    assert distinct["TITLE"] > 2000 and distinct["EDU"] > 40


def test_brands_of_the_caller_are_used() -> None:
    draw = random.Random(4)
    found = sum("丙丁戊" in text_of(executive(draw, ["丙丁戊"])) for _ in range(400))
    assert found > 60


def test_dense_passages_are_full_of_entities_and_repeat_names_and_posts() -> None:
    draw = random.Random(5)
    passages = [dense(draw) for _ in range(300)]
    for segments in passages:
        assert 50 <= len(text_of(segments)) <= 240
    counts = sorted(sum(tag is not None for _, tag in segments) for segments in passages)
    assert counts[0] >= 5 and counts[150] >= 10 and counts[-1] >= 20, counts
    again = 0
    for segments in passages:
        posts = [string for string, tag in segments if tag == "TITLE"]
        again += len(set(posts)) < len(posts)
    assert again > 60, again


def test_firms_of_one_family_bear_its_name() -> None:
    draw = random.Random(6)
    firms = [relative(draw, "丙丁") for _ in range(300)]
    assert 240 < sum("丙丁" in firm for firm in firms) < 300 and len(set(firms)) > 200


def test_every_rule_and_every_template_can_be_spoken() -> None:
    for rule in (*rules_in("biography_openings"), *rules_in("biography_careers")):
        for seed in range(30):
            who = Executive(random.Random(seed), None, "陆一鸣", False, "公司", "云陌股份", "月", "至", 2001)
            segments = GRAMMAR.expand(rule, who)
            assert all(tag is None or tag in TAGS for _, tag in segments)


def test_a_grammar_takes_alternatives_by_weight() -> None:
    grammar: Grammar[Executive] = Grammar(
        {"top": ("3 甲<own>[丙|丁[戊|]|]", "己")}, {"own": lambda who, out: out.append((who.own, "ORG"))}
    )
    draw = random.Random(1)
    who = Executive(draw, None, "陆一鸣", False, "乙", "云陌股份", "月", "至", 2001)
    seen = Counter(text_of(grammar.expand("top", who)) for _ in range(2000))
    assert set(seen) == {"甲乙丙", "甲乙丁戊", "甲乙丁", "甲乙", "己"}
    assert 400 < seen["己"] < 600


@pytest.mark.parametrize("rules", [{"top": ("<nobody>",)}, {"top": ("[甲|乙",)}])
def test_a_broken_grammar_is_refused(rules: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(AssertionError):
        Grammar(rules, {})


def test_every_word_of_the_lexicon_can_be_drawn() -> None:
    draw = random.Random(2)
    words = (
        *(lexicon.person, lexicon.place, lexicon.country, lexicon.ethnic_group, lexicon.date, lexicon.period),
        *(lexicon.organisation, lexicon.university, lexicon.faculty, lexicon.company, lexicon.hospital),
        *(lexicon.post, lexicon.rank, lexicon.degree, lexicon.subject, lexicon.birth, lexicon.deputy),
        *(lexicon.agency, lexicon.standing),
    )
    for word in words:
        assert all(re.fullmatch(r"\S+", word(draw)) for _ in range(500)), word
    for kind in lexicon.KINDS:
        assert all(re.fullmatch(r"\S+", lexicon.post_in(draw, kind)) for _ in range(200)), kind
        assert all(re.fullmatch(r"\S+", lexicon.KINDS[kind](draw, None)) for _ in range(200)), kind


def test_a_short_name_is_the_head_of_the_long_one() -> None:
    draw = random.Random(3)
    assert {lexicon.short_of(draw, "江苏云陌精密机械股份有限公司")[:2] for _ in range(50)} == {"云陌"}
