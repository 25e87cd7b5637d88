"""What Yuan2's filter remembers of rows that are answered side by side (`yuantune.models.slots`).

Shapes: R rows, N new tokens of a step, D hidden size, M = D/2."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from yuantune.models.yuan2.cache import YuanCacheLayer


class SlotFilter(YuanCacheLayer):
    """Yuan2's filter between steps: the states of each row's last token, [1, R, D] and [1, R, M]. `begin` are those
    of a row that holds the prefix only."""

    _layer_type = None  # transformers would build one of these wherever it builds Yuan2's cache.

    def __init__(self) -> None:
        super().__init__()
        self.begin: tuple[Tensor, Tensor] | None = None
        self._last: tuple[Tensor, Tensor] | None = None
        self._new: tuple[Tensor, Tensor] | None = None
        self._rows = 0

    @property
    def history(self) -> int:
        """R: as many tokens can become a predecessor; before the first step of all, none can."""
        return 0 if self._last is None else self._rows

    def get_seq_length(self) -> int:
        """R, as `history`."""
        return self.history

    def filter_states(self) -> tuple[Tensor, Tensor] | None:
        """As the filter takes them."""
        return (
            None if self._last is None else (self._last[0][None, : self._rows], self._last[1][None, : self._rows])
        )

    def update_filter(self, inputs_BND: Tensor, middle_BNM: Tensor, reach: int | None) -> None:
        """The states of a step's new tokens; which of them remain is known afterwards."""
        self._new = (inputs_BND[0], middle_BNM[0])
        if self._last is None:
            self._last = (
                inputs_BND.new_zeros(0, inputs_BND.shape[-1]),
                middle_BNM.new_zeros(0, middle_BNM.shape[-1]),
            )
        self._make_room()

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """As they are: `Slots.attend` keeps them."""
        return key_states, value_states

    def add_marks(self, marks_B3N: Tensor, *, packed: bool) -> None:
        """Nothing: predecessors are given."""

    def known_marks(self, rows: int, device: torch.device) -> Tensor:
        """None of the tokens has any."""
        return torch.zeros(rows, 3, self.history, dtype=torch.long, device=device)

    def add_row(self) -> None:
        self._rows += 1
        if self._last is not None:
            self._make_room()
            if self.begin is not None:
                for held, begin in zip(self._last, self.begin, strict=True):
                    held[self._rows - 1] = begin

    def of_row(self, row: int) -> tuple[Tensor, Tensor]:
        assert self._last is not None
        return self._last[0][row].clone(), self._last[1][row].clone()

    def keep(self, token_R: Tensor) -> None:
        """These tokens of the last step are the rows' last ones now."""
        assert self._last is not None and self._new is not None
        for held, new in zip(self._last, self._new, strict=True):
            held[: self._rows] = new[token_R]

    def remove_row(self, row: int) -> None:
        self._rows -= 1
        if self._last is not None and row != self._rows:
            for held in self._last:
                held[row] = held[self._rows]

    def _make_room(self) -> None:
        assert self._last is not None
        if len(self._last[0]) < self._rows:
            self._last = tuple(  # type: ignore[assignment]
                torch.cat((held, held.new_zeros(self._rows, held.shape[1]))) for held in self._last
            )
