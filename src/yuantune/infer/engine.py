"""Token ids in, answer ids out: greedy decoding of many prompts, side by side.

What all prompts begin with is computed once. Rows are answered in slots (`yuantune.models.slots`): one that is
done leaves and the next comes in, and a step computes only what is new. A constraint writes what must follow
without asking the model; and within a copied string the text itself proposes how it goes on, which one step checks
for several tokens. Models that slots do not serve are answered by transformers' `generate`, under the same
constraint.

Shapes: V vocabulary.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from yuantune.errors import DataError, ModelError
from yuantune.infer.by_generate import by_generate
from yuantune.infer.question import Answer, Edit, Question
from yuantune.models.grouped import obstacle_of
from yuantune.models.memory import is_exhausted, memory_of
from yuantune.models.probe import ROUNDING, inner, trial
from yuantune.models.slots import Chunk, Slots
from yuantune.models.virtual import virtual_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KEPT_SHARE = 4
"""Keys and values of the rows may take one part in so many of the memory."""
FRESH_TOKENS = 4096
"""Most prompt tokens that are read in one step."""
DRAFT_TOKENS = 32
"""As many tokens cost a step hardly more than fewer: what rows leave of them, drafts get."""
_MOST_DRAFTED = 8
_LONGEST_MATCH = 4


def answer(
    model: PreTrainedModel,
    questions: Sequence[Question],
    *,
    end_ids: Sequence[int],
    pad_id: int,
    max_new_tokens: int,
    batch_size: int,
    slots: bool = True,
    edit: Edit | None = None,
) -> Iterator[Answer]:
    """Answer questions greedily, `batch_size` at once, the shortest first; answers come as they end. The model's
    own generation config (sampling, penalties) is set aside: an answer is the most likely one that its constraint
    allows.

    `end_ids` end an answer (any of them); so does the end of the model's positions, if it has one. Without `slots`,
    transformers' `generate` answers. `edit` is called with the logits of every token that is to be chosen. Raises
    DataError for a prompt that leaves no position for its answer."""
    from yuantune.models.load import positions_of

    longest, positions = max((len(each.ids) for each in questions), default=0), positions_of(model)
    if positions is not None and longest >= positions:
        raise DataError(
            f"a prompt of {longest} tokens leaves no place for an answer: the model reads {positions} in all",
            hint="shorten the text, or answer it in parts",
        )
    limits = [
        max_new_tokens if positions is None else min(max_new_tokens, positions - len(each.ids))
        for each in questions
    ]
    order = sorted(range(len(questions)), key=lambda index: len(questions[index].ids))
    model.eval()
    most = max((len(each.ids) + limit for each, limit in zip(questions, limits, strict=True)), default=0)
    if slots and obstacle_of(inner(model), most + virtual_tokens(model)) is None and _slots_serve(model):
        yield from _in_slots(model, questions, order, limits, frozenset(end_ids), batch_size, edit)
    else:
        yield from by_generate(model, questions, order, limits, list(end_ids), pad_id, batch_size, edit)


# ---------------------------------------------------------------------------------------------------- in slots


@dataclass(slots=True)
class _Row:
    """An answer as it grows: `feed` are the tokens that the model has not read yet."""

    index: int
    question: Question
    limit: int
    feed: list[int]
    lookup: _Lookup
    ids: list[int] = field(default_factory=list)
    draft: list[int] = field(default_factory=list)
    seconds: float = 0.0
    ended: bool = False

    def write(self, logits_V: Tensor, likeliest: int, end_ids: frozenset[int]) -> int | None:
        """Choose the next token and write it; None where the answer ends."""
        constraint = self.question.constraint
        token = likeliest if constraint is None else constraint.choose(logits_V, likeliest)
        self.ended = token in end_ids if constraint is None else constraint.ended
        if self.ended and token in end_ids:
            return None
        self.ids.append(token)
        return token

    def go_on(self, token: int) -> None:
        """Feed the last token, and what must follow it."""
        self.feed = [token]
        constraint = self.question.constraint
        if constraint is not None and not self.ended:
            forced = constraint.forced()
            self.feed += forced
            self.ids += forced
            self.ended = constraint.ended

    @property
    def done(self) -> bool:
        return self.ended or len(self.ids) >= self.limit

    @property
    def copies(self) -> bool:
        """Whether the text may say how the answer goes on."""
        constraint = self.question.constraint
        return constraint is None or constraint.in_string


class _Lookup:
    """Where the tokens of a text stand, to find how what was copied so far goes on there."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = list(ids)
        self._places: dict[int, list[int]] = defaultdict(list)
        for at, token in enumerate(self._ids):
            self._places[token].append(at)
        self._last = -1

    def draft(self, written: Sequence[int], most: int) -> list[int]:
        """At most `most` tokens that followed the longest stretch of the text that `written` ends with; of several,
        behind the one that was used last."""
        if not written or most < 1:
            return []
        best, size = [], 0
        for at in self._places.get(written[-1], ()):
            same = 1
            while same < min(_LONGEST_MATCH, len(written), at + 1) and self._ids[at - same] == written[-1 - same]:
                same += 1
            if same > size:
                best, size = [at], same
            elif same == size:
                best.append(at)
        if not best:
            return []
        at = next((place for place in best if place > self._last), best[0])
        self._last = at
        return self._ids[at + 1 : at + 1 + most]


def _in_slots(
    model: PreTrainedModel,
    questions: Sequence[Question],
    order: Sequence[int],
    limits: Sequence[int],
    end_ids: frozenset[int],
    batch_size: int,
    edit: Edit | None,
) -> Iterator[Answer]:
    prefix = _shared([questions[index].ids for index in order])
    slots = _slots_behind(model, prefix)
    waiting = list(reversed(order))
    rows: list[_Row] = []
    parked: list[_Row] = []  # Begun, and without a slot since memory ended.
    memory = memory_of(next(model.parameters()).device) // KEPT_SHARE
    while waiting or rows or parked:
        fresh = 0
        while parked and len(rows) < batch_size and (fresh < FRESH_TOKENS or not rows):
            row = parked.pop()
            slots.add()
            fresh += len(row.feed)
            rows.append(row)
        while not parked and waiting and len(rows) < batch_size and (fresh < FRESH_TOKENS or not rows):
            index = waiting.pop()
            most = sum(
                len(questions[each].ids) - len(prefix) + limits[each]
                for each in [*(row.index for row in rows), index]
            )
            if rows and most * (slots.bytes_per_token or memory) > memory:
                waiting.append(index)  # When there is room again, or it is known how much a token takes.
                break
            question = questions[index]
            if limits[index] < 1:
                yield Answer(index, [], False, 0.0)
                continue
            slots.add()
            tail = list(question.ids[len(prefix) :])
            fresh += len(tail)
            rows.append(_Row(index, question, limits[index], tail, _Lookup(question.text_ids)))
        if not rows:
            break
        started = time.monotonic()
        if not _fits(slots, rows, end_ids, edit):
            batch_size = max(len(rows) // 2, 1)
            for row in rows:
                row.feed = [*row.question.ids[len(prefix) :], *row.ids]
            parked, rows = [*parked, *reversed(rows)], []
            del slots
            slots = _slots_behind(model, prefix)
            continue
        share = (time.monotonic() - started) / len(rows)
        for row in rows:
            row.seconds += share
        for number in reversed([number for number, row in enumerate(rows) if row.done]):
            row = rows[number]
            slots.remove(number)
            rows[number] = rows[-1]
            rows.pop()
            yield Answer(row.index, row.ids[: row.limit], row.ended and len(row.ids) <= row.limit, row.seconds)


def _slots_behind(model: PreTrainedModel, prefix: Sequence[int]) -> Slots:
    slots = Slots(model)
    slots.share(prefix)
    return slots


def _fits(slots: Slots, rows: Sequence[_Row], end_ids: frozenset[int], edit: Edit | None) -> bool:
    """A step; False where memory ended in it, and fewer rows may do with less."""
    try:
        _step(slots, rows, end_ids, edit)
    except (RuntimeError, MemoryError) as error:
        if not is_exhausted(error) or len(rows) == 1:
            raise
        return False
    return True


def _step(slots: Slots, rows: Sequence[_Row], end_ids: frozenset[int], edit: Edit | None) -> None:
    """One forward pass: every row writes a token, and more where its draft was right."""
    spare = min((DRAFT_TOKENS - sum(len(row.feed) for row in rows)) // len(rows), _MOST_DRAFTED)
    for row in rows:
        most = min(spare, row.limit - len(row.ids) - 1)
        row.draft = row.lookup.draft(row.ids, most) if row.copies else []
    chunks = [Chunk([*row.feed, *row.draft], 1 + len(row.draft)) for row in rows]
    logits_NV = slots.step(chunks)
    if edit is not None:
        written = ((row.index, len(row.ids) + at) for row in rows for at in range(1 + len(row.draft)))
        with torch.inference_mode():  # The logits were made in it.
            for (index, count), logits_V in zip(written, logits_NV, strict=True):
                edit(index, count, logits_V)
    likeliest = logits_NV.argmax(-1).tolist()
    at, counts = 0, []
    for row, chunk in zip(rows, chunks, strict=True):
        kept = len(row.feed)
        for place in range(at, at + chunk.logits):
            token = row.write(logits_NV[place], likeliest[place], end_ids)
            if token is None:
                break
            right = row.draft[place - at : place - at + 1] == [token]
            if row.done or not right or not row.copies:
                row.go_on(token)
                break
            kept += 1
        at += chunk.logits
        counts.append(kept)
    slots.keep(counts)


def _shared(prompts: Sequence[Sequence[int]]) -> list[int]:
    """What all prompts begin with; at least one token of each is left."""
    if not prompts:
        return []
    same = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*prompts, strict=False))
    return [tokens[0] for tokens in same][: min(map(len, prompts)) - 1]


_SERVED: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _slots_serve(model: PreTrainedModel) -> bool:
    """Whether a trial of two rows in slots gives the logits of each alone."""
    bare = inner(model)
    if bare not in _SERVED:
        _SERVED[bare] = _tried(bare)
    return _SERVED[bare]


def _tried(bare: PreTrainedModel) -> bool:
    size = bare.get_input_embeddings().weight.shape[0]
    rows = [[token % size for token in ids] for ids in ([5, 6, 7, 8, 9], [5, 6, 3])]
    device = next(bare.parameters()).device
    with trial(bare):
        expected = [bare(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0] for ids in rows]
        try:
            slots = Slots(bare)
            slots.share(rows[0][:2])
            for _ in rows:
                slots.add()
            found = [slots.step([Chunk(ids[2:3]) for ids in rows])]
            slots.keep([1] * len(rows))
            found.append(slots.step([Chunk(rows[0][3:], 2), Chunk([1])])[:2])
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, ModelError):
            return False
    pairs = ((found[0], torch.stack([each[2] for each in expected])), (found[1], expected[0][3:]))
    allowed = ROUNDING.get(expected[0].dtype, 1e-3)
    return all(float((one - other).float().norm()) <= allowed * float(other.float().norm()) for one, other in pairs)
