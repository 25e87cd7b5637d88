"""Dates and periods in the many ways that résumés write them."""

from __future__ import annotations

import random

DIGITS = "〇一二三四五六七八九"
WIDE = str.maketrans("0123456789.-", "０１２３４５６７８９．－")


def _in_characters(number: int) -> str:
    return "".join(DIGITS[int(digit)] for digit in str(number))


def date_of(draw: random.Random, year: int, style: str) -> str:
    """A date in a year, in a style of `STYLES`: 1998年7月, 1998年07月, 1998年, 1998.07, 1998-07, 一九九八年七月."""
    month = draw.randint(1, 12)
    match style:
        case "月":
            return f"{year}年{month}月"
        case "0月":
            return f"{year}年{month:02}月"
        case "年":
            return f"{year}年"
        case ".":
            return f"{year}.{month:02}" if draw.random() < 0.8 else f"{year}.{month}"
        case "日":
            return f"{year}年{month}月{draw.randint(1, 28)}日"
        case "汉":
            return f"{_in_characters(year)}年{'一二三四五六七八九十'[month % 10]}月"
        case "初":
            return f"{year}年{draw.choice(('初', '底', '末', '中', '春', '秋', '下半年'))}"
    return f"{year}{style}{month:02}"


STYLES = ("月",) * 10 + ("0月",) * 3 + ("年",) * 8 + (".",) * 3 + ("-", "/", "日", "汉", "初")


def date(draw: random.Random) -> str:
    """A date of a working life."""
    return date_of(draw, draw.randint(1968, 2023), draw.choice(STYLES))


def period_of(draw: random.Random, first: int, last: int | None, style: str, link: str) -> str:
    """From a year to another (None: to this day), in one style."""
    start = date_of(draw, first, style)
    if last is None:
        if link.startswith("起"):
            return draw.choice(("自", "从", "")) + start + draw.choice(("起", "起至今", "至今"))
        return start + link + draw.choice(("今", "至今", "现在", "今")).removeprefix("至" if link == "至" else "　")
    end = date_of(draw, last, style)
    if link.startswith("起"):
        return f"{start}起" if draw.random() < 0.3 else f"自{start}至{end}"
    if style == "年" and draw.random() < 0.15:
        return f"{first}{link}{last}年"
    return start + link + end


LINKS = ("至",) * 9 + ("-",) * 5 + ("—", "—", "－", "～", "–", "--", "——", "到", "到", "起", "~", "─")


def period(draw: random.Random) -> str:
    """A span of a working life, with or without its end."""
    first = draw.randint(1970, 2020)
    last = None if draw.random() < 0.3 else first + draw.randint(0, 12)
    return period_of(draw, first, last, draw.choice(STYLES), draw.choice(LINKS))


def birth(draw: random.Random) -> str:
    """A birth as a clause: 1965年8月出生, 男性's age 48岁, 生于1970年."""
    year = draw.randint(1935, 1990)
    day = date_of(draw, year, draw.choice(("年", "年", "月", "月", "月", "月", "0月", "日", "年")))
    chance = draw.random()
    if chance < 0.42:
        return day + "出生"
    if chance < 0.68:
        return day + "生"
    if chance < 0.8:
        return draw.choice(("生于", "出生于", "出生日期", "出生年月：", "出生日期：")) + day
    age = draw.randint(26, 74)
    return draw.choice((f"{age}岁", f"现年{age}岁", f"年龄{age}岁", f"今年{age}岁", f"{age}周岁", f"{age}岁"))
