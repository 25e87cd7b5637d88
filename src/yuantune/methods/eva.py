"""EVA: LoRA's A begins with the principal components of what each layer reads on the training rows.

The components are PEFT's, of the tokens that carry loss, until they hold still from batch to batch. Ranks stay as
the options have them (the paper's ρ is 1): a run that is taken up again is made from its options alone.

Source: Paischer et al., "One Initialization to Rule them All: Fine-tuning via Explained Variance Adaptation", 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from yuantune.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from yuantune.data.examples import Example

_UNSUPERVISED = -100


def begin(model: PreTrainedModel, examples: Sequence[Example], *, rows: int, pad_id: int) -> None:
    """Put the components into the A of every LoRA layer of `model`, from forward passes of `rows` examples; B is
    zero as before.

    Raises ConfigError where the examples' supervised tokens, or a layer's inputs, are fewer than the rank."""
    from peft import EvaConfig, LoraConfig
    from peft.tuners.lora import LoraLayer
    from peft.tuners.lora.eva import get_eva_state_dict

    layers = {name: each for name, each in model.named_modules() if isinstance(each, LoraLayer)}
    rank = next(iter(layers.values())).r["default"]
    narrow = min(layer.in_features for layer in layers.values())
    tokens = sum(sum(example.supervised) for example in examples)
    if rank > min(narrow, tokens):
        what = (
            f"the narrowest layer reads {narrow} numbers"
            if rank > narrow
            else f"the rows have {tokens} answer tokens"
        )
        raise ConfigError(
            f"lora.r: {rank} principal components cannot be had: {what}",
            hint="choose a smaller lora.r, or another lora.init_lora_weights than eva",
        )
    found = get_eva_state_dict(
        model,
        _Batches(examples, rows, rank, pad_id),
        LoraConfig(r=rank, init_lora_weights="eva", eva_config=EvaConfig(rho=1.0)),
        forward_fn=_read,
        gather_distributed_inputs=False,  # Every process reads the same rows.
        show_progress_bar=False,
    )
    for name, component_RI in found.items():
        layers[name].lora_A["default"].weight.data.copy_(component_RI)


def _read(model: Any, inputs: dict[str, Tensor]) -> None:
    """The layers alone: no token needs logits."""
    decoder = model.get_base_model().base_model
    decoder(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)


class _Batches:
    """Padded rows, at least `rows` a batch, and as many as have `rank` supervised tokens; in the order of the
    data."""

    def __init__(self, examples: Sequence[Example], rows: int, rank: int, pad_id: int) -> None:
        self._examples, self._pad_id = examples, pad_id
        self._ends: list[int] = []
        start = supervised = 0
        for end, example in enumerate(examples, start=1):
            supervised += sum(example.supervised)
            if end - start >= rows and supervised >= rank:
                self._ends.append(end)
                start, supervised = end, 0
        # What is left at the end may be too few: it goes with the batch before.
        self._ends = [*self._ends[:-1], len(examples)] if self._ends else [len(examples)]

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for start, end in zip([0, *self._ends], self._ends, strict=False):
            yield self._batch([self._examples[at] for at in range(start, end)])

    def _batch(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        longest = max(len(example.ids) for example in examples)
        ids_BT = torch.full((len(examples), longest), self._pad_id)
        labels_BT = torch.full((len(examples), longest), _UNSUPERVISED)
        mask_BT = torch.zeros(len(examples), longest, dtype=torch.long)
        for row, example in enumerate(examples):
            count = len(example.ids)
            ids_BT[row, :count] = torch.tensor(example.ids)
            mask_BT[row, :count] = 1
            supervised = torch.tensor(example.supervised)
            labels_BT[row, :count] = torch.where(supervised, ids_BT[row, :count], _UNSUPERVISED)
        return {"input_ids": ids_BT, "attention_mask": mask_BT, "labels": labels_BT}
