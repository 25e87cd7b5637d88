"""Examples to a Batch: right-padded rows, and supervision as triples.

Supervision is `(predict_from, label, weight)` and not a copy of the ids shifted by one: one hidden state may then
predict several tokens, or none, and only supervised positions need to reach the vocabulary.

Shape suffixes: B rows, T padded length, S supervised tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch

from yuantune.data.examples import Example


class Batch(TypedDict):
    """One forward pass. `row_S` and `position_S` name the token whose hidden state predicts `label_S`."""

    input_ids: torch.Tensor  # int64 BT
    attention_mask: torch.Tensor  # int64 BT, 1 where there is a token
    row_S: torch.Tensor  # int64
    position_S: torch.Tensor  # int64
    label_S: torch.Tensor  # int64
    weight_S: torch.Tensor  # float32


def collate(examples: Sequence[Example], *, pad_id: int) -> Batch:
    """Pad examples on the right to the longest of them.

    The first token of a row is never supervised: nothing precedes it. Raises no error: examples come whole from
    the check (`yuantune.data.check`)."""
    longest = max(len(example.ids) for example in examples)
    ids_BT = torch.full((len(examples), longest), pad_id, dtype=torch.int64)
    mask_BT = torch.zeros((len(examples), longest), dtype=torch.int64)
    rows: list[int] = []
    positions: list[int] = []
    for row, example in enumerate(examples):
        length = len(example.ids)
        ids_BT[row, :length] = torch.tensor(example.ids, dtype=torch.int64)
        mask_BT[row, :length] = 1
        supervised = [i for i in range(1, length) if example.supervised[i]]
        rows += [row] * len(supervised)
        positions += [i - 1 for i in supervised]
    row_S = torch.tensor(rows, dtype=torch.int64)
    position_S = torch.tensor(positions, dtype=torch.int64)
    return Batch(
        input_ids=ids_BT,
        attention_mask=mask_BT,
        row_S=row_S,
        position_S=position_S,
        label_S=ids_BT[row_S, position_S + 1],
        weight_S=torch.ones(len(rows), dtype=torch.float32),
    )
