"""Values for made-up forms: word lists, and makers of names, numbers, dates, codes and strings without sense."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence

from recipes.yuan2_mini.wordlists import words

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"

WORDS: dict[str, tuple[str, ...]] = {
    name: tuple(entries.split()) for name, entries in (line.split(": ", 1) for line in words("form_words"))
}
"""lexicon/form_words.txt: the name of each list, and its words."""
SURNAMES = "".join(WORDS["surname"])
DOUBLE = WORDS["double_surname"]


class Values:
    """Draws values; each maker's name is what a form's field names."""

    def __init__(self, draw: random.Random, names: Sequence[str], characters: str) -> None:
        """`names`: company short names; `characters`: Han characters for strings without sense."""
        self.draw, self.names, self.characters = draw, names, characters

    def make(self, maker: str) -> str:
        """A value of a maker below, or a word of the list of that name."""
        own: Callable[[], str] | None = getattr(self, maker, None)
        return own() if own is not None else self.draw.choice(WORDS[maker])

    def between(self, low: int, high: int) -> int:
        return low + int(self.draw.random() * (high - low + 1))

    def digits(self, count: int) -> str:
        return "".join(str(int(self.draw.random() * 10)) for _ in range(count))

    def letters(self, count: int) -> str:
        return "".join(self.draw.choice(LETTERS) for _ in range(count))

    # ------------------------------------------------------------------------------------------------- people

    def person(self) -> str:
        draw = self.draw
        chance = draw.random()
        if chance < 0.08:
            first, second = draw.choice(WORDS["latin_first"]), draw.choice(WORDS["latin_last"])
            return first + "·" + second
        surname = draw.choice(DOUBLE) if chance < 0.12 else draw.choice(SURNAMES)
        given = draw.choice(WORDS["given"]) + (draw.choice(WORDS["given"]) if draw.random() < 0.7 else "")
        return surname + given

    def latin(self) -> str:
        """A person or account in Latin letters."""
        return "".join(
            self.draw.choice("bcdfghklmnprstwz") + self.draw.choice("aeiou") for _ in range(self.between(2, 3))
        )

    def nickname(self) -> str:
        draw = self.draw
        return draw.choice(
            (
                lambda: "小" + draw.choice(SURNAMES),
                lambda: "老" + draw.choice(SURNAMES),
                lambda: self.latin() + self.digits(2),
                lambda: self.nonsense(2, 5),
                lambda: "爱吃" + draw.choice(WORDS["fruit"]),
                lambda: draw.choice(WORDS["animal"]) + self.digits(3),
            )
        )()

    def gender(self) -> str:
        return self.draw.choice(("男", "女"))

    def age(self) -> str:
        return f"{self.between(1, 95)}岁"

    # ---------------------------------------------------------------------------------------- organisations

    def brand(self) -> str:
        return self.draw.choice(self.names) if self.names else self.nonsense(2, 4)

    def company(self) -> str:
        draw = self.draw
        place = draw.choice(WORDS["city"]) if draw.random() < 0.5 else ""
        return place + self.brand() + draw.choice(WORDS["company_end"])

    def shop(self) -> str:
        return self.brand() + self.draw.choice(WORDS["shop_end"])

    def hospital(self) -> str:
        return self.draw.choice(WORDS["city"]) + self.draw.choice(WORDS["hospital_end"])

    def city_school(self) -> str:
        return self.draw.choice(WORDS["city"]) + self.draw.choice(WORDS["school"])

    # ------------------------------------------------------------------------------------------------ places

    def address(self) -> str:
        draw = self.draw
        parts = [draw.choice(WORDS["city"]) + "市" if draw.random() < 0.8 else "", draw.choice(WORDS["district"])]
        parts.append(f"{draw.choice(WORDS['road'])}{self.between(1, 999)}号")
        if draw.random() < 0.5:
            parts.append(f"{draw.choice(WORDS['estate'])}{self.between(1, 30)}栋{self.between(101, 2808)}室")
        return "".join(parts)

    def station(self) -> str:
        return self.draw.choice(WORDS["city"]) + self.draw.choice(("站", "东站", "南站", "西站", "北站"))

    # -------------------------------------------------------------------------------------- time and numbers

    def date(self) -> str:
        year, month, day = self.between(1990, 2029), self.between(1, 12), self.between(1, 28)
        draw = self.draw
        return draw.choice(
            (
                lambda: f"{year}年{month}月{day}日",
                lambda: f"{year}-{month:02}-{day:02}",
                lambda: f"{year}/{month}/{day}",
                lambda: f"{month}月{day}日",
                lambda: f"{year}.{month:02}.{day:02}",
                lambda: f"{year}年{month}月",
            )
        )()

    def clock(self) -> str:
        hour, minute = self.between(0, 23), self.draw.choice((0, 5, 10, 15, 20, 30, 40, 45, 50))
        if self.draw.random() < 0.6:
            return f"{hour}:{minute:02}"
        part = self.draw.choice(("上午", "下午", "晚上"))
        return f"{part}{self.between(1, 12)}点{self.draw.choice(('', '半', '一刻'))}"

    def duration(self) -> str:
        return f"{self.between(1, 90)}{self.draw.choice(('分钟', '小时', '天', '个月', '年', '周'))}"

    def money(self) -> str:
        draw = self.draw
        whole = self.between(1, 10 ** self.between(1, 5))
        return draw.choice(
            (
                lambda: f"{whole}元",
                lambda: f"{whole}.{self.digits(2)}元",
                lambda: f"¥{whole}",
                lambda: f"¥{whole}.{self.digits(2)}",
                lambda: f"{whole}万元",
                lambda: f"人民币{whole}元",
            )
        )()

    def count(self) -> str:
        return str(self.between(1, 10 ** self.between(1, 3)))

    def amount(self) -> str:
        """A number with a counting word."""
        return f"{self.between(1, 99)}{self.draw.choice(WORDS['pack'])}"

    def mass(self) -> str:
        return f"{self.between(1, 999)}{self.draw.choice(WORDS['weight'])}"

    def degrees(self) -> str:
        return f"{self.between(-20, 41)}{self.draw.choice(('℃', '度', '摄氏度'))}"

    def percent(self) -> str:
        return self.draw.choice((f"{self.between(1, 100)}%", f"{self.between(0, 99)}.{self.digits(1)}%"))

    def windforce(self) -> str:
        low = self.between(1, 8)
        return self.draw.choice((f"{low}级", f"{low}到{low + 1}级", f"{low}-{low + 1}级"))

    def result(self) -> str:
        return f"{self.between(0, 120)}{self.draw.choice((':', '比', '-'))}{self.between(0, 120)}"

    def pressure(self) -> str:
        return f"{self.between(85, 180)}/{self.between(50, 110)}mmHg"

    def dose(self) -> str:
        return f"{self.draw.choice(('每日', '一日', '每天'))}{self.draw.choice('一二三')}次"

    def seat(self) -> str:
        letter, end = self.draw.choice(("A", "B", "C", "F", "")), self.draw.choice(("座", "号"))
        return f"{self.between(1, 16)}{self.draw.choice(('车', '排'))}{self.between(1, 60)}{letter}{end}"

    # ------------------------------------------------------------------------------------------------- codes

    def phone(self) -> str:
        draw = self.draw
        return draw.choice(
            (
                lambda: "1" + draw.choice("35789") + self.digits(9),
                lambda: "0" + self.digits(2) + "-" + self.digits(8),
                lambda: "0" + self.digits(3) + "-" + self.digits(7),
                lambda: "400-" + self.digits(3) + "-" + self.digits(4),
            )
        )()

    def code(self) -> str:
        draw = self.draw
        return draw.choice(
            (
                lambda: self.letters(2) + self.digits(self.between(4, 10)),
                lambda: self.digits(self.between(5, 12)),
                lambda: f"{self.letters(self.between(1, 3))}-{self.digits(self.between(3, 6))}",
                lambda: f"NO.{self.digits(self.between(4, 8))}",
                lambda: self.letters(1) + self.digits(3) + self.letters(1),
            )
        )()

    def train(self) -> str:
        return self.draw.choice("GDKTZ") + self.digits(self.between(2, 4))

    def flight(self) -> str:
        return self.letters(2) + self.digits(4)

    def plate(self) -> str:
        return (
            self.draw.choice("京津沪渝冀晋辽吉黑苏浙皖闽赣鲁豫鄂湘粤桂琼川贵云陕甘青")
            + self.letters(1)
            + self.draw.choice(("·", ""))
            + self.digits(3)
            + self.letters(1)
            + self.digits(1)
        )

    def postcode(self) -> str:
        return self.digits(6)

    def mail(self) -> str:
        end = self.draw.choice(("com", "cn", "net", "org"))
        return f"{self.latin()}{self.digits(self.between(0, 4))}@{self.latin()}.{end}"

    def url(self) -> str:
        start, end = (
            self.draw.choice(("www.", "https://", "http://www.")),
            self.draw.choice((".com", ".cn", ".org")),
        )
        return start + self.latin() + end

    def model(self) -> str:
        return (
            self.letters(self.between(1, 3))
            + self.draw.choice(("-", ""))
            + self.digits(self.between(2, 4))
            + self.draw.choice(("", "Pro", "S", "X", "Max", "A"))
        )

    def version(self) -> str:
        return (
            f"{self.draw.choice(('v', 'V', ''))}{self.between(0, 12)}.{self.between(0, 20)}.{self.between(0, 30)}"
        )

    # ---------------------------------------------------------------------------------- strings without sense

    def nonsense(self, low: int = 2, high: int = 8) -> str:
        """Han characters at random: nothing but the text can tell them."""
        return "".join(self.draw.choice(self.characters) for _ in range(self.between(low, high)))

    def jumble(self) -> str:
        """Letters and digits at random."""
        return "".join(self.draw.choice(string.ascii_letters + string.digits) for _ in range(self.between(2, 10)))

    def number(self) -> str:
        return self.digits(self.between(1, 9))
