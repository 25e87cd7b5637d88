"""The sample résumés that ship: both forms of each row agree, the splits are apart, nothing is borrowed."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import pytest

SIZES = {"train": 240, "test": 80}
TYPES = {
    "NAME": "姓名",
    "CONT": "国籍",
    "RACE": "种族",
    "TITLE": "职位",
    "EDU": "教育背景",
    "PRO": "专业",
    "ORG": "组织名",
    "LOC": "地名",
}
MARKUP = re.compile(r"\[([^\[\]]+)\]\(([A-Z]+)\)")
FOLDER = files("yuantune.resources") / "resumes"
WINDOW = 13
"""Characters that nobody writes twice by chance."""

both_splits = pytest.mark.parametrize("split", SIZES)


class Span(NamedTuple):
    start: int
    end: int
    tag: str


def lines(name: str) -> list[str]:
    """Lines of a shipped file, which ends with a line break and holds no blank or foreign one."""
    content = (FOLDER / name).read_bytes().decode("utf-8")
    assert content.endswith("\n") and "\r" not in content
    rows = content[:-1].split("\n")
    assert all(row and row == row.strip() for row in rows)
    return rows


def parse(marked: str) -> tuple[str, list[Span]]:
    """The bare text of one marked row and its spans, read on its own, not with the package's readers."""
    text, spans, cursor = "", [], 0
    for match in MARKUP.finditer(marked):
        text += marked[cursor : match.start()]
        spans.append(Span(len(text), len(text) + len(match[1]), match[2]))
        text += match[1]
        cursor = match.end()
    return text + marked[cursor:], spans


@cache
def marked_rows(split: str) -> list[tuple[str, list[Span]]]:
    return [parse(row) for row in lines(f"{split}.marked.txt")]


def strings(split: str, tag: str) -> set[str]:
    """Every string that the split labels with `tag`."""
    return {text[s.start : s.end] for text, spans in marked_rows(split) for s in spans if s.tag == tag}


@both_splits
def test_json_lines_follow_from_the_marked_text(split: str) -> None:
    expected = []
    for text, spans in marked_rows(split):
        labels: dict[str, list[str]] = {}
        for tag, name in TYPES.items():
            found = [text[s.start : s.end] for s in spans if s.tag == tag]
            if found:
                labels[name] = found
        expected.append(json.dumps({"text": text, "labels": labels}, ensure_ascii=False))
    assert lines(f"{split}.jsonl") == expected
    assert len(expected) == SIZES[split]


@both_splits
def test_markup_leaves_nothing_behind(split: str) -> None:
    for text, spans in marked_rows(split):
        assert not re.search(r"[\[\]\s]", text), text
        assert not any(f"({tag})" in text for tag in TYPES), text
        assert {s.tag for s in spans} <= TYPES.keys()
        for span in spans:
            entity = text[span.start : span.end]
            assert entity.strip("，。；：、,;:") == entity, text
            assert entity.count("（") == entity.count("）"), text


@both_splits
def test_a_string_occurs_as_often_as_it_is_labelled(split: str) -> None:
    for line in lines(f"{split}.jsonl"):
        row = json.loads(line)
        assert list(row) == ["text", "labels"]
        for entities in row["labels"].values():
            for entity, times in Counter(entities).items():
                assert row["text"].count(entity) >= times, (entity, row["text"])


def test_no_row_twice() -> None:
    texts = [text for split in SIZES for text, _ in marked_rows(split)]
    assert len(set(texts)) == len(texts) == sum(SIZES.values())


def test_splits_share_no_person_and_no_organisation() -> None:
    assert not strings("train", "NAME") & strings("test", "NAME")
    shared = strings("train", "ORG") & strings("test", "ORG")
    assert {name for name in shared if len(name) > 3} == set()


@both_splits
def test_variety(split: str) -> None:
    rows = marked_rows(split)
    entities = [len(spans) for _, spans in rows]
    assert sum(n == 0 for n in entities) >= 4
    assert sum(n == 1 for n in entities) >= 4
    assert sum(n >= 20 for n in entities) >= 4
    assert {s.tag for _, spans in rows for s in spans} == TYPES.keys()
    repeating = [text for text, spans in rows if len({text[s.start : s.end] for s in spans}) < len(spans)]
    assert len(repeating) >= 5
    lengths = [len(text) for text, _ in rows]
    assert min(lengths) < 15 and max(lengths) > 180


def test_no_two_rows_have_one_outline() -> None:
    """Entities by type, figures as one sign: rows of a template would share theirs."""
    outlines = []
    for split in SIZES:
        for marked in lines(f"{split}.marked.txt"):
            outline = MARKUP.sub(lambda match: f"<{match[2]}>", marked)
            outlines.append(re.sub(r"[0-9〇零一二三四五六七八九十]+", "#", outline))
    assert [outline for outline, times in Counter(outlines).items() if times > 1] == []


def test_datasheet_gives_the_counts() -> None:
    datasheet = (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
    for split in SIZES:
        counts = Counter(s.tag for _, spans in marked_rows(split) for s in spans)
        cells = [split, *(counts[tag] for tag in TYPES), counts.total()]
        assert "| " + " | ".join(map(str, cells)) + " |" in datasheet


def test_licence_ships() -> None:
    assert (FOLDER / "LICENSE").read_text(encoding="utf-8").startswith("MIT License\n")


def test_nothing_comes_from_resumener(test_data: Path) -> None:
    borrowed: set[str] = set()
    splits = sorted((test_data / "data" / "resumener").glob("*.bmes"))
    assert splits
    for path in splits:
        for block in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
            sentence = "".join(line[0] for line in block.splitlines() if line)
            borrowed.update(sentence[i : i + WINDOW] for i in range(len(sentence) - WINDOW + 1))
    for split in SIZES:
        for text, spans in marked_rows(split):
            for start in range(len(text) - WINDOW + 1):
                touches = any(s.start < start + WINDOW and s.end > start for s in spans)
                assert not (touches and text[start : start + WINDOW] in borrowed), text
