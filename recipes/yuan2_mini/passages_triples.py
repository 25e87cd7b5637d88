"""Exercises from statements `X的国籍是韩国` (subject, attribute, value), and from papers' titles and keywords."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from recipes.yuan2_mini.passages_asking import Passage, Shelf, Span, passage_of
from recipes.yuan2_mini.segments import Segment

_SYNONYMS = """
国籍 国籍 国别 哪国人
职业 职业 身份
导演 导演 执导者
主演 主演 主要演员 领衔主演
编剧 编剧 剧本作者
上映时间 上映时间 上映日期 公映时间
发行时间 发行时间 发行日期
出生日期 出生日期 生日 出生时间
出生地 出生地 出生地点
代表作品 代表作品 代表作
主要成就 主要成就 成就
毕业院校 毕业院校 母校 毕业学校
地址 地址 位置 所在地
门票 门票 票价 门票价格
开放时间 开放时间 营业时间
建议游玩时间 建议游玩时间 游玩时长
周边景点 周边景点 附近景点
片长 片长 时长
制片地区 制片地区 出品地区
类型 类型 题材 影片类型
音乐风格 音乐风格 曲风
歌曲原唱 歌曲原唱 原唱 演唱者
谱曲 谱曲 作曲
填词 填词 作词
编曲 编曲
专辑歌手 专辑歌手 歌手
唱片公司 唱片公司
经纪公司 经纪公司
出品公司 出品公司 出品方
对白语言 对白语言
专辑语言 专辑语言
获得奖项 获得奖项 奖项
主要奖项 主要奖项 所获奖项
曲目数量 曲目数量 曲目数
身高 身高
星座 星座
民族 民族 种族
祖籍 祖籍 籍贯
票房 票房 票房收入
制作人 制作人
制片人 制片人
制片成本 制片成本 成本
其它译名 其它译名 又名
中文名 中文名 中文名字
别名 别名
电话 电话 联系电话
发行地区 发行地区
所属专辑 所属专辑 收录专辑
成立时间 成立时间
总部地点 总部地点 总部
歌曲时长 歌曲时长
拍摄地点 拍摄地点 取景地
"""
ATTRIBUTES = {words[0]: tuple(words[1:]) for words in map(str.split, _SYNONYMS.strip().splitlines())}
_ATTRIBUTE = "|".join(sorted(ATTRIBUTES, key=lambda name: (-len(name), name)))
_STATEMENT = re.compile(
    f"^([^，。？！：；]{{2,40}}?)(?:的({_ATTRIBUTE})是|，({_ATTRIBUTE})，)([^，。；？！、]{{1,48}})。?$"
)
_GLOSS = re.compile("（[^（）]*）$")
ROLE_NAMES = {
    "subject": ("主体", "对象", "主语", "实体", "条目", "名称"),
    "attribute": ("属性", "属性名", "关系", "字段"),
    "value": ("取值", "属性值", "值", "客体"),
}
_FRAMES = (
    "{s}的{a}是{v}",
    "{s}的{a}是{v}",
    "{s}，{a}，{v}",
    "{s}：{a}{v}",
    "{s}的{a}为{v}",
    "{a}（{s}）：{v}",
    "{s} | {a} | {v}",
    "（{s}，{a}，{v}）",
    "{s}\t{a}\t{v}",
)
_MORE = ("{a}是{v}", "{a}为{v}", "{a}：{v}")


def _triple(line: str) -> tuple[str, str, str] | None:
    found = _STATEMENT.match(line)
    if found is None:
        return None
    subject, value = found[1].strip(), found[4].strip()
    return (subject, found[2] or found[3], value) if subject and value and "的" not in subject else None


def triples(shelf: Shelf, draw: random.Random) -> Iterator[Passage | None]:
    """Statements about one subject or several, asked by role (主体, 属性, 取值) or by the attribute itself."""
    while True:
        pool = shelf.pool("kdconv", "triples", _triple)
        if not pool:
            yield None
            continue
        segments: list[Segment] = []
        frame, end = draw.choice(_FRAMES), draw.choice(("。", "。", "；", "\n", "，"))
        if end == "，" and "，" in frame:
            end = "。"
        at = draw.randrange(len(pool))
        count = draw.choice((1, 2, 3, 3, 4, 5, 6))
        near = draw.random() < 0.6
        glossed = draw.random() < 0.4
        last = ""
        for step in range(count):
            triple = _triple(pool[(at + step) % len(pool)] if near else draw.choice(pool))
            assert triple is not None
            subject, attribute, value = triple
            subject = subject if glossed else _GLOSS.sub("", subject)
            own = draw.choice(_MORE) if subject == last and draw.random() < 0.6 else frame
            last = subject
            segments += [(end, None)] if segments else []
            segments += _framed(
                own, {"s": (subject, "subject"), "a": (attribute, "attribute"), "v": (value, "value")}
            )
        if end == "。":
            segments.append(("。", None))
        yield _by_attribute(segments) if draw.random() < 0.6 else passage_of(segments, ROLE_NAMES, "triples-role")


def _framed(frame: str, parts: dict[str, Segment]) -> list[Segment]:
    pieces = frame.replace("}", "{").split("{")
    return [parts[piece] if i % 2 else (piece, None) for i, piece in enumerate(pieces) if piece]


def _by_attribute(segments: list[Segment]) -> Passage:
    """Each value has its attribute for a type; a subject is none."""
    marked: list[Segment] = []
    attribute = ""
    for text, tag in segments:
        attribute = text if tag == "attribute" else attribute
        marked.append((text, attribute if tag == "value" else None))
    present = {tag for _, tag in marked if tag}
    taken = {name for key in present for name in ATTRIBUTES[key]}
    absent = [names for key, names in ATTRIBUTES.items() if key not in present and taken.isdisjoint(names)]
    return passage_of(marked, ATTRIBUTES, "triples-attribute", absent=absent)


# -------------------------------------------------------------------------------------------------- papers


def papers(shelf: Shelf, draw: random.Random) -> Iterator[Passage | None]:
    """Titles, keywords and abstracts as a catalogue has them; or every place where given keywords occur."""
    while True:
        pool = shelf.pool(
            "csl", "keywords", lambda line: "_" in line and len(line) < 90 and len(line.split("_")) > 1
        )
        if not pool:
            yield None
            continue
        yield _catalogue(pool, shelf, draw) if draw.random() < 0.6 else _occurrences(shelf, draw)


def _title(shelf: Shelf, draw: random.Random) -> str:
    for _ in range(20):
        line = shelf.line("csl", draw)
        if "_" not in line and 8 <= len(line) <= 40:
            return line
    return ""


CATALOGUE_NAMES = {
    "title": ("题目", "标题", "论文题目", "篇名", "文章标题"),
    "keyword": ("关键词", "关键字", "主题词", "论文关键词"),
}


def _catalogue(pool: list[str], shelf: Shelf, draw: random.Random) -> Passage | None:
    segments: list[Segment] = []
    comma, end = draw.choice(("；", "、", "，", "_", " ", ";", "|", "/")), draw.choice(("\n", "。", "\n"))
    head, label = draw.choice(
        (
            ("题目：", "关键词："),
            ("标题：", "关键字："),
            ("【题名】", "【关键词】"),
            ("", "关键词 "),
            ("《", "主题词："),
        )
    )
    for _ in range(draw.choice((1, 1, 2, 2, 3))):
        title = _title(shelf, draw)
        if not title:
            return None
        segments += [
            (head, None),
            (title, "title"),
            ("》" if head == "《" else "", None),
            (end, None),
            (label, None),
        ]
        for place, word in enumerate(draw.choice(pool).split("_")):
            segments += [(comma, None)] if place else []
            segments.append((word.strip(), "keyword"))
        segments.append((end, None))
    absent = [("作者", "作者姓名", "著者"), ("摘要", "内容提要"), ("基金项目",), ("作者单位", "机构")]
    return passage_of(segments, CATALOGUE_NAMES, "papers-catalogue", absent=absent)


OCCURRENCE_NAMES = {"word": ("关键词的每次出现", "出现的关键词", "所列词语", "给出的词语", "关键词")}


def _occurrences(shelf: Shelf, draw: random.Random) -> Passage | None:
    """A few words, then a text: every place of each of them counts."""
    lines = shelf.lines["csl"]
    for _ in range(40):
        at = int(draw.random() * max(1, len(lines) - 1))
        if at + 1 < len(lines) and "_" in lines[at + 1] and "_" not in lines[at] and len(lines[at]) > 40:
            break
    else:
        return None
    words = [word.strip() for word in lines[at + 1].split("_") if len(word.strip()) > 1]
    text = lines[at][: draw.randint(60, 240)]
    if not words or sum(text.count(word) for word in words) < 2:
        return None
    text = draw.choice(("关键词：", "找出：", "词语：")) + draw.choice(("、", "；")).join(words) + "。\n" + text
    longest = re.compile("|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word))))
    spans: list[Span] = [(*found.span(), "word") for found in longest.finditer(text)]
    return Passage(text, spans, OCCURRENCE_NAMES, "papers-occurrences")
