"""The life that a passage tells: its person, its calendar, its strings that return; and the words drawn from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from . import lexicon
from .people import PROVINCIAL, TOWNS
from .wordlists import any_character, words

LAST_YEAR = 2024
_DIGITS = "〇一二三四五六七八九"
_TENS = ("", "十", "二十", "三十", "四十", "五十", "六十", "七十", "八十", "九十")
_LATIN_STARTS, _LATIN_ENDS, _COMPOUND = (
    tuple(words_in_a_row.split())
    for words_in_a_row in (
        "B Br C Ch D Dr F Fr G Gr H J K Kl L M N P Pr R S Sh St T Th Tr V W Y Z",
        "ack ain alt and ane ark arn art ason eck een eld ell en enford er ert eston ey ick ie ill ina ington "
        "ito itz oak on one ong ora ord ori orn oss ott ov ow ucci una und uro ush uz",
        "欧阳 上官 司徒 司马 诸葛 皇甫 令狐 端木 公孙 慕容 东方 西门 尉迟 夏侯 宇文 长孙 南宫 轩辕 独孤 呼延 澹台",
    )
)


@dataclass(slots=True)
class Life:
    """One person's life while it is told. `trade` chooses the vocabulary, `kept` holds what returns."""

    draw: Random
    trade: str
    brands: lexicon.Brands = None
    kept: dict[str, str] = field(default_factory=dict)
    woman: bool = False
    born: int = 1970
    year: int = 1992
    dates: int = 0
    """How this passage writes a month: 0 1999年7月, 1 1999.07, 2 1999/07, 3 1999-07, 4 一九九九年七月."""

    @classmethod
    def begun(cls, draw: Random, trades: list[str], brands: lexicon.Brands = None) -> Life:
        """A life of one of the trades, born 1938 to 2002."""
        born = draw.randint(1938, 2002)
        dates = draw.choice((0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4))
        year = min(born + draw.randint(15, 27), LAST_YEAR - 3)
        return cls(draw, draw.choice(trades), brands, {}, draw.random() < 0.42, born, year, dates)

    def later(self, most: int = 5) -> int:
        """A year not before the last one told."""
        self.year = max(self.year, min(LAST_YEAR, self.year + int(self.draw.random() * (most + 1))))
        return self.year


def han_number(number: int) -> str:
    """0 to 99 in Han numerals: 二十三."""
    if number < 10:
        return _DIGITS[number] if number else "零"
    tens = _TENS[number // 10] if number >= 20 else "十"
    return tens + (_DIGITS[number % 10] if number % 10 else "")


def han_year(year: int) -> str:
    return "".join(_DIGITS[int(digit)] for digit in str(year))


def _month_of(life: Life, year: int, first: int = 1, last: int = 12) -> str:
    month = life.draw.randint(first, last)
    match life.dates:
        case 1:
            return f"{year}.{month:02d}"
        case 2:
            return f"{year}/{month:02d}"
        case 3:
            return f"{year}-{month:02d}"
        case 4:
            return f"{han_year(year)}年{han_number(month)}月"
        case _:
            return f"{year}年{month}月"


def _span(life: Life) -> str:
    """From a month to a later one; the next stretch begins no sooner."""
    start = life.later(3)
    joint = life.draw.choice(("至", "到", "－") if life.dates in (0, 4) else ("-", "—", "～", "-", "至"))
    if life.dates == 0 and start < LAST_YEAR and life.draw.random() < 0.3:
        return f"{start}年{joint}{max(start + 1, life.later(8))}年"
    end = life.later(8)
    if end == start:
        return f"{_month_of(life, start, last=6)}{joint}{_month_of(life, end, first=7)}"
    return f"{_month_of(life, start)}{joint}{_month_of(life, end)}"


def _since(life: Life) -> str:
    in_words = life.dates in (0, 4)
    ends = ("至今", "至今", "起至今") if in_words else ("至今", "-至今", "—今", "-至今")
    return _month_of(life, life.later(3)) + life.draw.choice(ends)


def _plain_month(life: Life) -> str:
    """A month in running prose: seldom in figures."""
    year = life.later()
    if life.dates in (1, 2, 3) and life.draw.random() < 0.5:
        return _month_of(life, year)
    month = life.draw.randint(1, 12)
    return f"{han_year(year)}年{han_number(month)}月" if life.dates == 4 else f"{year}年{month}月"


def _plain_year(life: Life) -> str:
    year = life.later()
    return f"{han_year(year)}年" if life.dates == 4 else f"{year}年"


def _birth(life: Life) -> str:
    if life.dates == 4:
        return f"{han_year(life.born)}年"
    month = f"{life.born}年{life.draw.randint(1, 12)}月"
    return life.draw.choice((f"{life.born}年", month, month, f"{month}{life.draw.randint(1, 28)}日"))


def _birth_in_form(life: Life) -> str:
    year, month, day = life.born, life.draw.randint(1, 12), life.draw.randint(1, 28)
    return life.draw.choice(
        (f"{year}年{month}月", f"{year}.{month:02d}", f"{year}-{month:02d}-{day:02d}", f"{year}/{month}/{day}")
    )


def _age(life: Life) -> str:
    age = max(17, min(89, LAST_YEAR - life.born - life.draw.randint(0, 3)))
    return f"{age}岁" if life.dates != 4 else f"{han_number(age)}岁"


def _years(life: Life) -> str:
    number = life.draw.randint(2, 41)
    return f"{number}年" if life.draw.random() < 0.45 else f"{han_number(number)}年"


def _small(life: Life) -> str:
    number = life.draw.randint(2, 12)
    return str(number) if life.draw.random() < 0.5 else ("两" if number == 2 else han_number(number))


def _many(life: Life) -> str:
    number = life.draw.choice((20, 30, 40, 50, 60, 80, 100, 120, 200, 300, 500, 800, 1200, 3000))
    return str(number) if life.draw.random() < 0.7 or number > 99 else han_number(number)


def _ordinal(life: Life) -> str:
    return han_number(life.draw.randint(1, 19))


def surname_of(name: str) -> str:
    """The surname of a Han name, the whole of any other."""
    if not 2 <= len(name) <= 4 or "·" in name or not "一" <= name[0] <= "鿿":
        return name
    return name[:2] if len(name) > 2 and name[:2] in _COMPOUND else name[0] if len(name) < 4 else name


def _surname(life: Life) -> str:
    name = life.kept.get("name:1") or life.kept.setdefault("name:1", f"[{lexicon.person(life.draw)}](NAME)")
    return f"[{surname_of(name[1:].split(']')[0])}](NAME)"


def _latin(life: Life) -> str:
    draw = life.draw
    word = draw.choice(_LATIN_STARTS) + draw.choice(_LATIN_ENDS)
    return word + draw.choice(_LATIN_ENDS) if draw.random() < 0.3 else word


def _ethnic(life: Life) -> str:
    """汉族 less often than in life: the rare ones are to be learned."""
    return "汉族" if life.draw.random() < 0.3 else life.draw.choice(words("ethnic_groups"))


def _ethnic_short(life: Life) -> str:
    """The group without 族, where it can stand so."""
    group = _ethnic(life).removesuffix("族")
    return group if len(group) < 3 else f"{group}族"


def _province(life: Life) -> str:
    region = lexicon.region(life.draw)
    return region + PROVINCIAL.get(region, "省")


def _age_at_death(life: Life) -> str:
    return str(life.draw.randint(51, 101))


def _brand(life: Life) -> str:
    return lexicon.own_name(life.draw, life.brands)


def _character(life: Life) -> str:
    """A character that invented names are made of; now and then any other."""
    draw = life.draw
    return draw.choice(words("brand_characters")) if draw.random() < 0.8 else any_character(draw)


def _phone(life: Life) -> str:
    return life.draw.choice(("138", "159", "186", "0571-", "022-")) + str(life.draw.randint(10**7, 10**8 - 1))


WORDS: dict[str, Callable[[Life], str]] = {
    "sex": lambda life: "女" if life.woman else "男",
    "ta": lambda life: "她" if life.woman else "他",
    "hon": lambda life: "女士" if life.woman else "先生",
    "span": _span,
    "since": _since,
    "ym": _plain_month,
    "y": _plain_year,
    "yy": lambda life: str(life.later(2)),
    "birth": _birth,
    "birthday": _birth_in_form,
    "born": lambda life: str(life.born),
    "end": lambda life: str(max(life.year, min(LAST_YEAR, life.born + life.draw.randint(60, 95)))),
    "age": _age,
    "agedead": _age_at_death,
    "years": _years,
    "few": _small,
    "many": _many,
    "nth": _ordinal,
    "num": lambda life: str(life.draw.randint(1, 99)),
    "name": lambda life: f"[{lexicon.person(life.draw)}](NAME)",
    "name_": lambda life: lexicon.chinese_name(life.draw),
    "phone": _phone,
    "surname": _surname,
    "lone_surname": lambda life: f"[{life.draw.choice(words('surnames'))}](NAME)",
    "clan_name": lambda life: life.draw.choice(words("surnames")),
    "sounds": lambda life: lexicon.transliterated_name(life.draw).split("·")[0],
    "translated": lambda life: lexicon.transliterated_name(life.draw),
    "latin": _latin,
    "latinname": lambda life: lexicon.latin_name(life.draw),
    "charA": _character,
    "charB": _character,
    "mark": _brand,
    "town": lambda life: lexicon.town(life.draw),
    "region": lambda life: lexicon.region(life.draw),
    "province": _province,
    "origin_town": lambda life: "".join(life.draw.choice(TOWNS)),
    "place": lambda life: lexicon.place(life.draw),
    "country": lambda life: lexicon.country(life.draw),
    "ethnic": _ethnic,
    "ethnic_short": _ethnic_short,
    "lexicon_university": lambda life: lexicon.university(life.draw),
    "lexicon_faculty": lambda life: life.draw.choice(words("faculties")),
    "lexicon_hospital": lambda life: lexicon.hospital(life.draw),
    "lexicon_agency": lambda life: lexicon.agency(life.draw),
    "lexicon_company": lambda life: lexicon.company(life.draw, life.brands),
    "lexicon_post": lambda life: lexicon.post(life.draw),
    "lexicon_rank": lambda life: lexicon.rank(life.draw),
    "lexicon_degree": lambda life: lexicon.degree(life.draw),
    "lexicon_subject": lambda life: lexicon.subject(life.draw),
}
