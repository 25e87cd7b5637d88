"""From a passage whose spans are known to exercises: which types are asked, by which names, in which order."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from recipes.yuan2_mini.segments import Exercise, Segment

from yuantune.data.labels import LabelSchema, in_text_order

Span = tuple[int, int, str]
"""Start, end, and the key of the concept that the piece of text is."""
Names = Mapping[str, Sequence[str]]
"""Concept to the names by which it is asked for."""

LONGEST, SHORTEST = 420, 8
"""Characters of a text."""
MOST_STRINGS = 30
MOST_TYPES = 9
AGAIN = 0.3
"""How often the same text is asked about a second time, with other types."""
NOTHING = 0.07
"""How often only types are asked that do not occur."""

HAN = re.compile("[\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class Passage:
    """A text, everything of certain concepts that it holds, and concepts that it certainly lacks."""

    text: str
    spans: Sequence[Span]
    names: Names
    kind: str
    absent: Sequence[Sequence[str]] = ()
    """Names of concepts that the maker knows not to occur."""
    whole: bool = False
    """Ask about every concept (where types without a question would make no sense)."""


@dataclass(slots=True)
class Shelf:
    """The corpus by source, with pools of lines that are costly to find by chance."""

    lines: Mapping[str, Sequence[str]]
    _pools: dict[str, list[str]] = field(default_factory=dict)

    def has(self, source: str) -> bool:
        return bool(self.lines.get(source))

    def line(self, source: str, draw: random.Random) -> str:
        """One line of a source that `has` something."""
        lines = self.lines[source]
        return lines[int(draw.random() * len(lines))]

    def run(self, source: str, count: int, draw: random.Random) -> list[str]:
        """`count` neighbouring lines (fewer, if the source has fewer)."""
        lines = self.lines[source]
        at = int(draw.random() * max(1, len(lines) - count + 1))
        return list(lines[at : at + count])

    def pool(self, source: str, name: str, keep: Callable[[str], object]) -> list[str]:
        """The lines of `source` that `keep` accepts; one pass over the source, then remembered under `name`."""
        if name not in self._pools:
            self._pools[name] = [line for line in self.lines.get(source, ()) if keep(line)]
        return self._pools[name]


def passage_of(
    segments: Sequence[Segment], names: Names, kind: str, absent: Sequence[Sequence[str]] = ()
) -> Passage:
    """A passage from marked pieces of text."""
    spans: list[Span] = []
    at = 0
    for string, tag in segments:
        if tag is not None and string:
            spans.append((at, at + len(string), tag))
        at += len(string)
    return Passage("".join(string for string, _ in segments), spans, names, kind, absent)


def exercises(passage: Passage, draw: random.Random) -> Iterator[Exercise]:
    """One exercise about the passage, at times two; none where its answer would be in doubt."""
    if not SHORTEST <= len(passage.text) <= LONGEST or not HAN.search(passage.text):
        return
    again = len({key for _, _, key in passage.spans}) > 1 and not passage.whole and draw.random() < AGAIN
    first = _exercise(passage, draw)
    if first is not None:
        yield first
    if again:
        second = _exercise(passage, draw)
        if second is not None and (first is None or set(second.asked) != set(first.asked)):
            yield second


def _exercise(passage: Passage, draw: random.Random) -> Exercise | None:
    strings = _strings(passage)
    keys = _wanted(passage, strings, draw)
    names = {key: draw.choice(passage.names[key]) for key in keys}
    if len(set(names.values())) < len(names):
        return None
    labels = {names[key]: strings[key] for key in keys}
    if sum(map(len, labels.values())) > MOST_STRINGS:
        return None
    asked = [*labels, *_absent(passage, set(labels), draw)]
    if not asked:
        return None
    if draw.random() < 0.75:
        draw.shuffle(asked)
    labels = {name: labels[name] for name in asked if name in labels}
    # The product orders strings by the places that they claim; where that differs, the text is ambiguous.
    if in_text_order(labels, passage.text, LabelSchema(tuple(asked))) != labels:
        return None
    return Exercise(passage.text, labels, tuple(asked), passage.kind)


def _strings(passage: Passage) -> dict[str, list[str]]:
    """Concept to strings, in text order; the concepts in order of appearance."""
    strings: dict[str, list[str]] = {}
    for start, end, key in sorted(passage.spans, key=lambda span: (span[0], -span[1])):
        strings.setdefault(key, []).append(passage.text[start:end])
    return strings


def _wanted(passage: Passage, strings: Mapping[str, Sequence[str]], draw: random.Random) -> list[str]:
    """Concepts to ask for, of those that occur."""
    keys = list(strings)
    if passage.whole:
        return keys
    if draw.random() < NOTHING:
        return []
    most = min(len(keys), MOST_TYPES)
    count = most if draw.random() < 0.5 else draw.randint(min(1, most), most)
    chosen = set(draw.sample(keys, count))
    while sum(len(strings[key]) for key in chosen) > MOST_STRINGS and len(chosen) > 1:
        chosen.remove(max(chosen, key=lambda key: (len(strings[key]), key)))
    return [key for key in keys if key in chosen]


def _absent(passage: Passage, taken: set[str], draw: random.Random) -> list[str]:
    """Names of types that do not occur: often none, at least one where nothing else is asked."""
    room = MOST_TYPES - len(taken)
    count = 0 if draw.random() < 0.62 else draw.choice((1, 1, 1, 2, 2, 3, 4))
    count = min(room, count if taken else max(1, count))
    names: list[str] = []
    for _ in range(3 * count):
        if len(names) == count:
            break
        if passage.absent and draw.random() < 0.6:
            name = draw.choice(draw.choice(passage.absent))
        else:
            several, cue = draw.choice(LACKED)
            if cue.search(passage.text):
                continue
            name = draw.choice(several)
        if name not in taken and name not in names:
            names.append(name)
    return names


def _lacked(table: str) -> tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]:
    rows = [line.split() for line in table.strip().splitlines()]
    return tuple((tuple(names.split("/")), re.compile(cue)) for names, cue in rows)


LACKED = _lacked(
    r"""
邮箱/电子邮件/邮箱地址/E-mail @
网址/链接/网站地址/URL http|www|\.com|\.cn
车牌号/车牌/牌照号码 [\u4e00-\u9fff][A-Z][·A-Z0-9]|车牌|牌照
身份证号/身份证号码/证件号 \d{6}|身份证|证件
血型 血|型
星座 座
航班号/航班 航|[A-Z]{2}\d
车次/列车车次 [A-Z]\d|次
电话/手机号/联系电话 \d{7}|电话|手机|\d-\d
化学式/分子式 [A-Z]
药品名/药名/药物 药|片|胶囊|丸|剂|素
菜名/菜品 菜|汤|肉|鱼|鸡|面|饭|豆
乐器/乐器名 琴|鼓|笛|箫|号|瑟|笙|钟|磬|乐
球队/球队名 队|球
化学元素/元素 氢|氧|碳|氮|铁|铜|金|银|铝|硅|钠|钾|钙|硫|磷|氯
病名/疾病名称 病|症|炎|癌|疾|疫|疟|疮
水果 果|桃|李|梨|梅|枣|橘|柑|瓜|莓|蕉|橙|柚|杏
颜色/色彩 红|黄|蓝|绿|白|黑|紫|青|灰|橙|赤|朱|粉|彩|色|金|银|苍|丹|素
邮编/邮政编码 \d{6}|邮
经纬度/坐标 \d|经|纬|坐标
股票代码/证券代码 \d|股
温度/气温 度|℃|温
比分 \d|比
软件名/应用程序 [A-Za-z]|软件|程序|系统
编程语言 [A-Za-z]|语言
天气/天气现象 雨|雪|晴|阴|风|云|雾|天|霜|雷|旱
尺码/尺寸 码|尺|寸|[A-Z]|\d
花名/花卉 花|兰|菊|梅|莲|荷|牡丹|桂|海棠
节日/节日名称 节|除夕|元旦|重阳|中秋
国籍 国|籍|日本|朝鲜|高丽|人
学历/学历学位/教育背景 学|历|士|毕业|进士|举人|科
民族/种族 族|汉|蒙|回|藏|满|苗|彝|壮|羌|胡
专业/所学专业 专业|学|系
页码 页|\d
分数/考试成绩 分|成绩|\d
行星/天体 星|日|月|地球
"""
)
"""Types that few texts hold, and what would make one doubt that a text lacks them."""
