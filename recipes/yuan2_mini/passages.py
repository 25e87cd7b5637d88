"""Extraction exercises of every kind but résumés: from the corpus, from made-up forms, and in copying as such."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from recipes.yuan2_mini import (
    passages_copy,
    passages_forms,
    passages_history,
    passages_laws,
    passages_patterns,
    passages_triples,
)
from recipes.yuan2_mini.passages_asking import HAN, Passage, Shelf, exercises
from recipes.yuan2_mini.passages_values import Values
from recipes.yuan2_mini.segments import Exercise

PLAIN = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出昆冈"
"""Characters for strings without sense, should the corpus give none."""


def passages(lines: Mapping[str, Sequence[str]], names: Sequence[str], draw: random.Random) -> Iterator[Exercise]:
    """Endless exercises, kinds mixed. `lines`: source (histories-modern, laws, kdconv, csl, paddle) to its lines,
    a source may be missing; `names`: company short names. The same arguments give the same exercises."""
    shelf = Shelf(lines)
    values = Values(draw, names, _characters(shelf, draw))
    makers = _makers(shelf, values)
    weights = [weight for weight, _ in makers]
    streams = [stream for _, stream in makers]
    while True:
        passage = next(draw.choices(streams, weights)[0])
        if passage is not None:
            yield from exercises(passage, draw)


def _makers(shelf: Shelf, values: Values) -> list[tuple[float, Iterator[Passage | None]]]:
    """Weight and endless stream of each family of kinds."""
    made_up = [
        (30.0, passages_forms.forms(values)),
        (5.0, passages_copy.invented(values)),
        (4.0, passages_copy.members(values)),
    ]
    own = {
        passages_history.SOURCE: [
            (3.0, passages_history.lives(shelf, values.draw)),
            (7.0, passages_history.appointments(shelf, values.draw)),
            (3.0, passages_history.speeches(shelf, values.draw)),
        ],
        "laws": [(7.0, passages_laws.parties(shelf, values))],
        "kdconv": [(6.0, passages_triples.triples(shelf, values.draw))],
        "csl": [(3.0, passages_triples.papers(shelf, values.draw))],
    }
    made_up += [stream for source, streams in own.items() if shelf.has(source) for stream in streams]
    if not any(shelf.has(source) for source in passages_patterns.BY_SOURCE):
        return made_up
    return [
        *made_up,
        (16.0, passages_patterns.patterns(shelf, values.draw)),
        (8.0, passages_copy.marked(shelf, values)),
        (5.0, passages_copy.clauses(shelf, values)),
        (4.0, passages_copy.after_words(shelf, values)),
    ]


def _characters(shelf: Shelf, draw: random.Random) -> str:
    """Han characters as frequent as in the corpus, without those that forms use as words of their own."""
    sources = [source for source in sorted(shelf.lines) if shelf.has(source)]
    found = (
        "".join(HAN.findall("".join(shelf.line(draw.choice(sources), draw) for _ in range(2000))))
        if sources
        else ""
    )
    return found or PLAIN
