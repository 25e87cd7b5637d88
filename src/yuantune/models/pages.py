"""Keys and values of rows that grow side by side, in pages of a few tokens.

A row takes a page when it needs one, and gives all of its pages back when it leaves: a long row makes no room
beside its neighbours (Kwon et al., "Efficient Memory Management for Large Language Model Serving with
PagedAttention", 2023).

Where most pages are asked for, no key is copied to be read: scores are made page by page, as they lie, and only
those are put together by rows.

Shapes: R rows, B pages, S tokens of a page, K heads of keys and values, G query heads of each, L most new tokens of
a row, A = K·G query heads, Q = G·L, E width of a head, C most pages of a row, T = C·S, P tokens of the prefix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SIZE = 16
"""S. Of each row's last page, half is empty on average; smaller pages are slower to read."""
_GROWTH = 8
"""The store grows by one part in so many."""


@dataclass(frozen=True, slots=True)
class Span:
    """The pages of some rows, as a step reads them: those at `page_B`, or, None, the first B of the store. `row_B`
    is the row of each, by its place among the R, and `cell_B` its place in [R·C]."""

    rows: int
    columns: int
    page_B: Tensor | None
    row_B: Tensor
    cell_B: Tensor

    @property
    def tokens(self) -> int:
        """T."""
        return self.columns * SIZE


class Pages:
    """What rows 0 to `rows` - 1 hold of each layer."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        """[B, K, S, E], one a layer; made when it is first written to."""
        self.values: list[Tensor] = []
        self._of_row: list[list[int]] = []
        self._free: list[int] = []
        self._count = 0

    @property
    def bytes_per_token(self) -> int:
        """What a token of a row keeps, once there has been one."""
        return sum(each[0, :, 0].numel() * each.element_size() for each in (*self.keys, *self.values))

    def add_row(self) -> None:
        """A further row, which holds nothing."""
        self._of_row.append([])

    def remove_row(self, row: int) -> None:
        """Give a row's pages back; the last row takes its number."""
        # What is no number would spread to whoever takes the page, or reads it with others.
        if self.keys:
            gone_B = torch.tensor(self._of_row[row], dtype=torch.int64, device=self.keys[0].device)
            for each in (*self.keys, *self.values):
                each.index_fill_(0, gone_B, 0)
        # The lowest pages are taken first, so that those in use stay together.
        self._free = sorted([*self._free, *self._of_row[row]], reverse=True)
        self._of_row[row] = self._of_row[-1]
        self._of_row.pop()

    def make_room(self, tokens: Sequence[int]) -> None:
        """Pages for as many tokens of each row."""
        wanted = [max(-(-count // SIZE) - len(pages), 0) for count, pages in zip(tokens, self._of_row, strict=True)]
        lacking = sum(wanted) - len(self._free)
        if lacking > 0:
            more = max(lacking, self._count // _GROWTH)
            self._free = [*reversed(range(self._count, self._count + more)), *self._free]
            self._count += more
            for held in (self.keys, self.values):
                for layer, each in enumerate(held):
                    # One layer after the other: only of one, both are there.
                    held[layer] = each.new_zeros(self._count, *each.shape[1:])
                    held[layer][: len(each)] = each
        for pages, count in zip(self._of_row, wanted, strict=True):
            pages += [self._free.pop() for _ in range(count)]

    def places(self, row: int, first: int, count: int) -> list[int]:
        """Where `count` tokens of a row lie, from its token `first` on: page by page, in [B·S]."""
        pages = self._of_row[row]
        return [pages[at // SIZE] * SIZE + at % SIZE for at in range(first, first + count)]

    def write(self, layer: int, place_N: Tensor, key_KNE: Tensor, value_KNE: Tensor) -> None:
        """Put tokens at their places."""
        page_N, at_N = place_N // SIZE, place_N % SIZE
        for held, new_KNE in ((self.keys, key_KNE), (self.values, value_KNE)):
            while len(held) <= layer:
                held.append(new_KNE.new_zeros(self._count, new_KNE.shape[0], SIZE, new_KNE.shape[2]))
            held[layer][page_N, :, at_N] = new_KNE.transpose(0, 1)

    def of_row(self, layer: int, row: int, count: int) -> tuple[Tensor, Tensor]:
        """A copy of a row's first tokens: keys and values, each [K, count, E]."""
        place = torch.tensor(self.places(row, 0, count), device=self.keys[layer].device)
        keys, values = (
            held[layer][place // SIZE, :, place % SIZE].transpose(0, 1) for held in (self.keys, self.values)
        )
        return keys.contiguous(), values.contiguous()

    def span(self, rows: Sequence[int], device: torch.device) -> Span:
        """The pages of `rows`."""
        row_of = {
            page: (at, column) for at, row in enumerate(rows) for column, page in enumerate(self._of_row[row])
        }
        columns, first = max(len(self._of_row[row]) for row in rows), max(row_of) + 1
        pages = sorted(row_of)
        together = first <= 2 * len(pages)
        if together and first > len(pages):
            # The pages between are read, too, which costs less than to gather the others; nobody sees their column.
            pages, columns = list(range(first)), columns + 1
        found = [row_of.get(page, (0, columns - 1)) for page in pages]  # Those are zeros.
        row_B = torch.tensor([at for at, _ in found], device=device)
        cell_B = torch.tensor([at * columns + column for at, column in found], device=device)
        return Span(len(rows), columns, None if together else torch.tensor(pages, device=device), row_B, cell_B)

    def attend(
        self,
        layer: int,
        span: Span,
        seen_RLT: Tensor,
        query_RALE: Tensor,
        prefix: tuple[Tensor, Tensor] | None,
        scaling: float,
    ) -> Tensor:
        """[R, A, L, E] to the same: few queries over many keys, so scores and sums are two products each, and the
        prefix (keys and values, [K, P, E]) is read once for all rows. `seen_RLT`: which of its row's own tokens
        each query sees."""
        key_BKSE, value_BKSE = (
            held[layer][: len(span.row_B)] if span.page_B is None else held[layer].index_select(0, span.page_B)
            for held in (self.keys, self.values)
        )
        rows, heads, longest, width = query_RALE.shape
        shared = key_BKSE.shape[1]
        query_RKQE = query_RALE.reshape(rows, shared, heads // shared * longest, width) * scaling
        by_page_BKQS = query_RKQE.index_select(0, span.row_B) @ key_BKSE.transpose(-1, -2)
        # Cells without a page are never seen.
        scores = by_page_BKQS.new_zeros(rows * span.columns, *by_page_BKQS.shape[1:])
        scores.index_copy_(0, span.cell_B, by_page_BKQS)
        scores_RKQT = scores.unflatten(0, (rows, span.columns)).permute(0, 2, 3, 1, 4).flatten(3)
        scores_RKGLT = scores_RKQT.unflatten(2, (-1, longest))
        scores_RKGLT = scores_RKGLT.masked_fill(~seen_RLT[:, None, None], -math.inf)
        count = 0
        if prefix is not None:
            count = prefix[0].shape[1]
            over_prefix_KQP = query_RKQE.transpose(0, 1).flatten(1, 2) @ prefix[0].transpose(-1, -2)
            over_prefix_RKGLP = over_prefix_KQP.view(shared, rows, -1, longest, count).transpose(0, 1)
            scores_RKGLT = torch.cat((over_prefix_RKGLP, scores_RKGLT), -1)
        weights = _softmax(scores_RKGLT).flatten(2, 3)
        own_BKQS = weights[..., count:].unflatten(-1, (span.columns, SIZE)).permute(0, 3, 1, 2, 4).flatten(0, 1)
        by_page_BKQE = own_BKQS.index_select(0, span.cell_B) @ value_BKSE
        summed_RKQE = by_page_BKQE.new_zeros(rows, *by_page_BKQE.shape[1:]).index_add_(0, span.row_B, by_page_BKQE)
        if prefix is not None:
            of_prefix_KQP = weights[..., :count].transpose(0, 1).flatten(1, 2)
            summed_RKQE += (of_prefix_KQP @ prefix[1]).unflatten(1, (rows, -1)).transpose(0, 1)
        return summed_RKQE.reshape(rows, heads, longest, -1)


def _softmax(scores: Tensor) -> Tensor:
    """At least in float32, back in the type of the scores."""
    return scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(scores.dtype)
