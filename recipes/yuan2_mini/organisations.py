"""Any organisation: which kinds there are, and how often each comes in an executive's career."""

from __future__ import annotations

import random
from collections.abc import Callable

from .firms import Brands, company, factory
from .institutions import (
    agency,
    association,
    county,
    hospital,
    institute,
    media,
    military_unit,
    school,
    university,
    village,
)
from .services import accounting_firm, bank, finance_house, law_firm
from .wordlists import Weighted


def fixed(name: str) -> Callable[[random.Random, Brands], str]:
    """A generator of two arguments from one of one."""
    plain: Callable[[random.Random], str] = {"university": university, "hospital": hospital, "agency": agency}[name]
    return lambda draw, brands: plain(draw)


KINDS: dict[str, Callable[[random.Random, Brands], str]] = {
    "company": company,
    "factory": factory,
    "bank": bank,
    "finance": finance_house,
    "law": law_firm,
    "accounting": accounting_firm,
    "university": fixed("university"),
    "school": school,
    "hospital": fixed("hospital"),
    "institute": institute,
    "agency": fixed("agency"),
    "association": association,
    "military": military_unit,
    "media": media,
    "village": village,
    "county": county,
}
_MIX = Weighted(
    (
        (52, "company"),
        (6, "factory"),
        (5, "bank"),
        (4, "finance"),
        (2, "law"),
        (4, "accounting"),
        (6, "university"),
        (0.6, "school"),
        (0.8, "hospital"),
        (4, "institute"),
        (8, "agency"),
        (2.5, "association"),
        (0.6, "military"),
        (1, "media"),
        (0.8, "village"),
        (0.8, "county"),
    )
)


def kind_of_organisation(draw: random.Random) -> str:
    """A key of `KINDS`, as an executive's career mixes them."""
    return _MIX.pick(draw)


def organisation(draw: random.Random, brands: Brands = None) -> str:
    """Any organisation."""
    return KINDS[_MIX.pick(draw)](draw, brands)
