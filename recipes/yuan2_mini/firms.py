"""Names of firms, built by the rules that Chinese names follow: place, own name, trade, form."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from .people import PLACES, country, province, region, town, transliterated_name, with_suffix
from .wordlists import Weighted, any_character, listed, words

Brands = Sequence[str] | None
ORDINALS = "一二三四五六七八九十"
BRAND_CHARACTERS = words("brand_characters")
INDUSTRIES = words("industries")
INDUSTRIES_SHORT = words("industries_short")
FORMS = Weighted(
    (
        (30, "有限公司"),
        (16, "股份有限公司"),
        (7, "集团有限公司"),
        (5, "（集团）有限公司"),
        (6, "有限责任公司"),
        (5, "（集团）股份有限公司"),
        (3, "集团股份有限公司"),
        (4, "集团公司"),
        (6, "公司"),
        (5, "集团"),
        (3, "股份公司"),
        (2, "总公司"),
        (1.5, "分公司"),
        (1.5, "合伙企业（有限合伙）"),
        (1, "（集团）公司"),
        (0.7, "有限公司分公司"),
        (0.6, "控股有限公司"),
        (0.6, "国际有限公司"),
    )
)
LATIN_BRANDS = listed(
    "Alpha Apex Astra Atlas Aurora Avon Bay Bell Bio Blue Bright Capital Cargo Cell Chem Cyber Data Delta "
    "Digi Dyna East Eco Edge Elec Ever Far Fin Flex Gen Geo Glob Gold Grand Green Harbor High Hydro In "
    "Inter Jade Key King Lake Land Laser Link Luc Max Med Mega Meri Micro Net Neo Nova Omni Opti Pac Palm "
    "Pan Path Peak Penta Phar Pine Plan Poly Pro Quant Red River Rock Sea Semi Sky Smart Solar Sono Star "
    "Steel Sun Syn Tech Tele Terra Titan Trans Tri Ultra Uni Vast Vista Vita West Wind Zen"
)
LATIN_ENDS = listed(
    "a ex ia is on ra tech soft com link net ware bio med lab tek cor max wave line star mark ix os us o"
)
LATIN_FORMS = (
    *listed("Inc. Inc Ltd. Co.,Ltd. Corp. Corporation Group Limited HoldingsLtd. GmbH LLC AG S.A."),
    *("公司", "公司", "公司", "（中国）有限公司", "集团"),
)


def own_name(draw: random.Random, brands: Brands = None) -> str:
    """What a firm calls itself: two characters mostly, any in one firm of five; sometimes one of `brands`."""
    chance = draw.random()
    if brands and chance < 0.35:
        return draw.choice(brands)
    if chance < 0.7:
        return draw.choice(BRAND_CHARACTERS) + draw.choice(BRAND_CHARACTERS)
    if chance < 0.9:
        return "".join(any_character(draw) for _ in range(draw.choice((2, 2, 2, 3))))
    return "".join(draw.choice(BRAND_CHARACTERS) for _ in range(draw.choice((1, 3, 3, 4))))


def _where(draw: random.Random) -> str:
    """The place at the head of a name."""
    chance = draw.random()
    if chance < 0.4:
        return town(draw)
    if chance < 0.65:
        return region(draw)
    if chance < 0.78:
        return with_suffix(draw, town(draw))
    if chance < 0.9:
        return province(draw) if draw.random() < 0.5 else draw.choice(("中国", "中国", "香港"))
    return region(draw) + town(draw)


def company(draw: random.Random, brands: Brands = None) -> str:
    """A firm, in full or in short."""
    return _COMPANIES.pick(draw)(draw, brands)


def _full_company(draw: random.Random, brands: Brands) -> str:
    place = _where(draw) if draw.random() < 0.72 else ""
    name, industry, form = own_name(draw, brands), draw.choice(INDUSTRIES), FORMS.pick(draw)
    chance = draw.random()
    if chance < 0.06:
        industry = ""
    elif chance < 0.12:
        industry += draw.choice(INDUSTRIES_SHORT)
    if place and draw.random() < 0.15:
        return f"{name}（{place}）{industry}{form}" if draw.random() < 0.7 else f"{name}{industry}（{place}）{form}"
    if place and draw.random() < 0.04:
        return f"{name}{industry}{place}{draw.choice(('分公司', '公司', '有限公司', '办事处', '代表处'))}"
    return place + name + industry + form


def _short_company(draw: random.Random, brands: Brands) -> str:
    name = own_name(draw, brands)
    chance = draw.random()
    if chance < 0.55:
        return name + draw.choice(INDUSTRIES_SHORT)
    if chance < 0.7:
        return name + draw.choice(("集团", "股份", "公司", "国际", "控股"))
    if chance < 0.85:
        return _where(draw) + name + draw.choice(("", "集团", "公司"))
    return name if len(name) > 1 else name + draw.choice(INDUSTRIES_SHORT)


def relative(draw: random.Random, family: str) -> str:
    """A firm of a group: the group's own name among place, trade, unit and form, as its firms all bear it."""
    chance = draw.random()
    if chance < 0.3:
        return (_where(draw) if draw.random() < 0.4 else "") + family + draw.choice(INDUSTRIES) + FORMS.pick(draw)
    if chance < 0.6:
        return family + draw.choice((*_GROUP, draw.choice(INDUSTRIES_SHORT), draw.choice(INDUSTRIES_SHORT)))
    line = family + draw.choice(("", draw.choice(INDUSTRIES_SHORT)))
    if chance < 0.85:
        return line + draw.choice((town, region))(draw) + draw.choice(_BRANCHES)
    if chance < 0.93:
        return line + draw.choice(listed("研究院 研究所 技术中心 财务公司 总部 投资 实业公司 销售公司 总厂 分厂"))
    return draw.choice((town, region))(draw) + draw.choice(_BRANCHES)


_GROUP = listed("集团 集团 股份 公司 集团公司 控股 有限 国际 集团有限公司")
_BRANCHES = listed("分公司 分公司 支公司 公司 办事处 有限公司 分行 营业部 分部 工厂 项目部")


def _state_company(draw: random.Random, brands: Brands) -> str:
    """A state firm named by place and trade alone."""
    place = _where(draw)
    industry = draw.choice(INDUSTRIES)
    tail = listed("总公司 公司 集团公司 集团总公司 工业公司 进出口公司 供应公司 建设公司 联合公司 实业总公司")
    return f"{place}{industry}{draw.choice(tail)}"


def _unit_of_a_state_company(draw: random.Random, brands: Brands) -> str:
    """A works, bureau or institute under a state group, with all its owners: one name."""
    head = (
        _state_company(draw, brands)
        if draw.random() < 0.6
        else own_name(draw, brands) + draw.choice(("集团", "集团公司", "股份公司"))
    )
    number = draw.choice(ORDINALS)
    industry = draw.choice(INDUSTRIES_SHORT)
    tail = (
        *(
            f"{town(draw)}分公司",
            f"{town(draw)}分公司",
            f"第{number}工程公司",
            f"{town(draw)}公司",
            f"{region(draw)}分公司",
            f"{town(draw)}办事处",
        ),
        *(
            f"{industry}公司",
            f"{industry}厂",
            f"{industry}分公司",
            f"第{number}分公司",
            f"{town(draw)}{industry}厂",
            f"{number}公司",
            f"{number}厂",
        ),
        *(
            f"{town(draw)}项目部",
            "技术中心",
            "研究院",
            f"{industry}研究所",
            "财务公司",
            "驻京办事处",
            f"{industry}工程局",
            f"{town(draw)}供电局",
        ),
    )
    return head + draw.choice(tail)


def factory(draw: random.Random, brands: Brands = None) -> str:
    """A works: 某某市第二棉纺织厂."""
    products = draw.choice(words("factory_products"))
    number = draw.choice(("", "", "", "第一", "第二", "第三", "总")) if draw.random() < 0.5 else ""
    place = _where(draw) if draw.random() < 0.85 else own_name(draw, brands)
    ownership = draw.choice(("", "", "", "", "国营", "地方国营", "县", "市"))
    ending = draw.choice(listed("厂 厂 厂 总厂 分厂 公司"))
    if draw.random() < 0.12:
        digits = "〇零一二三四五六七八九"
        number = draw.choice(digits[2:]) + draw.choice(digits) + draw.choice(digits[2:])
        return f"国营{draw.choice(('', '第'))}{number}厂"
    if ownership in ("国营", "地方国营"):
        return f"{ownership}{place}{number}{products}{ending}"
    return f"{place}{ownership}{number}{products}{ending}".replace("市市", "市").replace("县县", "县")


def foreign_company(draw: random.Random, brands: Brands = None) -> str:
    """A firm abroad: transliterated, Latin, or both."""
    chance = draw.random()
    if chance < 0.4:
        latin = draw.choice(LATIN_BRANDS) + draw.choice((draw.choice(LATIN_ENDS), draw.choice(LATIN_BRANDS)))
        return (draw.choice((country(draw), "")) if draw.random() < 0.4 else "") + latin + draw.choice(LATIN_FORMS)
    if chance < 0.5:
        letters = "".join(draw.choice("ABCDEFGHIJKLMNOPRSTUVWXYZ") for _ in range(draw.choice((2, 3, 3, 4))))
        return (
            draw.choice(("", "", country(draw)))
            + letters
            + draw.choice(("公司", "集团", "", "（中国）有限公司", "株式会社"))
        )
    name = transliterated_name(draw).replace("·", "")[: draw.choice((2, 3, 4, 5))]
    lead = country(draw) if draw.random() < 0.5 else ""
    middle = draw.choice(("", "", draw.choice(INDUSTRIES)))
    tail = listed("公司 公司 有限公司 集团 （中国）有限公司 （中国）投资有限公司 株式会社 中国有限公司 亚太区")
    return lead + name + middle + draw.choice(tail)


GENERIC = Weighted(
    (
        *(
            (22, "有限公司"),
            (10, "股份有限公司"),
            (8, "有限责任公司"),
            (8, "集团有限公司"),
            (8, "集团公司"),
            (8, "集团"),
            (6, "公司"),
        ),
        *(
            (6, "（集团）股份有限公司"),
            (4, "（集团）有限公司"),
            (3, "集团股份有限公司"),
            (2, "总公司"),
            (2, "分公司"),
            (2, "股份公司"),
        ),
    )
)


FORMS_BY_LENGTH = sorted(GENERIC.values, key=len, reverse=True)
BRACKETED = re.compile("（[^（）]*）")


def short_of(draw: random.Random, name: str) -> str:
    """What a text may call a firm after its full name: the head of the name, without place and form."""
    core = name
    for form in FORMS_BY_LENGTH:
        if core.endswith(form):
            core = core.removesuffix(form)
            break
    core = BRACKETED.sub("", core)
    for size in (4, 3, 2):
        if core[:size] in PLACES and len(core) >= size + 2:
            core = core[size:].lstrip("市县省")
            break
    if core.isascii():
        return core or name
    chance = draw.random()
    if len(core) < 4 or chance < 0.25:
        return core[:2] + draw.choice(listed("股份 集团 公司 控股 有限"))
    return core[:4] if chance < 0.75 else core[:2] if chance < 0.9 else core


_COMPANIES = Weighted(
    (
        *((58, _full_company), (24, _short_company), (6, _state_company), (6, _unit_of_a_state_company)),
        *((4, factory), (6, foreign_company)),
    )
)
