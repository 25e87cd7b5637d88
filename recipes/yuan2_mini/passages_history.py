"""Exercises from the histories: lives' openings, appointments to offices, and who says what."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from recipes.yuan2_mini.passages_asking import Passage, Shelf, Span, passage_of
from recipes.yuan2_mini.passages_values import DOUBLE, SURNAMES
from recipes.yuan2_mini.segments import Segment

SOURCE = "histories-modern"
_PERSON = f"(?:(?:{'|'.join(DOUBLE)})[\u4e00-\u9fff]{{1,2}}|[{SURNAMES}][\u4e00-\u9fff]{{1,2}})"
_BIO = re.compile(
    f"^({_PERSON})(?<![传帝名者的])，?字([\u4e00-\u9fff]{{1,2}})，(?:是)?((?!其|祖)[\u4e00-\u9fff]{{2,8}})(?<![夫诗文的道门圣才奇商人是])人(?=[，。])"
)
BIO_NAMES = {
    "name": ("姓名", "人名", "人物", "名字", "人物姓名"),
    "style": ("字", "表字", "人物的字"),
    "home": ("籍贯", "地名", "家乡", "哪里人", "祖籍"),
}
WHOLE_BIO_NAMES = {
    "name": ("传主", "传主姓名", "所记人物", "主人公"),
    "style": ("传主的字", "表字", "字"),
    "home": ("传主籍贯", "籍贯", "家乡"),
}

_OFFICE_ENDS = (
    "刺史|太守|尚书|侍郎|将军|节度使|节度副使|仆射|司徒|司空|太尉|太傅|太保|太师|少师|少傅|少保|丞相|宰相|"
    "相国|侍中|中书令|尚书令|大司马|大夫|中丞|常侍|参知政事|枢密使|枢密副使|枢密院事|平章事|平章政事|都督|"
    "总管|知府|知县|知州|县令|长史|司马|参军|主簿|校尉|都尉|中郎将|郎中|员外郎|舍人|学士|祭酒|博士|洗马|"
    "詹事|庶子|宾客|留后|观察使|经略使|招讨使|宣抚使|安抚使|宣慰使|转运使|按察使|布政使|团练使|防御使|巡抚|"
    "总督|总兵官|总兵|指挥使|太常卿|大理卿|鸿胪卿|光禄卿|太仆卿|光禄勋|卫尉|廷尉|京兆尹|河南尹|给事中|御史|"
    "录尚书事|同三司|特进|上柱国|柱国|别驾|治中|从事|左丞|右丞|主事|内史|议郎|秘书监|秘书郎|著作郎|黄门郎|"
    "少卿|通判|推官|教谕|留守|元帅|行台|护军|领军|大将军|州牧|太宰|录事|县尉|县丞|中书监|纳言|大学士|编修|"
    "检讨|修撰"
)
_BAD = "的他她之为了其等把被任命拜授升调兼至迁，。；：、和与及又并时从自就去到对以在这那是由因让使"
_PIECE = f"(?:(?![{_BAD}])[\u4e00-\u9fff]){{0,7}}?(?:{_OFFICE_ENDS})"
_VERB = "任命|拜|授予|授|提升|升任|升|改任|调任|历任|担任|出任|兼任|转任|迁任|历官|累迁"
_APPOINTED = re.compile(f"(?:{_VERB})(?:([^，。；：、为]{{0,8}})为)?({_PIECE}(?:(?:、|兼){_PIECE})*)(?=[，。；])")
_OFFICE_LEFT = re.compile(
    f"{_OFFICE_ENDS}|[使尉卿令丞尹监牧郎帅相侯伯官]|承旨|助教|知制诰|县长|郡守|"
    "(?:任|拜|授|封|领|仍为|升|迁|担当)(?![^，。；□]{0,10}□)"
)
"""What else may be an office, or a verb without one."""
_MAY_APPOINT = re.compile(_VERB)
_SPLIT = re.compile("[、兼]")
OFFICE_NAMES = {
    "office": ("官职", "官名", "职务", "职位", "所任官职", "职官", "官衔"),
    "man": ("被任命者", "受任命的人", "任命了谁", "受官者"),
}

_SPEECH = re.compile("^([^：]{0,40}?(说|问|问道|答道|回答|回答说|喊道|上奏说|写道|劝谏说|叹道))：([^：“”]{4,120})$")
_SPEAKER = re.compile(f"(?:^|[，。；])({_PERSON})(?:回答说|问道|答道|上奏说|劝谏说|回答|叹道|喊道|说|问)$")
_NO_NAME = re.compile(
    "[是人都又就便常也才再不有无所一这那你我他她它先后只如正因此之相者以来去听对而且说问答上奏劝谏回叹喊的着地]"
)
SPEECH_NAMES = {
    "speech": ("说的话", "引语", "话语内容", "所说内容", "直接引语"),
    "speaker": ("说话人", "说话者", "谁说的", "发言者"),
}


def lives(shelf: Shelf, draw: random.Random) -> Iterator[Passage | None]:
    """`张三字某，某地人`: one whole opening, or the heads of several."""
    while True:
        pool = shelf.pool(SOURCE, "lives", lambda line: "字" in line and _BIO.match(line))
        if not pool:
            yield None
            continue
        if draw.random() < 0.4:
            segments = _life(draw.choice(pool), whole=True)
            yield passage_of(segments, WHOLE_BIO_NAMES, "history-life")
            continue
        heads: list[Segment] = []
        end = draw.choice(("。", "。", "；", "\n"))
        for _ in range(draw.choice((1, 2, 2, 3, 3, 4, 5, 6))):
            heads += [*_life(draw.choice(pool), whole=False), (end, None)]
        absent = [("谥号",), ("官职", "官名"), ("年号",), ("朝代",)]
        yield passage_of(heads, BIO_NAMES, "history-lives", absent=absent)


def _life(line: str, *, whole: bool) -> list[Segment]:
    found = _BIO.match(line)
    assert found is not None
    segments: list[Segment] = []
    last = 0
    for group, tag in ((1, "name"), (2, "style"), (3, "home")):
        segments += [(line[last : found.start(group)], None), (found[group], tag)]
        last = found.end(group)
    segments.append((line[last:] if whole else "人", None))
    return segments


def appointments(shelf: Shelf, draw: random.Random) -> Iterator[Passage | None]:
    """Offices after verbs of appointment, in lines that name no other office; one line or several."""
    pool = shelf.pool(SOURCE, "appointments", lambda line: _MAY_APPOINT.search(line) and _appointed(line))
    several = [line for line in pool if len(_appointed(line)) > 2] or pool
    while True:
        if not pool:
            yield None
            continue
        text = ""
        spans: list[Span] = []
        for _ in range(draw.choice((1, 1, 2, 2, 3, 4))):
            line = draw.choice(several if draw.random() < 0.6 else pool)
            found = _appointed(line)
            if found and len(text) + len(line) < 300:
                spans += [(len(text) + start, len(text) + end, key) for start, end, key in found]
                text += line if line[-1] in "。！？" else line.rstrip("，；：、 ") + "。"
        clear = [span for span in spans if span[2] != "unclear"]
        names = {"office": OFFICE_NAMES["office"]} if len(clear) < len(spans) else OFFICE_NAMES
        clear = [span for span in clear if span[2] in names]
        yield Passage(text, clear, names, "history-offices") if clear else None


def _appointed(line: str) -> list[Span]:
    """Offices and appointed men of a line; nothing, where it names offices in other ways too."""
    spans: list[Span] = []
    rest = line
    for found in _APPOINTED.finditer(line):
        at = found.start(2)
        for piece in _SPLIT.split(found[2]):
            spans.append((at, at + len(piece), "office"))
            at += len(piece) + 1
        rest = rest[: found.start(2)] + "□" * len(found[2]) + rest[found.end(2) :]
        man = found[1]
        if man and man not in {"他", "她", "我", "你", "自己", "臣"}:
            named = re.fullmatch(_PERSON, man) and not _NO_NAME.search(man) and not _OFFICE_LEFT.search(man)
            spans.append((*found.span(1), "man" if named else "unclear"))
    return [] if _OFFICE_LEFT.search(rest) else spans


def speeches(shelf: Shelf, draw: random.Random) -> Iterator[Passage | None]:
    """What is said, with its quotation marks put back; who says it, where that is certain."""
    pool = shelf.pool(SOURCE, "speeches", lambda line: "： " in line and _speech(line))
    named = [line for line in pool if any(tag == "speaker" for _, tag in _speech(line) or ())] or pool
    while True:
        if not pool:
            yield None
            continue
        segments: list[Segment] = []
        for _ in range(draw.choice((1, 1, 1, 2, 2, 3))):
            marked = _speech(draw.choice(named if draw.random() < 0.65 else pool), bare=draw.random() < 0.3)
            segments += marked or []
        known = sum(tag == "speaker" for _, tag in segments) == sum(tag == "speech" for _, tag in segments)
        names = SPEECH_NAMES if known else {"speech": SPEECH_NAMES["speech"]}
        kept: list[Segment] = [(text, tag if tag in names else None) for text, tag in segments]
        yield passage_of(kept, names, "history-speech")


def _speech(line: str, *, bare: bool = False) -> list[Segment] | None:
    found = _SPEECH.match(line.strip().replace("： ", "：").replace(" ：", "："))
    if found is None or " " in found[0]:
        return None
    head, said = found[1], found[3]
    segments: list[Segment] = []
    who = _SPEAKER.search(head)
    if who is not None and not _NO_NAME.search(who[1]):
        segments = [(head[: who.start(1)], None), (who[1], "speaker"), (head[who.end(1) :], None)]
    else:
        segments = [(head, None)]
    opening, closing = ("：", "\n") if bare else ("：“", "”")
    return [*segments, (opening, None), (said, "speech"), (closing, None)]
