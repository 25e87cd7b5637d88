"""Synthetic résumé passages of everybody who is no listed company's executive.

Doctors, teachers, officials, soldiers, farmers, athletes, artists, cooks, drivers, workers, founders, first-job
seekers: staff pages, forms, letters, notices, news, obituaries, lists. The vocabulary of each trade, the clauses
and the papers are grammars in the modules beside this one (careers_*.py); here they are joined and a passage is
finished.
"""

from __future__ import annotations

import random
import re

from . import (
    careers_bios,
    careers_care,
    careers_forms,
    careers_lexicon,
    careers_news,
    careers_papers,
    careers_state,
    careers_trades,
)
from .careers_grammar import Grammar, marked_segments
from .careers_life import WORDS, Life
from .lexicon import Brands
from .segments import Segment, text_of
from .wordlists import Weighted

_MODULES = (
    careers_lexicon,
    careers_care,
    careers_state,
    careers_trades,
    careers_forms,
    careers_bios,
    careers_papers,
    careers_news,
)
GRAMMAR = Grammar(
    tuple(value for module in _MODULES for name, value in vars(module).items() if name.isupper()),
    WORDS,
)
FORMS = Weighted(
    (
        (22, "bio"),
        (5, "bio_long"),
        (19, "fragment"),
        (6, "alias"),
        (11, "paper"),
        (9, "first"),
        (3, "letter"),
        (5, "plain"),
        (6, "notice"),
        (8, "news"),
        (3, "obituary"),
        (2.5, "citation"),
        (4.5, "speaker_intro"),
        (7, "list"),
        (3.5, "card"),
    )
)
SHORTEST, LONGEST = 8, 350
_HALF = str.maketrans("，；：。（）", ",;:.()")
_DOUBLED = re.compile(r"县(?=[县市区])")
"""攸县 is a county's whole name: no 攸县县."""
_BREAKS = re.compile(r"[，；。]")


def career(draw: random.Random, brands: Brands = None) -> list[Segment]:
    """A passage of 8 to 350 characters, in pieces, with its entities.

    `brands` are short names of firms to use beside invented ones.
    """
    while True:
        life = Life.begun(draw, GRAMMAR.trades, brands)
        marked = _DOUBLED.sub("", GRAMMAR.tell(life, FORMS.pick(draw)))
        pieces = _finished(draw, marked_segments(marked))
        if SHORTEST <= len(text_of(pieces)) <= LONGEST:
            return pieces


def _finished(draw: random.Random, pieces: list[Segment]) -> list[Segment]:
    """The marks of layout: line breaks, half-width signs, a missing end, a cut."""
    pieces = [(string.replace("¶", "\n"), tag) for string, tag in pieces]
    chance = draw.random()
    if chance < 0.05:
        pieces = [(string.translate(_HALF), tag) for string, tag in pieces]
    elif chance < 0.12:
        pieces = _cut(draw, pieces)
    elif chance < 0.2 and pieces[-1][1] is None:
        pieces = [*pieces[:-1], (pieces[-1][0].removesuffix("。"), None)]
    return [piece for piece in pieces if piece[0]]


def _cut(draw: random.Random, pieces: list[Segment]) -> list[Segment]:
    """The passage from one break to a later one, as a splitter of lines leaves it."""
    breaks = [
        (index, match.end())
        for index, (string, tag) in enumerate(pieces)
        if tag is None
        for match in _BREAKS.finditer(string)
    ]
    if len(breaks) < 2:
        return pieces
    index, end = draw.choice(breaks[1:])
    return [*pieces[:index], (pieces[index][0][:end], None)]
