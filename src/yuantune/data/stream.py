"""A source as an endless stream of documents in a seeded order, which can go on from any place.

The place is two numbers, the pass over the source and the documents taken from it, and does not hold the shuffle
buffer: to go on, the pass is read from its start and what was taken is passed over, without being tokenised.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from yuantune.data.documents import Corpus, Tokens
from yuantune.errors import DataError

BATCH = 64
"""Documents tokenised at once."""

T = TypeVar("T")


class DocumentStream:
    """The documents of a source, again and again, each pass in another order (`endless` False: once).

    `longest`: a document of more tokens is left out and counted, unless it may be cut.

    Raises DataError where a whole pass gives no document."""

    def __init__(
        self,
        corpus: Corpus,
        *,
        seed: str,
        shuffle_buffer: int,
        longest: int | None = None,
        endless: bool = True,
    ) -> None:
        self.corpus = corpus
        self.longest = longest if not corpus.cuttable else None
        self.number = 0
        """The pass, from 0."""
        self.taken = 0
        """Documents taken in this pass, those that gave nothing too."""
        self.too_long = 0
        self.empty = 0
        self._seed, self._buffer, self._endless = seed, shuffle_buffer, endless
        self._rows: Iterator[Any] | None = None
        self._ready: deque[Tokens | None] = deque()
        self._given = 0  # In this pass.

    def __iter__(self) -> Iterator[Tokens]:
        return self

    def __next__(self) -> Tokens:
        while True:
            if not self._ready and not self._refill():
                if not self._given:
                    raise DataError(
                        f"{self.corpus.path}: not one document can be used",
                        hint=f"{self.too_long} are longer than data.sequence_length" if self.too_long else "",
                    )
                if not self._endless:
                    raise StopIteration
                self.number, self.taken, self._given, self._rows = self.number + 1, 0, 0, None
                continue
            tokens = self._ready.popleft()
            self.taken += 1
            if tokens is None:
                self.empty += 1
            elif self.longest is not None and len(tokens) > self.longest:
                self.too_long += 1
            else:
                self._given += 1
                return tokens

    def state(self) -> dict[str, int]:
        """The place after the last document that was given out."""
        return {
            "pass": self.number,
            "taken": self.taken,
            "given": self._given,
            "too_long": self.too_long,
            "empty": self.empty,
        }

    def restore(self, state: dict[str, int]) -> None:
        """Go on from a place that `state` gave, of a stream of the same source, seed and buffer."""
        self.number, self.taken, self._given = state["pass"], state["taken"], state["given"]
        self.too_long, self.empty = state["too_long"], state["empty"]
        self._ready.clear()
        self._rows = None
        rows = self._open()
        passed = sum(1 for _ in islice(rows, self.taken))
        if passed < self.taken:
            raise DataError(
                f"{self.corpus.path}: {self.taken} documents were taken from it, and it has {passed} now"
            )

    def _refill(self) -> bool:
        rows = self._rows if self._rows is not None else self._open()
        batch = list(islice(rows, BATCH))
        if batch:
            self._ready.extend(self.corpus.encode(batch))
        return bool(batch)

    def _open(self) -> Iterator[Any]:
        generator = random.Random(f"{self._seed} {self.number}")
        self._rows = shuffled(self.corpus.rows(), generator, self._buffer)
        return self._rows


def shuffled(items: Iterable[T], generator: random.Random, size: int) -> Iterator[T]:
    """`items` in an order that depends on the generator alone, never more than `size` of them held."""
    source = iter(items)
    held = list(islice(source, size))
    for item in source:
        at = int(generator.random() * size)
        yield held[at]
        held[at] = item
    generator.shuffle(held)
    yield from held
