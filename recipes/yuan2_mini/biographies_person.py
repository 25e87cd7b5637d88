"""Whom a biography is about, and the simplest terminals of its grammar."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from . import lexicon
from .dates import LINKS, STYLES
from .lexicon import Brands
from .segments import Segment
from .wordlists import Weighted

SELF_WORDS = Weighted(
    (
        (60, "公司"),
        (16, "本公司"),
        (3, "集团"),
        (2, "集团公司"),
        (2, "本行"),
        (1, "股份公司"),
        (1, "发行人"),
        (1, "有限公司"),
    )
)


@dataclass(slots=True)
class Executive:
    """Whom a biography is about, and what its wording keeps the same from clause to clause."""

    draw: random.Random
    brands: Brands
    name: str
    female: bool
    own: str
    """What the text calls the firm that publishes it."""
    home: str
    """That firm's name."""
    style: str
    link: str
    year: int
    kind: str = "company"
    """The kind of the last organisation, whose posts come next."""
    family: str = ""
    """The own name that many of the firms bear; empty where they have nothing in common."""
    told: set[str] = field(default_factory=set)
    """Facts that the text has already."""
    known: list[tuple[str, str]] = field(default_factory=list)
    """Organisations that the text has named, each with its kind."""


FAMILIES = 0.3
"""How often somebody's firms are mostly of one group."""


def someone(draw: random.Random, brands: Brands, families: float = FAMILIES) -> Executive:
    family = lexicon.own_name(draw, brands) if draw.random() < families else ""
    return Executive(
        draw=draw,
        brands=brands,
        name=lexicon.person(draw),
        female=draw.random() < 0.25,
        own=SELF_WORDS.pick(draw),
        family=family,
        home=lexicon.relative(draw, family) if family else lexicon.company(draw, brands),
        style=draw.choice(STYLES),
        link=draw.choice(LINKS),
        year=draw.randint(1975, 2014),
    )


Terminal = Callable[[Executive, list[Segment]], None]


def tagged(tag: str | None, word: Callable[[random.Random], str]) -> Terminal:
    return lambda who, out: out.append((word(who.draw), tag))


def picked(tag: str | None, *values: str) -> Terminal:
    return lambda who, out: out.append((who.draw.choice(values), tag))


def number(low: int, high: int) -> Terminal:
    return lambda who, out: out.append((str(who.draw.randint(low, high)), None))
