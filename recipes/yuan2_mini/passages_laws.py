"""Statutes about named parties: roles such as 用人单位 give way to company short names, persons and towns."""

from __future__ import annotations

import re
from collections.abc import Iterator

from recipes.yuan2_mini.passages_asking import Passage, Shelf, passage_of
from recipes.yuan2_mini.passages_values import WORDS, Values
from recipes.yuan2_mini.segments import Segment

_PERSONS = (
    "被申请人|被保险人|被继承人|抵押权人|被收养人|申请人|当事人|投保人|劳动者|被告人|上诉人|债务人|债权人|"
    "继承人|承租人|出租人|驾驶人|监护人|捐赠人|受益人|委托人|受托人|买受人|出卖人|养犬人|抵押人|保证人|"
    "质权人|收养人|纳税人|举报人|投诉人|被告|原告|旅客"
)
_FIRMS = (
    "房地产开发企业|物业服务企业|燃气经营企业|建筑施工企业|网络运营者|用人单位|建设单位|施工单位|监理单位|"
    "设计单位|勘察单位|保险公司|供电企业|出版单位|生产企业|经营企业|物流企业|演出单位|供水企业|排污单位|"
    "供应商|采购人|招标人|投标人|经营者|生产者|销售者|发包人|承包人|拍卖人|保险人|承运人|托运人"
)
_PLACES = "本市|本省|本县|本自治区|本行政区域"
_LEFT = "(?:(?<![\u4e00-\u9fff])|(?<=[由对向的与和或给使让是将及]))"
"""What may stand before a role that is the whole of its noun phrase."""
_ROLE = re.compile(
    f"{_LEFT}(?:(?P<person>{_PERSONS})|(?P<firm>{_FIRMS})|(?P<place>{_PLACES}))"
    "(?!权益|协会|组织|名册|登记|资格|们|工会|双方|之间|、法定|级|规章|地方|范围|内部|民|人民|各级|市场|行政)"
)
_ELSEWHERE = re.compile("北京|上海|天津|重庆|省|自治区|中国|中华|[^城]市|县|国家")
NAMES = {
    "person": ("人名", "姓名", "当事人姓名", "自然人姓名", "人物", "PER"),
    "firm": ("公司", "企业", "公司名称", "公司简称", "商号", "品牌", "企业简称", "ORG"),
    "place": ("地名", "城市", "地区", "地方", "LOC"),
}


def parties(shelf: Shelf, values: Values) -> Iterator[Passage | None]:
    """A provision or two with names for roles; a role keeps its name most of the time."""
    draw = values.draw
    while True:
        pool = shelf.pool("laws", "parties", lambda line: len(line) < 220 and len(_ROLE.findall(line)) > 1)
        if not pool:
            yield None
            continue
        segments: list[Segment] = []
        known: dict[str, str] = {}
        for _ in range(draw.choice((1, 1, 2, 2, 3))):
            line = draw.choice(pool)
            if sum(len(text) for text, _ in segments) + len(line) > 320:
                break
            segments += _named(line, values, known)
        text = "".join(string for string, tag in segments if tag is None)
        present = {tag for _, tag in segments if tag}
        names = {key: several for key, several in NAMES.items() if key in present}
        absent = [several for key, several in NAMES.items() if key not in present and key == "person"]
        if "place" in names and _ELSEWHERE.search(text):
            del names["place"]
        kept: list[Segment] = [(string, tag if tag in names else None) for string, tag in segments]
        yield passage_of(kept, names, "laws-parties", absent=absent) if any(tag for _, tag in kept) else None


def _named(line: str, values: Values, known: dict[str, str]) -> list[Segment]:
    draw = values.draw
    segments: list[Segment] = []
    last = 0
    for found in _ROLE.finditer(line):
        tag = str(found.lastgroup)
        segments.append((line[last : found.start()], None))
        last = found.end()
        if draw.random() < 0.12 and tag != "place":
            # Several parties in one place.
            for more in range(draw.choice((2, 2, 3, 4))):
                segments += [(draw.choice("、、、和"), None)] if more else []
                segments.append((_name(tag, values), tag))
            continue
        if found[0] not in known or draw.random() < 0.2:
            known[found[0]] = _name(tag, values)
        segments.append((known[found[0]], tag))
    return [*segments, (line[last:], None)]


def _name(tag: str, values: Values) -> str:
    draw = values.draw
    if tag == "person":
        return values.person()
    if tag == "place":
        return draw.choice(WORDS["city"]) + draw.choice(("", "市"))
    return values.brand() if draw.random() < 0.6 else values.company()
