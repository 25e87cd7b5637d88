"""Answers by transformers' `generate`, for models that slots do not serve, under the same constraints.

Shapes: B rows, T padded prompt length, V vocabulary."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from yuantune.infer.question import Answer, Edit, Held, Question
from yuantune.models.virtual import virtual_tokens

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel


class _Holding(LogitsProcessor):
    """Leaves of each row's scores the token alone that its constraint would write."""

    def __init__(self, constraints: Sequence[Held | None], end_id: int) -> None:
        self._constraints, self._end_id = constraints, end_id

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """[B, T] and [B, V] to [B, V]."""
        for row, constraint in enumerate(self._constraints):
            if constraint is None:
                continue
            ended = constraint.ended
            token = self._end_id if ended else constraint.choose(scores[row], int(scores[row].argmax()))
            scores[row] = -torch.inf
            scores[row, token] = 0.0
        return scores


class _Edited(LogitsProcessor):
    """Shows each row's scores to `edit`."""

    def __init__(self, edit: Edit, indices: Sequence[int]) -> None:
        self._edit, self._indices, self._written = edit, indices, 0

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """[B, T] and [B, V] to [B, V]."""
        for index, scores_V in zip(self._indices, scores, strict=True):
            self._edit(index, self._written, scores_V)
        self._written += 1
        return scores


def by_generate(
    model: PreTrainedModel,
    questions: Sequence[Question],
    order: Sequence[int],
    limits: Sequence[int],
    end_ids: list[int],
    pad_id: int,
    batch_size: int,
    edit: Edit | None,
) -> Iterator[Answer]:
    """Rows of like length together, padded on the left, so that all go on at one place; behind virtual tokens,
    which padding would part from their row, only rows of the same length."""
    from transformers import GenerationConfig

    greedy = GenerationConfig(
        do_sample=False, num_beams=1, eos_token_id=end_ids, pad_token_id=pad_id, bos_token_id=None, use_cache=True
    )
    device = next(model.parameters()).device
    for rows in _batches(questions, order, batch_size, even=virtual_tokens(model) > 0):
        started = time.monotonic()
        ids_BT, mask_BT = _left_padded([questions[index].ids for index in rows], pad_id)
        greedy.max_new_tokens = min(limits[index] for index in rows)
        held = [questions[index].constraint for index in rows]
        processors = LogitsProcessorList()
        if edit is not None:
            processors.append(_Edited(edit, rows))
        if any(held):
            processors.append(_Holding(held, end_ids[0]))
        with torch.inference_mode(), _only(model, greedy):
            output = model.generate(
                input_ids=ids_BT.to(device), attention_mask=mask_BT.to(device), logits_processor=processors
            )
        new_ids = output[:, ids_BT.shape[1] :].tolist()
        seconds = (time.monotonic() - started) / len(rows)
        for index, ids in zip(rows, new_ids, strict=True):
            end = next((place for place, token in enumerate(ids) if token in end_ids), None)
            yield Answer(index, ids[:end], end is not None, seconds)


@contextmanager
def _only(model: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    """Generation by `config` alone: what it leaves open, `generate` would fill from the model's own config, and a
    repetition penalty there would change answers."""
    # An adapter's model has none of its own: it shows its base's.
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    own, base.generation_config = base.generation_config, config
    try:
        yield
    finally:
        base.generation_config = own


def _batches(
    questions: Sequence[Question], order: Sequence[int], batch_size: int, *, even: bool
) -> Iterator[list[int]]:
    """Questions by their indices, in their order; `even`: of one length in each batch."""
    for _, run in groupby(order, key=lambda index: len(questions[index].ids) if even else 0):
        rows = list(run)
        for start in range(0, len(rows), batch_size):
            yield rows[start : start + batch_size]


def _left_padded(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(prompt) for prompt in prompts)
    ids_BT = torch.full((len(prompts), longest), pad_id, dtype=torch.int64)
    mask_BT = torch.zeros((len(prompts), longest), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids_BT[row, longest - len(prompt) :] = torch.tensor(prompt, dtype=torch.int64)
        mask_BT[row, longest - len(prompt) :] = 1
    return ids_BT, mask_BT
