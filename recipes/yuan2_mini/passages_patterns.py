"""Patterns in real text whose every match is certain: marks, dates, numbers, closed word classes."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from recipes.yuan2_mini.passages_asking import Passage, Shelf, Span
from recipes.yuan2_mini.wordlists import words

NUMERAL = "〇零一二三四五六七八九十百千万亿"
_YEAR = f"(?:元|[{NUMERAL}]+)年"
_MONTH = "(?:闰?(?:十[一二]|[二三四五六七八九十]|正)月|闰?(?:一|腊)月)"
_DAY = "(?:初[一二三四五六七八九十]日?|(?:二?十|三十)?[一二三四五六七八九]日|(?:二|三)?十日)"
_LEFT = r"(?:(?<![\u4e00-\u9fff）])|(?<=[由向经报当对受被与至请为]))"
"""No Han character, or one that cannot belong to an organisation's name."""


@dataclass(frozen=True, slots=True)
class Finder:
    """A type of strings in running text: every match of `pattern` (its group 1, where it has one)."""

    key: str
    names: tuple[str, ...]
    pattern: re.Pattern[str]
    doubt: re.Pattern[str] | None
    """What, with the matches blotted out (□), makes one more occurrence thinkable: such a text is not asked."""


def _sections() -> dict[str, list[str]]:
    """Rows of lexicon/patterns.txt by the section's name."""
    sections: dict[str, list[str]] = {}
    for row in words("patterns"):
        if row.startswith("# "):
            sections[row[2:]] = []
        elif row:
            sections[list(sections)[-1]].append(row)
    return sections


def _finders(rows: Sequence[str], parts: Mapping[str, str]) -> tuple[Finder, ...]:
    """Rows of key, names, pattern and, optionally, doubt, parted by two blanks; `<NAME>` stands for a part."""
    finders = []
    for row in rows:
        cells = row.split("  ")
        for name, value in parts.items():
            cells = [cell.replace(f"<{name}>", value) for cell in cells]
        doubt = re.compile(cells[3]) if len(cells) > 3 else None
        finders.append(Finder(cells[0], tuple(cells[1].split("/")), re.compile(cells[2]), doubt))
    return tuple(finders)


def _by_source() -> dict[str, tuple[Finder, ...]]:
    sections = _sections()
    own = {"N": NUMERAL, "YEAR": _YEAR, "MONTH": _MONTH, "DAY": _DAY, "LEFT": _LEFT}
    parts = {**own, **dict(row.split("  ", 1) for row in sections.pop("parts"))}
    finders = {name: _finders(rows, parts) for name, rows in sections.items()}
    everywhere = finders["everywhere"]
    return {
        "histories-modern": (*everywhere, *finders["history"]),
        "laws": (*everywhere, *finders["laws"]),
        "kdconv": (*everywhere, *finders["dialogues"]),
        "csl": (*everywhere, *finders["papers"]),
        # Brackets are code there as often as not.
        "paddle": (*everywhere[:3], *finders["manuals"]),
    }


BY_SOURCE = _by_source()
WEIGHTS = {"histories-modern": 6.0, "laws": 4.0, "kdconv": 1.5, "csl": 1.5, "paddle": 1.5}
_LONG = 260
_BLANK = re.compile("(?<=[^\x00-\x7f]) +| +(?=[^\x00-\x7f])")


def found(
    text: str, finders: Sequence[Finder]
) -> tuple[list[Span], dict[str, tuple[str, ...]], list[tuple[str, ...]]]:
    """The spans of every type that is free of doubt, the names of those types, and the types that do not occur."""
    spans: list[Span] = []
    names: dict[str, tuple[str, ...]] = {}
    absent: list[tuple[str, ...]] = []
    for finder in finders:
        own = [match.span(match.lastindex or 0) for match in finder.pattern.finditer(text)]
        if finder.doubt is not None and finder.doubt.search(_masked(text, own)):
            continue
        if own:
            names[finder.key] = finder.names
            spans += [(start, end, finder.key) for start, end in own]
        else:
            absent.append(finder.names)
    return spans, names, absent


def _masked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text with its known strings blotted out."""
    pieces, last = [], 0
    for start, end in spans:
        pieces += [text[last:start], "□" * (end - start)]
        last = end
    return "".join([*pieces, text[last:]])


def patterns(shelf: Shelf, draw: random.Random) -> Iterator[Passage | None]:
    """Lines of the corpus in which something is found; now and then any line, so that nothing is an answer too."""
    sources = [source for source in BY_SOURCE if shelf.has(source)]
    weights = [WEIGHTS[source] for source in sources]
    while True:
        source = draw.choices(sources, weights)[0]
        # A text with more to find is worth more: the best of a few.
        tries = 1 if draw.random() < 0.15 else draw.choice((6, 12, 20))
        best: Passage | None = None
        for _ in range(tries):
            text = _text(source, shelf, draw)
            if not 8 <= len(text) <= _LONG:
                continue
            spans, names, absent = found(text, BY_SOURCE[source])
            if best is None or len(names) > len(best.names):
                best = Passage(text, spans, names, f"pattern-{source.split('-')[0]}", absent)
        yield best if best is not None and (best.spans or tries == 1) else None


def _text(source: str, shelf: Shelf, draw: random.Random) -> str:
    count = 1 if draw.random() < 0.7 else draw.choice((2, 2, 3))
    gap = "\n" if source == "paddle" and draw.random() < 0.5 else ""
    lines = shelf.run(source, count, draw)
    text = gap.join(line if line[-1] in "。！？；：” " or gap or count == 1 else line + "。" for line in lines)
    if source == "histories-modern":
        # These lines have blanks where the quotation marks were.
        text = text.replace("： ", "：").replace(" ", "") if draw.random() < 0.8 else text.strip()
    if source == "kdconv":
        # The crawled texts have stray blanks, and the statements' long values an English name.
        text = _BLANK.sub("", text).replace("的Information是", "：").replace("，Information，", "：")
    if source == "csl":
        text = text.replace("_", "；")
    if len(text) > _LONG:
        at = max(text.rfind(stop, 0, _LONG) for stop in "。；，.;,")
        text = text[: at + 1] if at > 30 else text[:_LONG]
    return text
