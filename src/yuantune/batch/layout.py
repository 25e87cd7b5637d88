"""Examples to a `GroupedBatch`: one row of tokens in which a shared prefix stands once, its branches behind it.

Every token has a position, as if its example stood alone, and a parent: the token before it in its own example.
Attention over the row goes group by group (`yuantune.models.grouped`): no token sees another branch.

Shape suffixes: N tokens of the row, R branches of a block, L tokens of its longest, S supervised tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

import torch

from yuantune.batch.groups import LEAST_SHARED, Group, partition
from yuantune.data.examples import Example
from yuantune.models.grouped import Block, Layout, Span

SPREAD = 1.25
"""Branches that attend side by side are padded, there and nowhere else: the longest is at most so many times the
shortest."""


class GroupedBatch(TypedDict):
    """One forward pass. `row_S` is 0; `position_S` names the token of the row whose state predicts `label_S`."""

    input_ids: torch.Tensor  # int64 1N
    position_ids: torch.Tensor  # int64 1N
    parents: torch.Tensor  # int64 1N, -1 for a first token
    layout: Layout
    row_S: torch.Tensor  # int64
    position_S: torch.Tensor  # int64
    label_S: torch.Tensor  # int64
    weight_S: torch.Tensor  # float32


def lay_out(examples: Sequence[Example], *, least: int = LEAST_SHARED) -> GroupedBatch:
    """Lay examples out flat, what they share once (`yuantune.batch.groups.partition`).

    The first token of an example is never supervised: nothing precedes it."""
    row = _Row()
    spans = [row.add(examples, group) for group in _together(examples, partition(examples, least=least))]
    longest = max((len(example.ids) for example in examples), default=0)
    position_S = torch.tensor(row.predict_from, dtype=torch.int64)
    return GroupedBatch(
        input_ids=torch.tensor([row.ids], dtype=torch.int64),
        position_ids=torch.tensor([row.positions], dtype=torch.int64),
        parents=torch.tensor([row.parents], dtype=torch.int64),
        layout=Layout(tuple(spans), len(examples), longest),
        row_S=torch.zeros_like(position_S),
        position_S=position_S,
        label_S=torch.tensor(row.labels, dtype=torch.int64),
        weight_S=torch.ones(len(row.labels), dtype=torch.float32),
    )


def _together(examples: Sequence[Example], groups: Sequence[Group]) -> Iterator[Group]:
    """The groups; those without a prefix as one, whose examples attend side by side."""
    yield from (group for group in groups if group.prefix)
    if alone := [member for group in groups if not group.prefix for member in group.members]:
        yield Group(0, tuple(alone))


class _Row:
    """A row under way."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.parents: list[int] = []
        self.predict_from: list[int] = []
        self.labels: list[int] = []

    def add(self, examples: Sequence[Example], group: Group) -> Span:
        start, prefix = len(self.ids), group.prefix
        self._append(examples[group.members[0]], 0, prefix, parent=-1)
        # Of one length as nearly as can be: the longest branch of a block says what its attention costs.
        members = sorted(group.members, key=lambda i: len(examples[i].ids), reverse=True)
        blocks: list[list[tuple[int, int]]] = []
        for member in members:
            example, at = examples[member], len(self.ids)
            length = len(example.ids) - prefix
            self._append(example, prefix, len(example.ids), parent=start + prefix - 1 if prefix else -1)
            if blocks and blocks[-1][0][1] <= SPREAD * length:
                blocks[-1].append((at, length))
            else:
                blocks.append([(at, length)])
        return Span(start, prefix, tuple(_block(branches) for branches in blocks))

    def _append(self, example: Example, begin: int, end: int, *, parent: int) -> None:
        """The tokens [begin, end) of an example; `parent` comes before the first of them, -1 for nothing."""
        for i in range(begin, end):
            if i and example.supervised[i]:
                self.predict_from.append(parent)
                self.labels.append(example.ids[i])
            self.ids.append(example.ids[i])
            self.positions.append(i)
            self.parents.append(parent)
            parent = len(self.ids) - 1


def _block(branches: Sequence[tuple[int, int]]) -> Block:
    starts = torch.tensor([start for start, _ in branches], dtype=torch.int64)[:, None]
    lengths = torch.tensor([length for _, length in branches], dtype=torch.int64)[:, None]
    place_L = torch.arange(int(lengths.max()))
    has_RL = place_L < lengths
    return Block(torch.where(has_RL, starts + place_L, 0), has_RL)
