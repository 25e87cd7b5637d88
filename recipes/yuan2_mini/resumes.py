"""Biographies of executives, as annual reports and prospectuses print them, with their entities marked.

`executive` writes one: a whole biography, a few sentences of one, a sentence, or a fragment cut at a comma. The
wording is in lexicon/biography_openings.txt and biography_careers.txt (form: `grammar`); names, firms and posts
come from `lexicon`. Tags: NAME CONT RACE TITLE EDU PRO ORG LOC, after the conventions of the sample résumés.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from .biographies_facts import FACTS
from .biographies_person import Executive, Terminal, someone
from .biographies_work import WORK
from .dates import WIDE
from .grammar import Grammar, joined, rules_in
from .lexicon import Brands
from .segments import Segment
from .wordlists import Weighted


def _jobs(who: Executive, out: list[Segment]) -> None:
    """Clauses of one form, each a period and what was done in it."""
    draw = who.draw
    count = draw.choice((1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6))
    comma = draw.choice("；；；；，，。")
    form = JOB_FORMS.pick(draw)
    for place in range(count):
        if place:
            out.append((comma, None))
            if draw.random() < 0.25:
                form = JOB_FORMS.pick(draw)
        GRAMMAR.parts[form](who, out)


def _facts(who: Executive, out: list[Segment]) -> None:
    """Sex, nationality, birth, origin, schooling, rank: some, in one of the usual orders."""
    draw = who.draw
    order = ORDERS.pick(draw)
    chosen = [fact for fact in order if fact not in who.told and draw.random() < SHARES[fact]]
    chosen = chosen or ["birth", "edufact"]
    who.told.update(chosen)
    if draw.random() < 0.04:
        draw.shuffle(chosen)
    comma = COMMAS.pick(draw)
    for place, fact in enumerate(chosen):
        if place:
            out.append((comma, None))
        GRAMMAR.parts[fact](who, out)


COMMAS = Weighted(((90, "，"), (5, "、"), (2, "；"), (1, ","), (1, " "), (1, "。")))
SHARES = {
    "sex": 0.55,
    "nation": 0.45,
    "birth": 0.85,
    "racefact": 0.36,
    "originfact": 0.32,
    "partyfact": 0.28,
    "edufact": 0.8,
    "rankfact": 0.5,
}
"""How often a biography states each."""
ORDERS = Weighted(
    (
        (10, ("sex", "nation", "birth", "racefact", "originfact", "partyfact", "edufact", "rankfact")),
        (8, ("sex", "birth", "nation", "racefact", "partyfact", "edufact", "rankfact")),
        (6, ("sex", "racefact", "birth", "originfact", "partyfact", "edufact", "rankfact")),
        (4, ("sex", "nation", "racefact", "birth", "edufact", "partyfact", "rankfact")),
        (4, ("birth", "sex", "racefact", "originfact", "edufact", "partyfact", "rankfact")),
        (4, ("nation", "sex", "birth", "edufact", "rankfact")),
        (3, ("sex", "birth", "racefact", "partyfact", "edufact", "rankfact", "edufact")),
        (3, ("sex", "birth", "edufact", "rankfact", "partyfact")),
        (2, ("nation", "birth", "edufact", "rankfact", "partyfact")),
        (2, ("sex", "racefact", "originfact", "birth", "partyfact", "rankfact", "edufact")),
        (1, ("birth", "originfact", "partyfact", "rankfact")),
    )
)


def _blank_facts(who: Executive, out: list[Segment]) -> None:
    """Facts with blanks between them, as in a table."""
    for fact in ("sex", "birth", "racefact", "partyfact", "edufact", "rankfact"):
        if fact not in who.told and who.draw.random() < SHARES[fact] + 0.15:
            out.append((" ", None))
            GRAMMAR.parts[fact](who, out)


OWN: dict[str, Terminal] = {
    "facts": _facts,
    "blank_facts": _blank_facts,
    "jobs": _jobs,
}
CAREERS = rules_in("biography_careers")
JOB_RULES = {f"job {place}": (template,) for place, template in enumerate(CAREERS["job_form"])}
JOB_FORMS = Weighted((float(template.split(" ", 1)[0]), name) for name, (template,) in JOB_RULES.items())
GRAMMAR: Grammar[Executive] = Grammar(
    {**rules_in("biography_openings"), **CAREERS, **JOB_RULES}, {**FACTS, **WORK, **OWN}
)


def _whole(who: Executive) -> list[Segment]:
    """An opening, schooling, the career, what is held beside it, formulas: two to eight sentences."""
    draw = who.draw
    plan = ["opening"]
    if draw.random() < 0.45:
        plan.append("edusent.")
    plan += ["career"] * draw.choice((1, 1, 1, 2, 2, 3))
    plan += [
        extra
        for extra, share in (("side.", 0.3), ("honour.", 0.22), ("boiler", 0.25), ("notice", 0.12))
        if draw.random() < share
    ]
    out: list[Segment] = []
    for rule in plan:
        GRAMMAR.parts[rule.removesuffix(".")](who, out)
        if rule.endswith("."):
            out.append(("。", None))
    return joined(out)


def _sentence(rule: str, stop: str = "。") -> Callable[[Executive], list[Segment]]:
    return lambda who: [*GRAMMAR.expand(rule, who), (stop, None)]


def _sentences(text: list[Segment], stops: str) -> list[list[Segment]]:
    """The text cut behind each of the stops."""
    parts: list[list[Segment]] = [[]]
    for string, tag in text:
        if tag is not None:
            parts[-1].append((string, tag))
            continue
        rest = string
        while rest:
            cut = min((place for stop in stops if (place := rest.find(stop)) >= 0), default=-1) + 1
            parts[-1].append((rest[: cut or None], None))
            rest = rest[cut:] if cut else ""
            if cut:
                parts.append([])
    return [part for part in parts if part]


def _cut(who: Executive) -> list[Segment]:
    """A stretch of a biography from one stop to another: a sentence, or a clause or two."""
    draw = who.draw
    stops = draw.choice(("。", "。", "。；", "。；，"))
    parts = _sentences(_whole(who), stops)
    first = draw.randrange(len(parts))
    size = 1 if "，" not in stops else draw.choice((1, 2, 3, 5))
    return [segment for part in parts[first : first + size] for segment in part]


SHAPES: Weighted[Callable[[Executive], list[Segment]]] = Weighted(
    (
        (11, _whole),
        (33, _cut),
        (19, lambda who: GRAMMAR.expand("opening", who)),
        (20, lambda who: GRAMMAR.expand("career", who)),
        (5, _sentence("edusent")),
        (3, _sentence("side")),
        (4, lambda who: GRAMMAR.expand("boiler", who)),
        (4, lambda who: GRAMMAR.expand("notice", who)),
        (5, _sentence("past")),
        (4, _sentence("now")),
        (2, _sentence("jobs", "；")),
    )
)
DENSE: Weighted[Callable[[Executive], list[Segment]]] = Weighted(
    (
        (30, lambda who: GRAMMAR.expand("career", who)),
        (20, _sentence("past")),
        (12, _sentence("now")),
        (12, _sentence("jobs", "；")),
        (12, _cut),
        (14, _whole),
    )
)
SHORTEST, LONGEST = 8, 380
"""Characters."""
DENSE_SHORTEST, DENSE_LONGEST = 50, 240
LEAST = (5, 6, 7, 8, 9, 10, 12, 14, 17, 20)
"""Of a dense passage: its entities, at least; one is drawn."""
HALF = str.maketrans("，；：（）", ",;:()")
HALF_BRACKETS = str.maketrans("（）", "()")


def executive(draw: random.Random, brands: Brands = None) -> list[Segment]:
    """One biography or a part of one; `brands` are short names of firms to use beside invented ones."""
    while True:
        out = _dressed(draw, joined(SHAPES.pick(draw)(someone(draw, brands))))
        if SHORTEST <= sum(len(string) for string, _ in out) <= LONGEST:
            return out


def dense(draw: random.Random, brands: Brands = None) -> list[Segment]:
    """Posts and firms one after the other, with little between them: where a list is long, its places are lost.

    Many of the firms bear one name, and the posts come again and again: what was copied last does not tell where in
    the text it stood."""
    least = draw.choice(LEAST)
    while True:
        out = _dressed(draw, joined(DENSE.pick(draw)(someone(draw, brands, families=0.6))))
        if (
            DENSE_SHORTEST <= sum(len(string) for string, _ in out) <= DENSE_LONGEST
            and sum(tag is not None for _, tag in out) >= least
        ):
            return out


def _dressed(draw: random.Random, out: list[Segment]) -> list[Segment]:
    """A printer's habits: half-width punctuation, full-width digits, no full stop."""
    chance = draw.random()
    if chance < 0.1:
        out = [(string.translate(HALF), tag) for string, tag in out]
    elif chance < 0.16:
        out = [(string.translate(HALF_BRACKETS), tag) for string, tag in out]
    elif chance < 0.18:
        out = [(string.translate(WIDE) if tag is None else string, tag) for string, tag in out]
    if draw.random() < 0.05 and out[-1][1] is None:
        out = joined([*out[:-1], (out[-1][0].rstrip("。；，"), None)])
    return out
