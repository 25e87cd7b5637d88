"""What stands for organisations, posts and dates in the rules of a biography."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from . import lexicon
from .biographies_person import Executive, Terminal, picked, tagged
from .segments import Segment
from .wordlists import Weighted

SUBSIDIARY = Weighted(
    (
        (6, "全资子公司"),
        (5, "控股子公司"),
        (2, "子公司"),
        (1, "参股公司"),
        (1, "下属公司"),
        (1, "分公司"),
        (1, "下属子公司"),
    )
)

LAST_YEAR = 2024


def _organisation(who: Executive, out: list[Segment]) -> None:
    """An organisation; one in eighteen is named a second time, a firm by its short name mostly."""
    draw = who.draw
    if who.known and draw.random() < 0.055:
        name, who.kind = draw.choice(who.known)
        if who.kind == "company" and draw.random() < 0.7:
            name = lexicon.short_of(draw, name)
        out.append((name, "ORG"))
        return
    who.kind = "company" if _of_the_family(who) else lexicon.kind_of_organisation(draw)
    _same_kind(who, out)


def _of_the_family(who: Executive) -> bool:
    return bool(who.family) and who.draw.random() < 0.6


def _firm(who: Executive) -> str:
    return lexicon.relative(who.draw, who.family) if _of_the_family(who) else lexicon.company(who.draw, who.brands)


def _same_kind(who: Executive, out: list[Segment]) -> None:
    name = _firm(who) if who.kind == "company" else lexicon.KINDS[who.kind](who.draw, who.brands)
    if who.kind == "university" and who.draw.random() < 0.35:
        name += lexicon.faculty(who.draw)
    who.known.append((name, who.kind))
    out.append((name, "ORG"))


def _known(who: Executive, out: list[Segment]) -> None:
    """An organisation that the text has named already; the firm itself where it has none."""
    name, who.kind = who.draw.choice(who.known or [(who.home, "company")])
    out.append((name, "ORG"))


def _of_kind(kind: str) -> Terminal:
    def speak(who: Executive, out: list[Segment]) -> None:
        who.kind = kind
        _same_kind(who, out)

    return speak


SEPARATORS = Weighted(
    ((66, "、"), (10, "兼"), (5, "，"), (4, "及"), (3, "和"), (1, "/"), (1, "，兼"), (1, "兼任"), (1, "、兼"))
)
HOW_MANY = Weighted(((54, 1), (28, 2), (12, 3), (4, 4), (2, 5)))
MANY = Weighted(((4, 3), (4, 4), (3, 5), (2, 6), (1, 8), (0.5, 11)))


def _list_of_posts(who: Executive, out: list[Segment], size: int, word: Callable[[random.Random], str]) -> None:
    """Posts, each a span, no one twice; one separator for long lists."""
    draw = who.draw
    posts = dict.fromkeys(word(draw) for _ in range(size))
    separator = SEPARATORS.pick(draw) if len(posts) < 3 else ("，" if draw.random() < 0.08 else "、")
    last = separator if len(posts) < 3 or draw.random() < 0.75 else draw.choice(("兼", "及", "和", "以及"))
    for place, post in enumerate(posts):
        if place:
            out.append((last if place == len(posts) - 1 else separator, None))
        out.append((post, "TITLE"))


def _posts(who: Executive, out: list[Segment]) -> None:
    kind = who.kind
    _list_of_posts(who, out, HOW_MANY.pick(who.draw), lambda draw: lexicon.post_in(draw, kind))


def _company_posts(who: Executive, out: list[Segment]) -> None:
    who.kind = "company"
    word = lexicon.leading_post if who.draw.random() < 0.75 else lexicon.company_post
    _list_of_posts(who, out, HOW_MANY.pick(who.draw), word)


def _more_posts(who: Executive, out: list[Segment]) -> None:
    out.append((who.draw.choice(("、", "，", "、", "，并兼任", "，兼任", "；")), None))
    _posts(who, out)


def _long_posts(who: Executive, out: list[Segment]) -> None:
    """A career within one firm: its organisation once, then many posts."""
    _organisation(who, out)
    kind = who.kind
    _list_of_posts(who, out, MANY.pick(who.draw), lambda draw: lexicon.post_in(draw, kind))


def _post_list(who: Executive, out: list[Segment]) -> None:
    _list_of_posts(who, out, who.draw.choice((1, 2, 2, 3)), lexicon.company_post)


def _long_list(who: Executive, out: list[Segment]) -> None:
    """Many posts in the organisation just named."""
    kind = who.kind
    _list_of_posts(who, out, MANY.pick(who.draw), lambda draw: lexicon.post_in(draw, kind))


def _ladder(who: Executive, out: list[Segment]) -> None:
    """Up in one firm: its name, lesser posts, posts at its head, then perhaps the firm of the text."""
    draw = who.draw
    who.kind = "company"
    _same_kind(who, out)
    steps = [lexicon.section_post(draw) for _ in range(draw.choice((1, 2, 3, 4)))]
    steps += [lexicon.leading_post(draw) for _ in range(draw.choice((1, 2, 3)))]
    for place, step in enumerate(dict.fromkeys(steps)):
        out += [("、", None)] * (place > 0) + [(step, "TITLE")]
    if draw.random() < 0.3:
        out += [(draw.choice(("，", "、", "；")), None), (who.own, "ORG")]
        _company_posts(who, out)


def _organisations(who: Executive, out: list[Segment], count: int) -> None:
    """Organisations of one kind, firms mostly, in a row."""
    draw = who.draw
    comma = "、" if draw.random() < 0.85 else "，"
    last = comma if draw.random() < 0.7 else draw.choice(("及", "和", "以及", "与"))
    who.kind = "company" if draw.random() < 0.7 else lexicon.kind_of_organisation(draw)
    for place in range(count):
        if place:
            out.append((last if place == count - 1 else comma, None))
        _same_kind(who, out)


def _plain_organisations(who: Executive, out: list[Segment]) -> None:
    _organisations(who, out, who.draw.choice((1, 2, 2, 3, 4)))
    if who.draw.random() < 0.12:
        out.append((who.draw.choice(("等公司", "等单位", "等", "等企业")), None))


def _shared_post(who: Executive, out: list[Segment]) -> None:
    """Several organisations before one post that somebody holds in each."""
    draw = who.draw
    _organisations(who, out, draw.choice((2, 2, 3, 3, 4, 5)))
    if draw.random() < 0.12:
        out.append((draw.choice(("等公司的", "等公司", "等上市公司", "等", "的", "等多家公司")), None))
    usual = draw.choice(("独立董事", "独立董事", "董事", "董事长", "监事"))
    out.append((usual if who.kind in ("company", "finance", "bank") else lexicon.post_in(draw, who.kind), "TITLE"))


def _many_firms(size: Sequence[int]) -> Terminal:
    """Firm after firm, each with its post."""

    def speak(who: Executive, out: list[Segment]) -> None:
        draw = who.draw
        comma = "、" if draw.random() < 0.6 else draw.choice("，；")
        word = draw.choice((lexicon.board_post, lexicon.leading_post, lexicon.company_post))
        for place in range(draw.choice(size)):
            if place:
                out.append((comma, None))
            out.append((_firm(who), "ORG"))
            _list_of_posts(who, out, draw.choice((1, 1, 1, 2)), word)
        who.kind = "company"

    return speak


def _self(who: Executive, out: list[Segment]) -> None:
    who.kind = "company"
    out.append((who.own, "ORG"))


def _home(who: Executive, out: list[Segment]) -> None:
    who.kind = "company"
    out.append((who.home, "ORG"))


def _subsidiary(who: Executive, out: list[Segment]) -> None:
    who.kind = "company"
    owner = who.own if who.draw.random() < 0.9 else who.draw.choice(("公司", "本公司"))
    out.append((owner + SUBSIDIARY.pick(who.draw) + _firm(who), "ORG"))


def _owner(who: Executive, out: list[Segment]) -> None:
    who.kind = "company"
    lead = who.draw.choice(("公司控股股东", "控股股东", "本公司控股股东", "公司股东", "股东单位"))
    out += [(lead, None), (_firm(who), "ORG")]


def _foreign_company(who: Executive, out: list[Segment]) -> None:
    who.kind = "company"
    out.append((lexicon.foreign_company(who.draw), "ORG"))


def _dept(who: Executive, out: list[Segment]) -> None:
    out.append((who.draw.choice(lexicon.words("departments")), None))


def _dept_unit(who: Executive, out: list[Segment]) -> None:
    """A department that goes with the post after it: joined to it."""
    who.kind = "company"
    out.append((lexicon.department_post(who.draw), "TITLE"))


def _posts_unit(who: Executive, out: list[Segment]) -> None:
    if who.draw.random() < 0.6:
        out.append((who.draw.choice(("、", "兼", "，")), None))
        out.append((lexicon.department_post(who.draw), "TITLE"))


def _short_name(who: Executive, out: list[Segment]) -> None:
    own = lexicon.own_name(who.draw, who.brands)
    out.append((own + who.draw.choice(("", "股份", "集团", "科技", "公司", "有限")), "ORG"))


def _sessioned(who: Executive, out: list[Segment]) -> None:
    draw = who.draw
    number = draw.choice("一二三四五六七八九")
    seat = draw.choice(
        (
            "董事会董事",
            "董事会独立董事",
            "监事会监事",
            "董事会秘书",
            "监事会主席",
            "董事会非独立董事",
            "监事会职工代表监事",
            "董事会董事长",
        )
    )
    out.append((f"第{number}届{seat}", "TITLE"))


def _period(who: Executive, out: list[Segment]) -> None:
    """The next stretch of the career; a late one may run on to this day."""
    draw = who.draw
    first = who.year
    ongoing = first >= LAST_YEAR or (first > 2008 and draw.random() < 0.35)
    who.year = first if ongoing else min(LAST_YEAR, first + draw.randint(1, 8))
    out.append((lexicon.period_of(draw, first, None if ongoing else who.year, who.style, who.link), None))


def _date(who: Executive, out: list[Segment]) -> None:
    year = who.year
    who.year = min(LAST_YEAR, year + who.draw.randint(1, 5))
    out.append((lexicon.date_of(who.draw, year, who.style), None))


WORK: dict[str, Terminal] = {
    "org": _organisation,
    "org_same": _same_kind,
    "posts": _posts,
    "posts_company": _company_posts,
    "posts_more": _more_posts,
    "long_posts": _long_posts,
    "orglong": _many_firms((2, 3, 4, 5, 7)),
    "several": _shared_post,
    "several_posts": _many_firms((3, 4, 6, 9)),
    "long_list": _long_list,
    "ladder": _ladder,
    "org_plain": _plain_organisations,
    "known_org": _known,
    "org_company": _of_kind("company"),
    "owner_org": _owner,
    "foreign_company": _foreign_company,
    "postlist": _post_list,
    "self": _self,
    "home": _home,
    "subsidiary": _subsidiary,
    "board": tagged("TITLE", lexicon.board_post),
    "chief": tagged("TITLE", lexicon.chief_post),
    "director": picked("TITLE", "董事", "独立董事", "监事", "非独立董事", "职工代表监事"),
    "sessioned": _sessioned,
    "dept": _dept,
    "dept_unit": _dept_unit,
    "posts_unit": _posts_unit,
    "short_name": _short_name,
    "member": picked(
        "TITLE",
        "理事",
        "委员",
        "常务理事",
        "会员",
        "常委",
        "副会长",
        "会长",
        "理事长",
        "副理事长",
        "秘书长",
        "副主任委员",
    ),
    "association": _of_kind("association"),
    "journal": _of_kind("media"),
    "journal_post": picked("TITLE", "编委", "主编", "副主编", "审稿人", "编委会委员", "特约编辑"),
    "professor": picked(
        "TITLE", "兼职教授", "客座教授", "硕士生导师", "博士生导师", "MBA导师", "特聘教授", "兼职研究员"
    ),
    "period": _period,
    "date": _date,
}
