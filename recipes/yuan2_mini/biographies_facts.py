"""What stands for names, origin, schooling and politics in the rules of a biography."""

from __future__ import annotations

from . import lexicon
from .biographies_person import Executive, Terminal, number, picked, tagged
from .segments import Segment
from .wordlists import Weighted

SURNAMES = frozenset(lexicon.words("surnames"))
COMPOUND = frozenset(name for name in SURNAMES if len(name) == 2)


def _name(who: Executive, out: list[Segment]) -> None:
    """The person, or, once named, another."""
    out.append((who.name if "name" not in who.told else lexicon.person(who.draw), "NAME"))
    who.told.add("name")


def _alias_name(who: Executive, out: list[Segment]) -> None:
    out.append((lexicon.person(who.draw), "NAME"))


def _name_again(who: Executive, out: list[Segment]) -> None:
    """The name, or the surname alone, with its courtesy."""
    draw = who.draw
    who.told.add("name")
    surname = who.name[:2] if who.name[:2] in COMPOUND else who.name[:1]
    if draw.random() < 0.3 and len(who.name) <= 4 and surname in SURNAMES:
        out.append((surname, "NAME"))
        out.append(("女士" if who.female else draw.choice(("先生", "先生", "先生", "总", "某")), None))
        return
    out.append((who.name, "NAME"))
    if draw.random() < 0.6:
        _courtesy(who, out)


def _sex(who: Executive, out: list[Segment]) -> None:
    who.told.add("sex")
    out.append((("女" if who.female else "男") + ("性" if who.draw.random() < 0.03 else ""), None))


def _courtesy(who: Executive, out: list[Segment]) -> None:
    out.append((("女士" if who.female else "先生"), None))


def _birth(who: Executive, out: list[Segment]) -> None:
    out.append((lexicon.birth(who.draw), None))


def _origin_person(who: Executive, out: list[Segment]) -> None:
    out.append((lexicon.place(who.draw) + "人", "LOC"))


NATIONAL = Weighted(((40, "中国国籍"), (8, "中国籍"), (2, "中华人民共和国国籍"), (1, "国籍中国")))


def _foreign(who: Executive, out: list[Segment]) -> None:
    country = lexicon.country(who.draw)
    short = {"美国": "美籍", "英国": "英籍", "法国": "法籍", "德国": "德籍", "日本": "日籍"}.get(country)
    out.append(
        (short if short and who.draw.random() < 0.2 else country + who.draw.choice(("国籍", "国籍", "籍")), "CONT")
    )


def _hongkong(who: Executive, out: list[Segment]) -> None:
    """Statuses of Hong Kong, Macao and Taiwan."""
    chance = who.draw.random()
    if chance < 0.5:
        out.append((who.draw.choice(("中国香港", "中国台湾", "中国澳门")), "LOC"))
    else:
        out.append((who.draw.choice(("中国香港籍", "中国台湾籍", "香港籍", "台湾籍", "中国（香港）国籍")), "CONT"))


def _university(who: Executive, out: list[Segment]) -> None:
    who.kind = "university"
    name = lexicon.university(who.draw)
    out.append((name + (lexicon.faculty(who.draw) if who.draw.random() < 0.22 else ""), "ORG"))


def _major(who: Executive, out: list[Segment]) -> None:
    out.append((lexicon.subject(who.draw).removesuffix("专业") + "专业", "PRO"))


def _major_or_subject(who: Executive, out: list[Segment]) -> None:
    if who.draw.random() < 0.75:
        _major(who, out)
    else:
        out.append((lexicon.subject(who.draw), "PRO"))


def _field_degree(who: Executive, out: list[Segment]) -> None:
    subject, degree = lexicon.field_and_degree(who.draw)
    out += [(subject, "PRO"), (degree, "EDU")]


def _deputy(who: Executive, out: list[Segment]) -> None:
    out.append((lexicon.deputy(who.draw), "TITLE"))


def _committee(who: Executive, out: list[Segment]) -> None:
    """A political consultative conference: 政协 with its place and session."""
    draw = who.draw
    where = draw.choice(
        (
            "全国",
            lexicon.province(draw),
            lexicon.town(draw) + "市",
            lexicon.town(draw) + "县",
            lexicon.town(draw) + "区",
        )
    )
    session = f"第{draw.choice('六七八九十')}届" if draw.random() < 0.4 else ""
    named = (session + where + "政协", where + session + "政协", where + "政协", f"政协{where}{session}委员会")
    out.append((draw.choice(named), "ORG"))


def _party(who: Executive, out: list[Segment]) -> None:
    out.append(
        (who.draw.choice(("中国共产党", "中国共产党", "中国民主建国会", "九三学社", "民建", "中国民主同盟")), "ORG")
    )


def _party_branch(who: Executive, out: list[Segment]) -> None:
    draw = who.draw
    party = draw.choice(("民建", "民盟", "九三学社", "民革", "致公党", "农工党", "民进"))
    out.append((party + draw.choice((lexicon.town(draw) + "市委", lexicon.region(draw) + "省委", "中央")), "ORG"))


def _shares(who: Executive, out: list[Segment]) -> None:
    number = who.draw.randint(1000, 90_000_000)
    out.append((f"{number:,}" if who.draw.random() < 0.6 else str(number), None))


FACTS: dict[str, Terminal] = {
    "name": _name,
    "name_again": _name_again,
    "alias_name": _alias_name,
    "latin": tagged("NAME", lexicon.latin_name),
    "sex": _sex,
    "courtesy": _courtesy,
    "birth": _birth,
    "china": lambda who, out: out.append((NATIONAL.pick(who.draw), "CONT")),
    "china_name": picked("CONT", "中国"),
    "foreign": _foreign,
    "hongkong": _hongkong,
    "country_": tagged(None, lexicon.country),
    "race": tagged("RACE", lexicon.ethnic_group),
    "race_short": tagged(
        "RACE",
        lambda draw: (
            lexicon.ethnic_group(draw).removesuffix("族") if draw.random() < 0.5 else lexicon.ethnic_group(draw)
        ),
    ),
    "race_short_only": picked("RACE", "汉", "汉", "汉", "满", "回", "壮"),
    "origin": tagged("LOC", lexicon.place),
    "origin_person": _origin_person,
    "standing": tagged("TITLE", lexicon.standing),
    "party": _party,
    "party_branch": _party_branch,
    "party_post": picked("TITLE", "委员", "副主委", "常委", "主委", "副主任委员", "秘书长"),
    "degree": tagged("EDU", lexicon.degree),
    "degree_plain": picked(
        "EDU",
        "硕士",
        "博士",
        "硕士学位",
        "博士学位",
        "EMBA",
        "MBA",
        "学士学位",
        "硕士研究生",
        "博士研究生",
        "研究生",
    ),
    "degree_short": picked(
        "EDU", "本科", "大学本科", "硕士", "博士", "大专", "研究生", "硕士研究生", "博士研究生", "中专"
    ),
    "emba": picked("EDU", "EMBA", "MBA", "EMBA", "DBA", "在职研究生"),
    "fielddegree": _field_degree,
    "major": _major,
    "majorx": _major_or_subject,
    "subjectx": tagged("PRO", lexicon.subject),
    "subject_": tagged(None, lexicon.subject),
    "latin_rank": picked(
        "TITLE",
        "CPA",
        "CFA",
        "FRM",
        "PMP",
        "CIA",
        "CICPA",
        "CPV",
        "CTA",
        "ACCA会员",
        "HKICPA会员",
        "CPA非执业会员",
        "CIMA会员",
    ),
    "party_member": picked("TITLE", "中共党员", "民建会员", "九三学社社员", "民革党员"),
    "university_bare": tagged("ORG", lambda draw: draw.choice(lexicon.words("universities_abroad"))),
    "age": lambda who, out: out.append((who.draw.choice(("", "现年")) + f"{who.draw.randint(28, 72)}岁", None)),
    "postdoc": picked("TITLE", "博士后"),
    "university": _university,
    "rank": tagged("TITLE", lexicon.rank),
    "deputy_": _deputy,
    "council_member": picked(
        "TITLE", "委员", "委员", "委员", "委员", "常委", "常委", "副主席", "主席", "常务委员", "秘书长"
    ),
    "committee": _committee,
    "bdate": lambda who, out: out.append(
        (lexicon.date_of(who.draw, who.draw.randint(2005, 2023), who.draw.choice(("月", "日", "0月", "日"))), None)
    ),
    "monthdate": lambda who, out: out.append((lexicon.date_of(who.draw, who.draw.randint(1965, 2012), "月"), None)),
    "year": lambda who, out: out.append((f"{who.draw.randint(1968, 2016)}年", None)),
    "num": number(2, 90),
    "tens": picked(None, *["10", "20", "30", "40", "50", "60", "80", "100", "200", "十", "二十", "三十", "百"]),
    "few": number(1, 20),
    "number_": number(1, 20),
    "stock": lambda who, out: out.append(
        (f"{who.draw.choice(('600', '000', '002', '300', '601', '688'))}{who.draw.randint(0, 999):03}", None)
    ),
    "shares": _shares,
    "percent": lambda who, out: out.append((f"{who.draw.uniform(0.1, 60):.2f}", None)),
    "ordinal": picked(None, *"一二三四五六七八九"),
    "journal_": lambda who, out: out.append((who.draw.choice(lexicon.words("journals")), None)),
    "industry_": lambda who, out: out.append((who.draw.choice(lexicon.words("industries")), None)),
    "region_": tagged(None, lexicon.region),
    "town_": tagged(None, lexicon.town),
}
