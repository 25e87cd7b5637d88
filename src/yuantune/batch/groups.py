"""Which examples of a batch share how long a prefix: the partition that saves the most tokens.

In order of the tokens that may be shared, examples with a common prefix stand together; the stretches nest as a
tree, from the leaves of which groups are chosen. A group saves its prefix, for every example but one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from yuantune.data.examples import Example

LEAST_SHARED = 16
"""Shorter prefixes stay with their examples: laying them out costs more than computing them."""


@dataclass(frozen=True, slots=True)
class Group:
    """Examples, by their place in the batch, whose first `prefix` tokens are the same and unsupervised."""

    prefix: int
    members: tuple[int, ...]


def partition(examples: Sequence[Example], *, least: int = LEAST_SHARED) -> list[Group]:
    """Groups with a shared prefix of at least `least` tokens that together save the most tokens; examples that
    share with nobody are groups of their own, without a prefix.

    A prefix ends before the first supervised token, and leaves every example at least one token of its own. Usually
    O(n log n) comparisons of ids, O(n²) choices where prefixes nest deeply."""
    shareable = [_shareable(example) for example in examples]
    order = sorted(range(len(examples)), key=lambda i: shareable[i])
    common = [_common(shareable[one], shareable[other]) for one, other in pairwise(order)]
    choices = _choices(order, common, 0, len(order), max(least, 1))
    best = max(choices.values(), key=lambda choice: choice.saved)
    groups = [*best.groups, *(Group(0, (member,)) for member in best.left)]
    return sorted(groups, key=lambda group: group.members)


@dataclass(frozen=True, slots=True)
class _Choice:
    """One way to group a stretch of examples: what it saves, its groups, and who is `left` for a wider group."""

    saved: int
    groups: tuple[Group, ...]
    left: tuple[int, ...]


def _choices(order: Sequence[int], common: Sequence[int], start: int, end: int, least: int) -> dict[int, _Choice]:
    """The best choice for `order[start:end]` for each number of examples that it leaves.

    A stretch falls apart where its examples share the least, and each part has its own choices. Whoever is left
    by the parts either makes a group here, or is left for a wider one: then all, since here they share more."""
    if end - start <= 1:
        return {end - start: _Choice(0, (), tuple(order[start:end]))}
    shared = min(common[start : end - 1])
    borders = [start, *(at + 1 for at in range(start, end - 1) if common[at] == shared), end]
    found = {0: _Choice(0, (), ())}
    for part in pairwise(borders):
        more = _choices(order, common, *part, least)
        sums = [
            _Choice(one.saved + other.saved, one.groups + other.groups, one.left + other.left)
            for one in found.values()
            for other in more.values()
        ]
        found = _best_each(sums)
    if shared < least:
        return found
    grouped = [
        _Choice(
            choice.saved + shared * (len(choice.left) - 1),
            (*choice.groups, Group(shared, tuple(sorted(choice.left)))),
            (),
        )
        for choice in found.values()
        if len(choice.left) > 1
    ]
    return _best_each([*found.values(), *grouped])


def _best_each(choices: Sequence[_Choice]) -> dict[int, _Choice]:
    best: dict[int, _Choice] = {}
    for choice in choices:
        known = best.get(len(choice.left))
        if known is None or choice.saved > known.saved:
            best[len(choice.left)] = choice
    return best


def _shareable(example: Example) -> list[int]:
    """The tokens of an example that may be shared: those before the first supervised one, and not its last."""
    first = next((i for i, supervised in enumerate(example.supervised) if supervised), len(example.ids))
    return example.ids[: min(first, len(example.ids) - 1)]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low
