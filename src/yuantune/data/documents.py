"""`Tokens`: a document of pretraining as the model sees it. `Corpus`: a source that gives documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

NOTHING = -1
"""In place of a label: nothing is learnt there."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A document as the model sees it: `ids`, and in `labels` what it learns to predict behind each of them
    (NOTHING: nothing), both int32 [N]. The document's last token is a label only: nothing follows it."""

    ids: NDArray[np.int32]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)

    def split(self, at: int) -> tuple[Tokens, Tokens]:
        """The first `at` tokens and the rest; the last of the former still predicts the first of the latter."""
        return Tokens(self.ids[:at], self.labels[:at]), Tokens(self.ids[at:], self.labels[at:])

    @classmethod
    def learning(cls, ids: Sequence[int], supervised: Sequence[bool] | None = None) -> Tokens:
        """The document `ids` of which the tokens that are `supervised` (None: all) are learnt."""
        whole = np.asarray(ids, dtype=np.int32)
        labels = whole[1:]
        if supervised is not None:
            labels = np.where(np.asarray(supervised[1:], dtype=bool), labels, np.int32(NOTHING))
        return cls(whole[:-1], labels)


class Corpus(Protocol):
    """One source. `path` is as the user named it; only `cuttable` documents may be spread over several rows."""

    path: str
    cuttable: bool
    unreadable: int
    """Rows passed over in the last walk, or in this one so far, because they cannot be read."""

    def rows(self) -> Iterator[Any]:
        """The raw documents from the start."""

    def encode(self, rows: Sequence[Any]) -> list[Tokens | None]:
        """Their tokens; None for a document that has none."""
