"""Names of banks, brokers, funds, law firms and auditors."""

from __future__ import annotations

import random

from .firms import Brands, own_name
from .people import province, region, town
from .wordlists import listed, words

BANKS = words("banks")


def bank(draw: random.Random, brands: Brands = None) -> str:
    """A bank or a branch of one."""
    chance = draw.random()
    if chance < 0.5:
        head = draw.choice(BANKS)
    elif chance < 0.8:
        head = town(draw) + draw.choice(
            listed("银行 市商业银行 农村商业银行 银行股份有限公司 农商行 市城市信用社 农村信用合作联社")
        )
    else:
        head = own_name(draw, brands) + draw.choice(("银行", "村镇银行", "银行股份有限公司"))
    if draw.random() < 0.35:
        return head
    where = town(draw) if draw.random() < 0.75 else region(draw)
    unit = draw.choice(listed("分行 分行 支行 市分行 省分行 县支行 市支行 营业部 中心支行 总行"))
    if unit == "省分行":
        where = region(draw)
    return head + unit if unit == "总行" else head + where + unit


def finance_house(draw: random.Random, brands: Brands = None) -> str:
    """Brokers, funds, insurers, trusts, futures, private equity."""
    name = draw.choice((own_name(draw, brands), region(draw), town(draw), own_name(draw, brands)))
    trade, full = draw.choice(
        (
            ("证券", ("股份有限公司", "有限责任公司", "有限公司", "公司", "")),
            ("证券", ("投资银行部", "研究所", "资产管理总部", "营业部", "资产管理有限公司")),
            ("基金", ("管理有限公司", "管理公司", "")),
            ("信托", ("有限责任公司", "投资公司", "投资有限公司", "")),
            ("期货", ("有限公司", "经纪有限公司", "")),
            ("财产保险", ("股份有限公司", "股份有限公司分公司", "公司")),
            ("人寿保险", ("股份有限公司", "公司", "有限公司")),
            ("资本", ("", "管理有限公司", "集团")),
            ("创业投资", ("有限公司", "基金", "管理有限公司")),
            ("股权投资", ("合伙企业（有限合伙）", "基金管理有限公司", "管理有限公司", "中心（有限合伙）")),
        )
    )
    return name + trade + draw.choice(full)


def law_firm(draw: random.Random, brands: Brands = None) -> str:
    """Lawyers."""
    place = draw.choice((town(draw), region(draw), "北京", "上海", "", province(draw)))
    tail = draw.choice(
        (
            "律师事务所",
            "律师事务所",
            "律师事务所",
            "（集团）律师事务所",
            f"（{town(draw)}）律师事务所",
            "律师事务所分所",
        )
    )
    return place + own_name(draw, None) + tail


def accounting_firm(draw: random.Random, brands: Brands = None) -> str:
    """Auditors, appraisers, tax agents."""
    place = draw.choice((town(draw), region(draw), "北京", "", "", province(draw)))
    tail = (
        *listed(
            "会计师事务所 会计师事务所 会计师事务所 会计师事务所有限公司 会计师事务所（特殊普通合伙） "
            "会计师事务所有限责任公司"
        ),
        *(
            "税务师事务所",
            "资产评估有限公司",
            "资产评估事务所",
            f"会计师事务所{town(draw)}分所",
            "联合会计师事务所",
            "审计师事务所",
        ),
    )
    return place + own_name(draw, None) + draw.choice(tail)
