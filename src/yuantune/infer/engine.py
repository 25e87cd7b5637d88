"""Token ids in, answer ids out: greedy decoding of many prompts with transformers' `generate`.

Shape suffixes: B rows, T padded prompt length.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from yuantune.errors import DataError

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel


@dataclass(frozen=True, slots=True)
class Answer:
    """One prompt's answer: `index` is the prompt's place in the input; `ids` lack the end token; `finished` is
    False where `max_new_tokens` came first; `seconds` is the batch's time divided by its rows."""

    index: int
    ids: list[int]
    finished: bool
    seconds: float


def answer(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    end_ids: Sequence[int],
    pad_id: int,
    max_new_tokens: int,
    batch_size: int,
) -> Iterator[Answer]:
    """Answer prompts greedily, `batch_size` at once, the shortest first; answers come as their batch ends. The
    model's own generation config (sampling, penalties) is set aside: an answer is the most likely one.

    `end_ids` end an answer (any of them); so does the end of the model's positions, if it has one. Prompts are
    padded on the left, so that all rows go on at one place. Raises DataError for a prompt that leaves no position
    for its answer."""
    from transformers import GenerationConfig

    from yuantune.models.load import positions_of

    longest, positions = max(map(len, prompts), default=0), positions_of(model)
    if positions is not None and longest >= positions:
        raise DataError(
            f"a prompt of {longest} tokens leaves no place for an answer: the model reads {positions} in all",
            hint="shorten the text, or answer it in parts",
        )
    greedy = GenerationConfig(
        do_sample=False,
        num_beams=1,
        eos_token_id=list(end_ids),
        pad_token_id=pad_id,
        bos_token_id=None,
        use_cache=True,
    )
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    device = next(model.parameters()).device
    model.eval()
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        started = time.monotonic()
        ids_BT, mask_BT = _left_padded([prompts[i] for i in rows], pad_id)
        free = max_new_tokens if positions is None else positions - ids_BT.shape[1]
        greedy.max_new_tokens = min(max_new_tokens, free)
        with torch.inference_mode(), _only(model, greedy):
            output = model.generate(input_ids=ids_BT.to(device), attention_mask=mask_BT.to(device))
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


def _left_padded(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(prompt) for prompt in prompts)
    ids_BT = torch.full((len(prompts), longest), pad_id, dtype=torch.int64)
    mask_BT = torch.zeros((len(prompts), longest), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids_BT[row, longest - len(prompt) :] = torch.tensor(prompt, dtype=torch.int64)
        mask_BT[row, longest - len(prompt) :] = 1
    return ids_BT, mask_BT
