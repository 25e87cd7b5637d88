"""Documents packed into rows of equal length, and rows to a batch. No padding where there is text to fill the gaps.

A document of text goes on in a later row, where a row ends within it; an example is never cut. What a row holds was
drawn by *tokens*: next comes the source that is furthest behind its weight.

Shape suffixes: B rows, N tokens of a row, S supervised tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from yuantune.data.documents import NOTHING, Tokens
from yuantune.data.stream import DocumentStream

LOOK_AHEAD = 64
"""Examples of a source among which the one that fits best is chosen."""


@dataclass(frozen=True, slots=True)
class Row:
    """`ids`, `labels` (NOTHING: none) and `positions`, which restart at 0 with each document, int32 [N]; and
    how many of the tokens, all at the end, are padding."""

    ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    positions: NDArray[np.int32]
    padding: int


class PackedBatch(TypedDict):
    """One forward pass over packed rows. `row_S` and `position_S` name the token whose hidden state predicts
    `label_S`."""

    input_ids: torch.Tensor  # int64 BN
    position_ids: torch.Tensor  # int64 BN
    row_S: torch.Tensor  # int64
    position_S: torch.Tensor  # int64
    label_S: torch.Tensor  # int64
    weight_S: torch.Tensor  # float32


class Packer:
    """Rows of `length` tokens from weighted streams, as long as any stream has documents.

    `drawn` counts the tokens taken from each stream. A gap at a row's end that no example fits is filled with text,
    from the stream of text that is furthest behind; where there is none, with `pad_id`."""

    def __init__(
        self, streams: Sequence[DocumentStream], weights: Sequence[float], *, length: int, pad_id: int
    ) -> None:
        self.length, self.pad_id = length, pad_id
        self.drawn = [0] * len(streams)
        self.padded = 0
        """Tokens of padding so far."""
        self.streams, self._weights = list(streams), list(weights)
        # Of a stream of text, the rest of the document that a row's end has cut; else the examples that wait.
        self._held: list[list[Tokens]] = [[] for _ in streams]
        self._open = [True] * len(streams)

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        pieces: list[Tokens] = []
        room = self.length
        while room and (piece := self._next_piece(room)) is not None:
            pieces.append(piece)
            room -= len(piece)
        if not pieces:
            raise StopIteration
        self.padded += room
        return _row(pieces, room, self.pad_id)

    def state(self) -> dict[str, Any]:
        """The place after the last row, for JSON."""
        return {
            "drawn": list(self.drawn),
            "padded": self.padded,
            "streams": [stream.state() for stream in self.streams],
            "held": [[[each.ids.tolist(), each.labels.tolist()] for each in documents] for documents in self._held],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a place that `state` gave, of a packer made in the same way."""
        self.drawn, self.padded = list(state["drawn"]), state["padded"]
        for stream, place in zip(self.streams, state["streams"], strict=True):
            stream.restore(place)
        self._held = [
            [Tokens(np.asarray(ids, np.int32), np.asarray(labels, np.int32)) for ids, labels in documents]
            for documents in state["held"]
        ]

    # ------------------------------------------------------------------------------------------- what comes next

    def _next_piece(self, room: int) -> Tokens | None:
        """What the sources give for the rest of a row, those furthest behind asked first; None where nothing
        fits."""
        behind = sorted(range(len(self.streams)), key=lambda i: (self.drawn[i] / self._weights[i], i))
        first = behind[0]
        if not self.streams[first].corpus.cuttable:
            # In its turn an example may not fit: another one may, else text fills the row.
            behind = sorted(behind, key=lambda i: self.streams[i].corpus.cuttable)
        for source in behind:
            piece = self._cut(source, room) if self.streams[source].corpus.cuttable else self._fit(source, room)
            if piece is not None:
                self.drawn[source] += len(piece)
                return piece
        return None

    def _cut(self, source: int, room: int) -> Tokens | None:
        """The next `room` tokens of text, or what is left of the document."""
        held = self._held[source]
        if not held and not self._fill(source, 1):
            return None
        document = held.pop()
        if len(document) <= room:
            return document
        piece, rest = document.split(room)
        held.append(rest)
        return piece

    def _fit(self, source: int, room: int) -> Tokens | None:
        """The longest waiting example that fits; in an empty row the one that waits longest, so that none waits
        for ever."""
        self._fill(source, LOOK_AHEAD)
        held = self._held[source]
        if not held:
            return None
        if room == self.length:
            return held.pop(0)
        best = max(range(len(held)), key=lambda i: (len(held[i]) if len(held[i]) <= room else -1, -i))
        return held.pop(best) if len(held[best]) <= room else None

    def _fill(self, source: int, wanted: int) -> bool:
        """Hold `wanted` documents of a source; whether there is any."""
        held = self._held[source]
        while self._open[source] and len(held) < wanted:
            document = next(self.streams[source], None)
            if document is None:
                self._open[source] = False
            else:
                held.append(document)
        return bool(held)


def _row(pieces: Sequence[Tokens], room: int, pad_id: int) -> Row:
    lengths = [len(piece) for piece in pieces] + ([room] if room else [])
    return Row(
        np.concatenate([*(piece.ids for piece in pieces), np.full(room, pad_id, np.int32)]),
        np.concatenate([*(piece.labels for piece in pieces), np.full(room, NOTHING, np.int32)]),
        np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        room,
    )


def collate_rows(rows: Sequence[Row]) -> PackedBatch:
    """Rows of one length to a batch."""
    labels_BN = torch.from_numpy(np.stack([row.labels for row in rows])).long()
    row_S, position_S = (labels_BN != NOTHING).nonzero(as_tuple=True)
    return PackedBatch(
        input_ids=torch.from_numpy(np.stack([row.ids for row in rows])).long(),
        position_ids=torch.from_numpy(np.stack([row.positions for row in rows])).long(),
        row_S=row_S,
        position_S=position_S,
        label_S=labels_BN[row_S, position_S],
        weight_S=torch.ones(len(row_S), dtype=torch.float32),
    )
