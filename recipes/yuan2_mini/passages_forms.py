"""Exercises from made-up forms: the same record as fields, as a table, as sentences, or as bare values."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from recipes.yuan2_mini.passages_asking import Passage, passage_of
from recipes.yuan2_mini.passages_form_kinds import FORM_KINDS, FormKind
from recipes.yuan2_mini.passages_values import WORDS, Values
from recipes.yuan2_mini.segments import Segment

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "person": ("人名", "姓名", "人物", "人物姓名", "所有人名"),
    "phone": ("电话号码", "号码", "电话"),
    "money": ("金额", "钱数", "价钱", "所有金额"),
    "date": ("日期", "所有日期"),
    "fruit": ("水果", "水果名"),
    "colour": ("颜色", "颜色词"),
    "animal": ("动物", "动物名"),
    "city": ("城市", "城市名"),
    "company": ("公司", "公司名", "企业名称"),
    "goods": ("物品", "用品"),
    "duration": ("时长", "一段时间"),
}
"""Makers whose values one name covers wherever they stand in the record."""
UNCLEAR = {
    "person": ("nickname", "latin"),
    "company": ("brand", "shop", "hospital", "city_school"),
    "date": ("weekday", "clock"),
    "city": ("address", "station", "company", "hospital", "city_school", "province", "district"),
    "goods": ("device", "book", "fruit", "dish"),
    "animal": ("nickname",),
    "fruit": ("nickname",),
    "duration": ("age", "clock"),
}
"""Makers beside which a family's name would be open to doubt."""
CLEAR = {"person", "date", "money", "phone", "age", "company", "gender", "mail", "url", "plate"}
DOUBTFUL = {
    "material",
    "vegetable",
    "praise",
    "blame",
    "district",
    "estate",
    "road",
    "topic",
    "event",
    "level",
    "unitdept",
}
"""Makers whose values do, and words that do not, tell without a name what they are."""
BLANKS = ("", "—", "/", "-", "（空）")


class Record:
    """The drawn values of one form, and the name that each field goes by."""

    def __init__(self, kind: FormKind, values: Values) -> None:
        self.kind, self.values = kind, values
        draw = values.draw
        self.names = _distinct(kind.names, draw)
        self.makers = {key: draw.choice(makers) for key, makers in kind.makers.items()}

    def value(self, key: str) -> str:
        return self.values.make(self.makers[key])


def _distinct(names: Mapping[str, Sequence[str]], draw: random.Random) -> dict[str, str]:
    """One name for each field, no name twice."""
    chosen: dict[str, str] = {}
    for key, several in names.items():
        free = [name for name in several if name not in chosen.values()]
        if free:
            chosen[key] = draw.choice(free)
    return chosen


def forms(values: Values) -> Iterator[Passage | None]:
    """Endless: one form after another."""
    draw = values.draw
    while True:
        kind = draw.choice(FORM_KINDS) if draw.random() < 0.8 else _mixed(draw)
        chance = draw.random()
        if chance < 0.45 and kind.sentences:
            yield _sentences(Record(kind, values))
        elif chance < 0.72:
            yield _fields(Record(kind, values))
        elif chance < 0.9:
            yield _table(Record(kind, values))
        else:
            yield _bare(Record(kind, values))


def _mixed(draw: random.Random) -> FormKind:
    """Fields of several kinds together: nothing to learn by heart."""
    makers: dict[str, tuple[str, ...]] = {}
    names: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for _ in range(draw.randint(3, 9)):
        kind = draw.choice(FORM_KINDS)
        key = draw.choice(list(kind.makers))
        if taken.isdisjoint(kind.names[key]):
            taken.update(kind.names[key])
            makers[f"{kind.name}.{key}"] = kind.makers[key]
            names[f"{kind.name}.{key}"] = kind.names[key]
    return FormKind("mixed", makers, names, ())


# ------------------------------------------------------------------------------------------------- sentences


def _sentences(record: Record) -> Passage | None:
    draw = record.values.draw
    count = draw.choice((1, 1, 2, 2, 3, 3, 4))
    segments: list[Segment] = []
    shared: dict[str, str] = {}
    for sentence in draw.sample(record.kind.sentences, min(count, len(record.kind.sentences))):
        if draw.random() < 0.5:
            shared = {}
        if segments and draw.random() < 0.25:
            segments.append((draw.choice(("\n", " ")), None))
        segments += _filled(sentence, record, shared)
    if draw.random() < 0.2 and segments[-1][0].endswith("。"):
        segments[-1] = (segments[-1][0][:-1], None)
    names = record.names if draw.random() < 0.3 else record.kind.names
    return _passage(segments, record, names, "form-sentence")


def _filled(sentence: str, record: Record, shared: dict[str, str]) -> list[Segment]:
    """A sentence with values; a field that comes back has another value, but in the next sentence the same."""
    segments: list[Segment] = []
    used: set[str] = set()
    for i, part in enumerate(sentence.replace("}", "{").split("{")):
        if i % 2 == 0:
            if part:
                segments.append((part, None))
            continue
        value = record.value(part) if part in used or part not in shared else shared[part]
        used.add(part)
        shared.setdefault(part, value)
        segments.append((value, part))
    return segments


# --------------------------------------------------------------------------------------- fields and tables


def _fields(record: Record) -> Passage | None:
    """Name and value, one after another."""
    values, draw = record.values, record.values.draw
    keys = _some(record, draw, 2, 10)
    colon = draw.choice(("：", "：", "：", ":", ": ", "：", " ", "=", "】", "——", "为"))
    between = draw.choice(("\n", "\n", "；", "，", "。", " ", "; ", " | ", "，", "\n- "))
    value = _value_of(record)
    segments: list[Segment] = [("- ", None)] if between == "\n- " else []
    blank: list[str] = []
    for place, key in enumerate(keys):
        name = ("【" if colon == "】" else "") + record.names[key] + colon
        segments.append(((between if place else "") + name, None))
        if draw.random() < 0.05 and colon not in {" ", "为"}:
            segments.append((draw.choice(BLANKS), None))
            blank.append(key)
            continue
        several = values.between(2, 4) if draw.random() < 0.08 else 1
        for more in range(several):
            segments += [("、", None)] if more else []
            segments.append((value(key), key))
    absent = [[record.names[key]] for key in blank]
    return _passage(segments, record, _names(record, draw), "form-fields", absent)


def _table(record: Record) -> Passage | None:
    """A header, and rows of values."""
    values, draw = record.values, record.values.draw
    keys = _some(record, draw, 2, 6)
    gap = draw.choice(("|", " | ", "\t", ",", "，", " ", "  ", "、", ";"))
    value = _value_of(record)
    rows: list[list[Segment]] = [[(record.names[key], None) for key in keys]]
    for _ in range(values.between(1, max(1, 20 // len(keys)))):
        rows.append([(value(key), key) for key in keys])
    segments: list[Segment] = []
    for row in rows:
        if segments:
            segments.append(("\n", None))
        for place, cell in enumerate(row):
            segments += [(gap, None), cell] if place else [cell]
    return _passage(segments, record, _names(record, draw), "form-table")


def _bare(record: Record) -> Passage | None:
    """Values alone, of kinds that tell themselves apart."""
    draw = record.values.draw
    keys, seen = [], set()
    for key in _some(record, draw, 2, 9):
        maker = record.makers[key]
        if maker not in seen and (maker in CLEAR or (maker in WORDS and maker not in DOUBTFUL)):
            seen.add(maker)
            keys.append(key)
    if len(keys) < 2:
        return None
    gap = draw.choice(("，", "，", "、", "；", " ", ",", "\n", " / "))
    segments: list[Segment] = []
    for _ in range(record.values.between(1, 3)):
        for key in keys:
            segments += [(gap, None)] if segments else []
            segments.append((record.value(key), key))
    segments.append((draw.choice(("。", "", "")), None))
    return _passage(segments, record, record.kind.names, "form-bare")


def _some(record: Record, draw: random.Random, low: int, high: int) -> list[str]:
    keys = list(record.names)
    count = min(len(keys), draw.randint(low, high))
    chosen = draw.sample(keys, count)
    return chosen if draw.random() < 0.6 else sorted(chosen, key=keys.index)


def _names(record: Record, draw: random.Random) -> Mapping[str, Sequence[str]]:
    """Half the time a type goes by the name that stands in the text."""
    if draw.random() < 0.5:
        return {key: (name,) for key, name in record.names.items()}
    return record.kind.names


def _value_of(record: Record) -> Callable[[str], str]:
    """At times every value is a string without sense: only its place says what it is."""
    values = record.values
    chance = values.draw.random()
    if chance < 0.14:
        return lambda key: values.nonsense()
    if chance < 0.18:
        return lambda key: values.jumble()
    if chance < 0.24:
        return lambda key: values.make(values.draw.choice(("nonsense", "jumble", "number", record.makers[key])))
    return record.value


def _passage(
    segments: Sequence[Segment],
    record: Record,
    names: Mapping[str, Sequence[str]] | Mapping[str, str],
    kind: str,
    absent: Sequence[Sequence[str]] = (),
) -> Passage | None:
    """The passage; one time in six a family of values is asked for by its common name."""
    draw = record.values.draw
    known = {key: (name,) if isinstance(name, str) else tuple(name) for key, name in names.items()}
    present = {tag for _, tag in segments if tag is not None}
    if not present:
        return None
    if draw.random() < {"form-sentence": 1 / 6, "form-bare": 1 / 3}.get(kind, 0.0):
        merged = _merged(segments, record, present)
        if merged is not None:
            segments, own = merged
            known = {**known, **own}
            kind = "form-family"
    free = _free(known, present, record, draw)
    return passage_of(segments, known, kind, absent=[*absent, *free])


def _merged(
    segments: Sequence[Segment], record: Record, present: set[str]
) -> tuple[list[Segment], dict[str, tuple[str, ...]]] | None:
    makers = {record.makers[key] for key in present}
    families = [name for name in FAMILIES if name in makers and makers.isdisjoint(UNCLEAR.get(name, ()))]
    if not families:
        return None
    family = {key: "=" + record.makers[key] for key in present if record.makers[key] in families}
    renamed: list[Segment] = [(text, family.get(tag, tag) if tag else None) for text, tag in segments]
    return renamed, {"=" + name: FAMILIES[name] for name in families}


def _free(
    known: Mapping[str, Sequence[str]], present: set[str], record: Record, draw: random.Random
) -> list[Sequence[str]]:
    """Types of the same form that this text does not hold, where no value of their kind stands in it."""
    makers = {record.makers[key] for key in present}
    named = {name for key in present for name in record.kind.names.get(key, ())}
    named |= {name for maker in makers for name in FAMILIES.get(maker, ())}
    lacking: list[Sequence[str]] = []
    for key, several in record.kind.names.items():
        if (
            key in present
            or not ALIKE.isdisjoint(record.kind.makers[key])
            or not makers.isdisjoint(record.kind.makers[key])
        ):
            continue
        if named.isdisjoint(several):
            lacking.append(several)
    return lacking


ALIKE = {
    "nonsense",
    "address",
    "city",
    "district",
    "road",
    "estate",
    "station",
    "room",
    "province",
    "code",
    "count",
    "amount",
}
"""Makers of values that others resemble: such a type is never said to be missing."""
