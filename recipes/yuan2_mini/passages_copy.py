"""Exercises in copying alone: marked pieces, clauses, what follows a word, senseless strings, invented types."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence

from recipes.yuan2_mini.passages_asking import Passage, Shelf, Span, passage_of
from recipes.yuan2_mini.passages_values import WORDS, Values
from recipes.yuan2_mini.segments import Segment

MARKS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("【", "】", ("【】里的内容", "方头括号内", "黑括号里的文字", "【】")),
    ("「", "」", ("「」里的内容", "直角引号内", "「」")),
    ("『", "』", ("『』里的内容", "双直角引号内", "『』")),
    ("<<", ">>", ("<<>>里的内容", "双尖括号内", "<<>>")),
    ("<", ">", ("<>里的内容", "尖括号内", "<>")),
    ("{", "}", ("{}里的内容", "花括号内", "大括号里的文字", "{}")),
    ("[", "]", ("[]里的内容", "方括号内", "中括号里的文字", "[]")),
    ("*", "*", ("**之间的内容", "星号之间", "加星号的文字", "星号标出的词")),
    ("#", "#", ("##之间的内容", "井号之间", "井号标出的词", "话题")),
    ("_", "_", ("下划线之间", "下划线标出的词", "__之间的内容")),
    ("~", "~", ("波浪号之间", "~~之间的内容")),
    ("$", "$", ("美元符号之间", "$$之间的内容")),
    ("|", "|", ("竖线之间", "||之间的内容")),
    ("〔", "〕", ("〔〕里的内容", "六角括号内", "〔〕")),
    ("〖", "〗", ("〖〗里的内容", "〖〗")),
    ("(", ")", ("()里的内容", "半角圆括号内", "小括号里的文字", "()")),
    ("‘", "’", ("单引号内", "‘’里的内容", "单引号里的文字")),
    ("→", "←", ("箭头之间", "→←之间的内容")),
)
"""Opening mark, closing mark, names of what stands between."""
SYMBOLS: tuple[tuple[str, ...], ...] = (
    ("甲", "乙", "丙", "丁", "戊", "己"),
    ("A", "B", "C", "D", "E", "F"),
    ("甲类", "乙类", "丙类", "丁类"),
    ("红", "黄", "蓝", "绿", "白"),
    ("一号", "二号", "三号", "四号", "五号"),
    ("东", "南", "西", "北"),
    ("X", "Y", "Z"),
    ("α", "β", "γ"),
    ("第一组", "第二组", "第三组", "第四组"),
    ("PER", "LOC", "ORG", "TIME", "MISC"),
    ("金", "木", "水", "火", "土"),
    ("T1", "T2", "T3", "T4"),
)
"""Types that mean only what the text gives them to mean."""
ORDINALS = ("第一个", "第二个", "第三个", "第四个", "第五个")
STOPS = "，。；：！？"
_CLAUSE = re.compile(f"[^{STOPS}]+")
_SOURCES = ("histories-modern", "laws", "kdconv", "csl", "paddle")


def corpus_line(shelf: Shelf, draw: random.Random, longest: int = 160) -> str | None:
    """A line of any source, cut at a stop where it is long."""
    sources = [name for name in _SOURCES if shelf.has(name)]
    if not sources:
        return None
    weights = [{"histories-modern": 5, "laws": 3}.get(name, 1) for name in sources]
    line = (
        shelf.line(draw.choices(sources, weights)[0], draw).replace(" ", "")
        if draw.random() < 0.7
        else shelf.line(sources[0], draw)
    )
    if len(line) > longest:
        at = max(line.rfind(stop, 0, longest) for stop in "，。；")
        line = line[: at + 1] if at > 10 else line[:longest]
    return line


# --------------------------------------------------------------------------------------------------- marked


def marked(shelf: Shelf, values: Values) -> Iterator[Passage | None]:
    """Pieces of a real sentence between marks, each kind of mark a type; or tagged by symbols."""
    draw = values.draw
    while True:
        line = corpus_line(shelf, draw)
        if line is None or len(line) < 12:
            yield None
            continue
        count = draw.choice((1, 2, 2, 3, 3, 4, 4, 5, 6, 8, 10))
        pieces = _pieces(line, count, values)
        yield _between_marks(pieces, draw) if draw.random() < 0.6 else _tagged(pieces, draw)


def _pieces(line: str, count: int, values: Values) -> list[tuple[str, bool]]:
    """The line cut into pieces, some of them chosen; at times a string without sense is put in instead."""
    draw = values.draw
    cuts = sorted(draw.sample(range(1, len(line)), min(2 * count, len(line) - 1)))
    pieces: list[tuple[str, bool]] = []
    last, inside = 0, False
    for cut in [*cuts, len(line)]:
        piece = line[last:cut]
        # Long pieces would be most of the line; a mark around a stop reads oddly.
        chosen = inside and len(piece) <= 16 and piece[0] not in STOPS and piece[-1] not in STOPS
        if chosen and draw.random() < 0.15:
            pieces.append((values.nonsense(), True))
        pieces.append((piece, chosen))
        last, inside = cut, not inside
    return pieces


def _between_marks(pieces: Sequence[tuple[str, bool]], draw: random.Random) -> Passage | None:
    text = "".join(piece for piece, _ in pieces)
    free = [mark for mark in MARKS if mark[0] not in text and mark[1] not in text]
    if "<" in text or ">" in text:
        free = [mark for mark in free if mark[0] not in {"<", "<<"}]
    kinds = draw.sample(free, min(len(free), draw.choice((1, 2, 2, 3, 3, 4))))
    if any(mark[0] == "<<" for mark in kinds):
        kinds = [mark for mark in kinds if mark[0] != "<"]
    if not kinds:
        return None
    segments: list[Segment] = []
    for piece, chosen in pieces:
        if chosen:
            opening, closing, _ = draw.choice(kinds)
            segments += [(opening, None), (piece, opening), (closing, None)]
        else:
            segments.append((piece, None))
    names = {opening: several for opening, _, several in kinds}
    unused = [several for opening, _, several in free if opening not in names and opening not in {"<", "<<"}]
    return passage_of(segments, names, "copy-marks", absent=unused)


def _tagged(pieces: Sequence[tuple[str, bool]], draw: random.Random) -> Passage | None:
    symbols = draw.choice(SYMBOLS)
    symbols = tuple(draw.sample(symbols, draw.randint(1, len(symbols))))
    style = draw.choice(
        (
            "<{0}>{1}</{0}>",
            "[{1}]({0})",
            "{1}（{0}）",
            "【{0}：{1}】",
            "{{{1}|{0}}}",
            "[{0} {1}]",
            "({0}){1}(/{0})",
            "{1}/{0} ",
        )
    )
    if style in {"{1}（{0}）", "{1}/{0} "}:
        # Only the end is marked, so every piece is: the text is cut into tagged words.
        pieces = [(piece, bool(piece.strip(STOPS)) and len(piece) <= 12) for piece, _ in pieces]
        if not all(chosen for _, chosen in pieces):
            return None
    before, after = style.split("{1}")
    segments: list[Segment] = []
    for piece, chosen in pieces:
        symbol = draw.choice(symbols)
        if chosen:
            segments += [(before.format(symbol), None), (piece, symbol), (after.format(symbol), None)]
        else:
            segments.append((piece, None))
    text = "".join(piece for piece, _ in pieces)
    if any(mark in text for mark in "<>[]()【】{}|/（）"):
        return None
    return passage_of(
        segments, {symbol: (symbol,) for symbol in symbols}, "copy-tags", absent=[(s,) for s in symbols]
    )


# -------------------------------------------------------------------------------------------------- clauses


def clauses(shelf: Shelf, values: Values) -> Iterator[Passage | None]:
    """A real sentence asked by clause: by number, by what it holds, by what stands before and after."""
    draw = values.draw
    while True:
        line = (corpus_line(shelf, draw, 200) or "").replace(" ", "")
        parts = list(_CLAUSE.finditer(line))
        if not 2 <= len(parts) <= 14 or any(len(part[0].strip()) < 2 for part in parts):
            yield None
            continue
        spans: list[Span] = []
        names: dict[str, tuple[str, ...]] = {}
        questions = list(_questions(line, parts, draw))
        for key, several, chosen in draw.sample(questions, min(len(questions), draw.choice((1, 2, 2, 3, 3, 4)))):
            names[key] = several
            spans += [(part.start(), part.end(), key) for part in chosen]
        absent = [(f"含有“{word}”的分句",) for word in _strange(line, values)]
        absent += [(f"{ordinal}分句",) for ordinal in ORDINALS[len(parts) :]]
        yield Passage(line, spans, names, "copy-clauses", absent)


def _questions(
    line: str, parts: Sequence[re.Match[str]], draw: random.Random
) -> Iterator[tuple[str, tuple[str, ...], Sequence[re.Match[str]]]]:
    """Key, names and clauses of a few questions."""
    at = draw.randrange(min(len(parts), 5))
    yield "at", (f"{ORDINALS[at]}分句", f"分句{at + 1}"), [parts[at]]
    yield "last", ("最后一个分句", "末尾分句", "末句"), [parts[-1]]
    if draw.random() < 0.3:
        yield "all", ("所有分句", "分句", "每个分句"), parts
    for number in range(draw.randint(0, 2)):
        part = draw.choice(parts)[0]
        start = draw.randrange(len(part) - 1)
        word = part[start : start + draw.choice((1, 2, 2, 3))]
        holding = [other for other in parts if word in other[0]]
        yield f"with{number}", (f"含有“{word}”的分句", f"包含“{word}”的分句", f"带“{word}”的句子"), holding
    part = draw.choice(parts)[0]
    head, tail = part[: draw.choice((1, 2))], part[-draw.choice((1, 2)) :]
    yield (
        "head",
        (f"以“{head}”开头的分句", f"“{head}”开头的分句"),
        [one for one in parts if one[0].startswith(head)],
    )
    yield "tail", (f"以“{tail}”结尾的分句", f"“{tail}”结尾的分句"), [one for one in parts if one[0].endswith(tail)]
    for stop, name in (("？", "问句"), ("！", "感叹句"), ("：", "冒号前的分句"), ("；", "分号前的分句")):
        if stop in line and draw.random() < 0.5:
            yield stop, (name,), [one for one in parts if line[one.end() : one.end() + 1] == stop]


def _strange(line: str, values: Values) -> list[str]:
    words = [values.nonsense(2, 2) for _ in range(2)]
    return [word for word in words if word not in line]


def after_words(shelf: Shelf, values: Values) -> Iterator[Passage | None]:
    """What follows a word up to the next stop, or leads from a stop to it; single characters by place."""
    draw = values.draw
    while True:
        line = corpus_line(shelf, draw, 150)
        parts = [part for part in _CLAUSE.finditer(line or "") if len(part[0]) >= 4]
        if line is None or not parts:
            yield None
            continue
        names: dict[str, tuple[str, ...]] = {}
        spans: list[Span] = []
        for number in range(draw.randint(1, 4)):
            part = draw.choice(parts)
            cut = draw.randint(2, len(part[0]) - 2)
            word = part[0][cut - draw.choice((1, 2, 2)) : cut]
            if line.count(word) != 1 or not word.isalnum():
                continue
            middle = part.start() + cut
            if draw.random() < 0.6:
                names[str(number)] = (f"“{word}”后面的内容", f"“{word}”之后的部分", f"“{word}”后到标点为止")
                spans.append((middle, part.end(), str(number)))
            elif middle - len(word) > part.start():
                names[str(number)] = (f"“{word}”前面的内容", f"“{word}”之前的部分", f"标点后到“{word}”为止")
                spans.append((part.start(), middle - len(word), str(number)))
        absent = [(f"“{word}”后面的内容",) for word in _strange(line, values)]
        yield Passage(line, spans, names, "copy-after", absent) if spans else None


# ------------------------------------------------------------------------------------------- invented types


def invented(values: Values) -> Iterator[Passage | None]:
    """Types that are symbols: rows that begin with one, or a legend and lists."""
    draw = values.draw
    while True:
        symbols = list(draw.choice(SYMBOLS)) if draw.random() < 0.7 else [values.nonsense(1, 3) for _ in range(4)]
        symbols = draw.sample(list(dict.fromkeys(symbols)), min(len(set(symbols)), draw.randint(1, 5)))
        yield (_rows if draw.random() < 0.6 else _odd_ones)(symbols, values)


def _item(values: Values, style: str) -> str:
    if style == "words":
        return values.draw.choice(
            WORDS[values.draw.choice(("fruit", "animal", "goods", "city", "job", "dish", "device"))]
        )
    return values.make(style)


def _rows(symbols: Sequence[str], values: Values) -> Passage:
    """`甲：one、two。乙：three`; a symbol may come back, and then all its items count."""
    draw = values.draw
    style = draw.choice(("words", "words", "nonsense", "jumble", "number", "person", "brand", "model"))
    colon, comma, end = (
        draw.choice(("：", "：", " ", "->", "=", ":")),
        draw.choice(("、", "，", " ", "/")),
        draw.choice(("。", "\n", "；", "；")),
    )
    if comma == colon:
        comma = "、"
    segments: list[Segment] = []
    rows = [symbol for symbol in symbols for _ in range(draw.choice((1, 1, 1, 2)))]
    draw.shuffle(rows)
    for symbol in rows:
        segments.append((symbol + colon, None))
        for more in range(draw.choice((1, 1, 2, 2, 3, 4))):
            segments += [(comma, None)] if more else []
            segments.append((_item(values, style), symbol))
        segments.append((end, None))
    return passage_of(
        segments,
        {symbol: (symbol,) for symbol in symbols},
        "copy-rows",
        absent=[(s,) for s in SYMBOLS[0] if s not in symbols],
    )


def _odd_ones(symbols: Sequence[str], values: Values) -> Passage | None:
    """Items in one list, each followed by its symbol."""
    draw = values.draw
    style = draw.choice(("words", "nonsense", "person", "brand", "jumble", "code"))
    opening, closing = draw.choice((("（", "）"), ("(", ")"), ("[", "]"), ("属", ""), (":", ""), ("为", "")))
    if not closing and any(len(symbol) == 1 and style == "jumble" for symbol in symbols):
        return None
    segments: list[Segment] = []
    comma = draw.choice(("、", "，", "；", "\n"))
    for place in range(draw.randint(2, 12)):
        symbol = draw.choice(symbols)
        segments += [(comma, None)] if place else []
        segments += [(_item(values, style), symbol), (opening + symbol + closing, None)]
    names: Mapping[str, Sequence[str]] = {symbol: (symbol,) for symbol in symbols}
    return passage_of(segments, names, "copy-labelled", absent=[(symbol,) for symbol in symbols])


def members(values: Values) -> Iterator[Passage | None]:
    """Words of several classes mixed in one list, in invented order, asked by class."""
    draw = values.draw
    while True:
        keys = draw.sample(list(CLASSES), draw.randint(2, 5))
        comma = draw.choice(("、", "，", " ", "；", "\n", "和"))
        segments: list[Segment] = [(draw.choice(("", "", "清单：", "桌上写着：", "他念道：", "有")), None)]
        for place in range(draw.randint(3, 16)):
            key = draw.choice(keys)
            segments += [(comma, None)] if place else []
            segments.append((draw.choice(WORDS[key]), key))
        absent = [several for key, several in CLASSES.items() if key not in keys]
        yield passage_of(segments, CLASSES, "copy-classes", absent=absent)


CLASSES: Mapping[str, tuple[str, ...]] = {
    "fruit": ("水果", "果品", "水果名"),
    "animal": ("动物", "动物名称"),
    "colour": ("颜色", "色彩", "颜色词"),
    "dish": ("菜名", "菜品", "菜肴"),
    "instrument": ("乐器", "乐器名"),
    "city": ("城市", "城市名", "地名"),
    "ethnic": ("民族", "民族名称", "种族"),
    "country": ("国家", "国名"),
    "disease": ("疾病", "病名"),
    "drug": ("药品", "药名"),
    "festival": ("节日", "节日名称"),
    "constellation": ("星座",),
    "weekday": ("星期", "星期几"),
    "flower": ("花卉", "花名"),
    "tree": ("树木", "树种"),
    "relation": ("亲属称谓", "家人", "亲属关系"),
    "job": ("职业", "工作岗位", "职业名称"),
    "subject": ("科目", "课程", "学科"),
    "language": ("语言", "语种"),
    "fabric": ("面料", "衣料"),
    "car": ("车辆", "车型"),
    "weather": ("天气", "天气现象"),
    "book": ("书名", "书籍"),
    "team": ("球队", "队名"),
    "planet": ("行星",),
    "fault": ("故障", "故障现象"),
}
"""Word lists that tell themselves apart."""
