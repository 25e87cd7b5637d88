"""Token ids in, answer ids out: greedy decoding of many prompts with transformers' `generate`.

Shape suffixes: B rows, T padded prompt length.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
    """Answer prompts greedily, `batch_size` at once, the shortest first; answers come as their batch ends.

    `end_ids` end an answer (any of them). Prompts are padded on the left, so that all rows go on at one place."""
    from transformers import GenerationConfig

    # The model's own generation config may ask for sampling; here the answer is the most likely one.
    greedy = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
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
        with torch.inference_mode():
            output = model.generate(
                input_ids=ids_BT.to(device), attention_mask=mask_BT.to(device), generation_config=greedy
            )
        new_ids = output[:, ids_BT.shape[1] :].tolist()
        seconds = (time.monotonic() - started) / len(rows)
        for index, ids in zip(rows, new_ids, strict=True):
            end = next((place for place, token in enumerate(ids) if token in end_ids), None)
            yield Answer(index, ids[:end], end is not None, seconds)


def _left_padded(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(prompt) for prompt in prompts)
    ids_BT = torch.full((len(prompts), longest), pad_id, dtype=torch.int64)
    mask_BT = torch.zeros((len(prompts), longest), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids_BT[row, longest - len(prompt) :] = torch.tensor(prompt, dtype=torch.int64)
        mask_BT[row, longest - len(prompt) :] = 1
    return ids_BT, mask_BT
