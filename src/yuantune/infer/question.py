"""What the engine is asked and what it answers, in token ids.

Shapes: V vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Edit = Callable[[int, int, Tensor], None]
"""Changes, in place, the logits of a question's next token: its index, how many tokens are written, [V]."""


class Held(Protocol):
    """What one answer is held to, as it is written: a form of labels, or a schema."""

    failure: str
    """Why there can be no answer, behind `closed`."""

    @property
    def ended(self) -> bool:
        """Whether the answer is whole: nothing but an end token may follow."""

    @property
    def in_string(self) -> bool:
        """Whether a string is being written, and has begun."""

    @property
    def closed(self) -> str:
        """The answer, closed where it was cut short."""

    def choose(self, logits_V: Tensor, likeliest: int) -> int:
        """Write the likeliest token that is allowed, and give it; an end token where the answer ends."""

    def forced(self) -> tuple[int, ...]:
        """Write what must follow, and give it."""


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, what its answer is held to, and the tokens of the text that answers copy from."""

    ids: Sequence[int]
    constraint: Held | None = None
    text_ids: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """One question's answer: `index` is its place in the input; `ids` lack the end token; `finished` is False where
    `max_new_tokens` came first; `seconds` is its share of the steps that it took part in."""

    index: int
    ids: list[int]
    finished: bool
    seconds: float
