"""How likely a model finds the answers that are expected of it: read with them, not written by it.

Shapes: B rows, T padded length, K kept positions, S tokens of answers, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from yuantune.batch.collate import Batch, collate
from yuantune.models.probe import accepts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from yuantune.data.bound import BoundTemplate
    from yuantune.data.examples import Example
    from yuantune.data.record import Record

LOGITS = 2**26
"""Logits that exist at once, at most, if one row has no more: 256 MiB of float32."""


@dataclass(frozen=True, slots=True)
class Read:
    """An expected answer: its tokens (the end token is one), how many of them are the likeliest behind those before
    them, and the sum of the negative logarithms of their probabilities, in nats."""

    tokens: int
    right: int
    nats: float


def read_expected(model: PreTrainedModel, template: BoundTemplate, records: Sequence[Record]) -> Iterator[Read]:
    """Read records with their answers (of a conversation, the last), the shortest first. Records without answer,
    and those longer than the model reads, are left out."""
    from yuantune.models.load import positions_of

    positions = positions_of(model)
    examples = [_last_answer(template, record) for record in records if record.has_answer]
    fitting = [each for each in examples if any(each.supervised)]
    fitting = [each for each in fitting if positions is None or len(each.ids) <= positions]
    fitting.sort(key=lambda each: len(each.ids))
    most = max(LOGITS // model.get_input_embeddings().weight.shape[0], 1)
    model.eval()
    start = 0
    while start < len(fitting):
        stop = start + 1
        while stop < len(fitting) and (stop + 1 - start) * len(fitting[stop].ids) <= most:
            stop += 1
        yield from _read(model, collate(fitting[start:stop], pad_id=template.tokenizer.pad_token_id))
        start = stop


def _last_answer(template: BoundTemplate, record: Record) -> Example:
    """The record's example, supervised where its last answer is."""
    example = template.example(record)
    if not record.messages:
        return example
    first = len(template.prompt(record).ids)
    supervised = [each and at >= first for at, each in enumerate(example.supervised)]
    return replace(example, supervised=supervised)


@torch.inference_mode()
def _read(model: PreTrainedModel, batch: Batch) -> Iterator[Read]:
    device = model.get_input_embeddings().weight.device
    rows, first = len(batch["input_ids"]), int(batch["position_S"].min())
    kept: dict[str, Any] = {}
    if accepts(model, "logits_to_keep"):
        kept["logits_to_keep"] = batch["input_ids"].shape[1] - first
    logits_BKV = model(
        input_ids=batch["input_ids"].to(device),
        attention_mask=batch["attention_mask"].to(device),
        use_cache=False,
        **kept,
    ).logits
    row_S, place_S = batch["row_S"].to(device), batch["position_S"].to(device) - (first if kept else 0)
    logits_SV, label_S = logits_BKV[row_S, place_S], batch["label_S"].to(device)
    wide = torch.promote_types(logits_SV.dtype, torch.float32)
    nats_S = F.cross_entropy(logits_SV.to(wide), label_S, reduction="none").double()
    right_S = (logits_SV.argmax(-1) == label_S).double()
    sums_3B = torch.zeros(3, rows, dtype=torch.float64, device=device)
    sums_3B.index_add_(1, row_S, torch.stack((torch.ones_like(nats_S), right_S, nats_S)))
    for tokens, right, nats in sums_3B.T.tolist():
        yield Read(int(tokens), int(right), nats)
