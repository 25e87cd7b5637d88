"""Pretraining never sees a held-out row: the block list against a reading of the rows that is its own."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipes.yuan2_mini.exercises import Rows, exercises
from recipes.yuan2_mini.files import read_lines
from recipes.yuan2_mini.held_out import SHORTEST, WINDOW, HeldOut, han
from recipes.yuan2_mini.sources import NAMES, SOURCES, Cleaner

from yuantune.data.record import Record, Source
from yuantune.resources import RESOURCES

RESUMENER = ("train.char.bmes", "dev.char.bmes")
WHERE = Source("rows", 1)


def row(text: str, *entities: str) -> Record:
    return Record(WHERE, text, labels={"组织名": list(entities)})


# ------------------------------------------------------------------------------------------- the rule, by examples


def test_a_window_touches_an_entity_and_punctuation_hides_nothing() -> None:
    text = "二十世纪末他离开家乡以后，在江州云陌公司做了三年学徒然后去了别的地方继续生活"
    held_out = HeldOut([row(text, "江州云陌公司")])
    assert held_out.touches("他离开 家乡，以后在《江州》云陌！公司")
    assert held_out.touches("前言" + text + "后话")
    assert not held_out.touches("二十世纪末他离开家乡以后在")  # 13 characters, up to the entity.
    assert held_out.touches("十世纪末他离开家乡以后在江")
    assert not held_out.touches("在江州云陌公司做了三年学")  # 12 characters.
    assert not held_out.touches("然后去了别的地方继续生活")


def test_an_entity_without_han_characters_is_a_place_between_them() -> None:
    held_out = HeldOut([row("他后来在国外的学校读完了EMBA回到家乡继续做他的老本行", "EMBA")])
    assert held_out.touches("的学校读完了EMBA回到家乡继续做")
    assert not held_out.touches("他后来在国外的学校读完了学位")
    assert not held_out.touches("回到家乡继续做他的老本行的事")


def test_short_rows_block_themselves_and_bare_ones_nothing() -> None:
    held_out = HeldOut(
        [row("任江州云陌公司董事。", "江州云陌公司"), row("公司董事", "公司"), row("公司高级工程师们", "公司")]
    )
    assert held_out.touches("王某，任江州云陌公司董事、经理") and held_out.touches("公司高级工程师们")
    assert not held_out.touches("江州云陌公司董事") and not held_out.touches("公司董事")


@given(
    st.lists(st.tuples(st.text("甲乙丙", max_size=24), st.text("甲乙丙", min_size=1, max_size=3)), max_size=3),
    st.text("甲乙丙，a", max_size=60),
)
def test_the_quick_search_finds_what_the_simple_one_finds(rows: list[tuple[str, str]], text: str) -> None:
    held_out = HeldOut([row(own, entity) for own, entity in rows])
    assert held_out.touches(text) == bool(held_out.look(text)[1])


# ------------------------------------------------------------------- the promise, against the rows themselves


def reduced(characters: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    return [(char, inside) for char, inside in characters if "\u3400" <= char <= "\u9fff"]


def tagged(path: Path) -> Iterator[list[tuple[str, bool]]]:
    """Characters of the sentences of a file, and whether each stands in an entity."""
    for block in re.split(r"\n[ \t\r]*\n", path.read_text(encoding="utf-8")):
        yield [(line[0], line.split()[-1] != "O") for line in block.splitlines() if line.strip()]


def marked(path: Path) -> Iterator[list[tuple[str, bool]]]:
    """The same of the sample data's marked rows."""
    for line in path.read_text(encoding="utf-8").splitlines():
        characters: list[tuple[str, bool]] = []
        for entity, char in re.findall(r"\[([^\[\]]+)\]\([A-Z]+\)|(.)", line):
            characters += [(each, True) for each in entity] or [(char, False)]
        yield characters


@pytest.fixture(scope="module")
def forbidden(test_data: Path) -> set[str]:
    """Every stretch of 13 Han characters of a held-out row of which one is an entity's, read without the recipe."""
    folder = test_data / "data" / "resumener"
    rows = [row for name in RESUMENER for row in tagged(folder / name)]
    rows += marked(RESOURCES / "resumes" / "test.marked.txt")
    stretches: set[str] = set()
    for characters in map(reduced, rows):
        for start in range(len(characters) - 12):
            stretch = characters[start : start + 13]
            if any(inside for _, inside in stretch):
                stretches.add("".join(char for char, _ in stretch))
    assert len(stretches) > 10_000
    return stretches


@pytest.fixture(scope="module")
def held_out(test_data: Path) -> HeldOut:
    files = [test_data / "data" / "resumener" / name for name in RESUMENER]
    return HeldOut.read([*files, RESOURCES / "resumes" / "test.jsonl"])


@pytest.fixture(scope="module")
def corpus(test_data: Path, held_out: HeldOut) -> dict[str, list[str]]:
    """The first thousands of cleaned lines of each source."""
    cleaner = Cleaner(held_out)
    return {
        source.name: list(cleaner.clean(source, islice(read_lines(test_data / "corpus" / source.file), 5000)))
        for source in SOURCES
    }


def assert_free(texts: list[str], forbidden: set[str]) -> None:
    looked = 0
    for text in texts:
        bare = "".join(char for char in text if "\u3400" <= char <= "\u9fff")
        for start in range(len(bare) - 12):
            assert bare[start : start + 13] not in forbidden
            looked += 1
    assert looked > 50_000


def test_the_block_list_holds_every_forbidden_stretch(forbidden: set[str], held_out: HeldOut) -> None:
    assert forbidden <= held_out.windows
    for stretch in random.Random(0).sample(sorted(forbidden), 300):
        assert held_out.touches("，".join(stretch))


def test_no_line_of_text_holds_a_forbidden_stretch(corpus: dict[str, list[str]], forbidden: set[str]) -> None:
    assert_free([line for lines in corpus.values() for line in lines], forbidden)


def test_no_exercise_holds_a_forbidden_stretch(
    corpus: dict[str, list[str]], forbidden: set[str], held_out: HeldOut, test_data: Path
) -> None:
    names = list(read_lines(test_data / "corpus" / NAMES.file))
    draw = random.Random(20)
    rows = list(Rows(held_out).rows(exercises(corpus, names, draw), 3000, draw))
    assert_free([text for each in rows for text in each.values()], forbidden)


def test_rows_that_touch_are_left_out(held_out: HeldOut, forbidden: set[str]) -> None:
    """A generator that copied a row, or built it by chance, would not get it through."""
    from recipes.yuan2_mini.segments import Exercise

    copied = next(stretch for stretch in sorted(forbidden) if held_out.touches(stretch))
    made = [("executive", Exercise(text, {}, ("NAME",), "resume")) for text in (copied, "一段无关的文字。", copied)]
    rows = Rows(held_out)
    kept = list(rows.rows(iter(made), 1, random.Random(0)))
    assert len(kept) == 1 and "一段无关的文字" in kept[0]["input"]
    assert rows.counts["held out"] == 1


def test_what_is_compared_are_han_characters() -> None:
    assert han("2001年 A股，㐀字〇𠀀ー") == "年股㐀字𠀀"
    assert SHORTEST < WINDOW == 13
    assert json.loads('"\u4e00"') == han("一")
