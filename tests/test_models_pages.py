"""Rows in pages against rows that are kept whole: attention in float64."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from yuantune.models.pages import SIZE, Pages

LAYERS, HEADS, GROUP, WIDTH = 2, 2, 3, 4


class Rows:
    """What each row holds, in pages and beside them: [K, T, E] of each layer."""

    def __init__(self, seed: int) -> None:
        self.pages, self.draw = Pages(), random.Random(seed)
        self.held: list[list[tuple[Tensor, Tensor]]] = []

    def add(self) -> None:
        self.pages.add_row()
        nothing = torch.zeros(HEADS, 0, WIDTH, dtype=torch.float64)
        self.held.append([(nothing, nothing)] * LAYERS)

    def remove(self, row: int) -> None:
        self.pages.remove_row(row)
        self.held[row] = self.held[-1]
        self.held.pop()

    def length(self, row: int) -> int:
        return self.held[row][0][0].shape[1]

    def write(self) -> None:
        counts = [self.draw.choice((1, 2, SIZE, 3 * SIZE)) for _ in self.held]
        lengths = [self.length(row) for row in range(len(counts))]
        self.pages.make_room([length + count for length, count in zip(lengths, counts, strict=True)])
        place_N = torch.tensor(
            [place for row, count in enumerate(counts) for place in self.pages.places(row, lengths[row], count)]
        )
        for layer in range(LAYERS):
            key_KNE, value_KNE = torch.randn(2, HEADS, len(place_N), WIDTH, dtype=torch.float64)
            self.pages.write(layer, place_N, key_KNE, value_KNE)
            new = zip(key_KNE.split(counts, 1), value_KNE.split(counts, 1), strict=True)
            for row, (key, value) in enumerate(new):
                own = self.held[row][layer]
                self.held[row][layer] = (torch.cat((own[0], key), 1), torch.cat((own[1], value), 1))

    def check(self, rows: list[int], prefix: int) -> None:
        """The attention of a few queries a row, each seeing up to a place of its own."""
        longest = self.draw.randint(1, 3)
        span = self.pages.span(rows, torch.device("cpu"))
        first = [self.draw.randint(0, self.length(row) - 1) for row in rows]
        last_RL = torch.tensor(
            [
                [min(at + more, self.length(row) - 1) for more in range(longest)]
                for row, at in zip(rows, first, strict=True)
            ]
        )
        seen_RLT = torch.arange(span.tokens) <= last_RL[..., None]
        for layer in range(LAYERS):
            query = torch.randn(len(rows), HEADS * GROUP, longest, WIDTH, dtype=torch.float64)
            before = torch.randn(2, HEADS, prefix, WIDTH, dtype=torch.float64).unbind() if prefix else None
            found = self.pages.attend(layer, span, seen_RLT, query, before, 0.3)
            for at, row in enumerate(rows):
                keys, values = self.held[row][layer]
                if before is not None:
                    keys, values = torch.cat((before[0], keys), 1), torch.cat((before[1], values), 1)
                for head in range(HEADS * GROUP):
                    for new in range(longest):
                        sees = prefix + int(last_RL[at, new]) + 1
                        mine = keys[head // GROUP, :sees]
                        weights = (mine @ query[at, head, new] * 0.3).softmax(0)
                        expected = weights @ values[head // GROUP, :sees]
                        torch.testing.assert_close(found[at, head, new], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("prefix", [0, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rows_that_come_and_go(prefix: int, seed: int) -> None:
    torch.manual_seed(seed)
    rows = Rows(seed)
    for turn in range(6):
        for _ in range(rows.draw.randint(1, 4)):
            rows.add()
        rows.write()
        rows.check(list(range(len(rows.held))), prefix)
        # Few rows of many: their pages are gathered.
        for few in (1, 2):
            rows.check(sorted(rows.draw.sample(range(len(rows.held)), min(few, len(rows.held)))), prefix)
        while len(rows.held) > 1 and rows.draw.random() < (0.9 if turn == 3 else 0.5):
            rows.remove(rows.draw.randrange(len(rows.held)))
    kept = rows.pages.of_row(1, 0, rows.length(0))
    assert all(torch.equal(one, other) for one, other in zip(kept, rows.held[0][1], strict=True))


def test_a_long_row_takes_no_room_for_its_neighbours() -> None:
    pages = Pages()
    for _ in range(32):
        pages.add_row()
    pages.make_room([100 * SIZE, *[1] * 31])
    pages.write(0, torch.tensor(pages.places(0, 0, 1)), *torch.zeros(2, HEADS, 1, WIDTH))
    assert len(pages.keys[0]) == 131
    pages.remove_row(0)
    pages.add_row()
    pages.make_room([1] * 31 + [100 * SIZE])  # Into what the other left.
    assert len(pages.keys[0]) == 131


def test_what_is_no_number_stays_in_its_row() -> None:
    pages = Pages()

    def attended(rows: list[int]) -> Tensor:
        span = pages.span(rows, torch.device("cpu"))
        seen_RLT = torch.arange(span.tokens) < torch.full((len(rows), 1, 1), 3)
        query = torch.ones(len(rows), HEADS, 1, WIDTH)
        return pages.attend(0, span, seen_RLT, query, None, 1.0).isfinite().flatten(1).all(1)

    for _ in range(3):
        pages.add_row()
    pages.make_room([3] * 3)
    places = torch.tensor([place for row in range(3) for place in pages.places(row, 0, 3)])
    keys, values = torch.ones(2, HEADS, 9, WIDTH)
    values[:, 3:6] = torch.inf
    keys[:, 3:6] = torch.nan
    pages.write(0, places, keys, values)
    assert attended([0, 1, 2]).tolist() == [True, False, True]
    pages.remove_row(1)
    assert attended([0, 1]).all()  # The page between is read, too.
    pages.add_row()
    pages.make_room([3] * 3)
    pages.write(0, torch.tensor(pages.places(2, 0, 3)), *torch.ones(2, HEADS, 3, WIDTH))
    assert attended([0, 1, 2]).all()  # And taken anew.


@pytest.mark.parametrize("rows", [[0], [40], [0, 40], list(range(41))])
def test_what_is_read(rows: list[int]) -> None:
    """Pages are read where they lie while half of what is read is asked for; else they are gathered."""
    pages = Pages()
    for _ in range(41):
        pages.add_row()
    pages.make_room([1] * 41)
    pages.write(0, torch.tensor([0]), *torch.zeros(2, HEADS, 1, WIDTH))
    span = pages.span(rows, torch.device("cpu"))
    assert (span.page_B is None) == (rows in ([0], list(range(41))))
    assert len(span.row_B) == len(rows)
