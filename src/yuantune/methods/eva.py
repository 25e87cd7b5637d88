"""EVA: LoRA's A begins with the principal components of what each layer reads on the training rows.

The components are of the tokens that carry loss, of rows in random order, until they hold still from batch to
batch. Ranks stay as the options have them (the paper's ρ is 1): a run that is taken up again is made from its
options alone.

Source: Paischer et al., "One Initialization to Rule them All: Fine-tuning via Explained Variance Adaptation", 2024.

Shapes: N supervised tokens of a batch, I inputs of a layer, R rank.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from yuantune.batch.collate import Batch, collate
from yuantune.errors import ConfigError, WorkFailed
from yuantune.models.probe import trial

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from yuantune.data.examples import Example

ALIKE = 0.99
"""Components hold still where their cosine from one batch to the next is at least so much (the paper's τ)."""
MOST_BATCHES = 64
"""Then they are taken as they are."""
_MOST_TOKENS = 4096
"""Of a batch, padded, if it has several rows."""


def begin(model: PreTrainedModel, examples: Sequence[Example], *, rows: int, pad_id: int, seed: int) -> int:
    """Put the components into the A of every LoRA layer of `model`, from forward passes of at most `rows` examples;
    B is zero as before. The number of batches that were read.

    Raises ConfigError where the examples' supervised tokens, or a layer's inputs, are fewer than the rank,
    WorkFailed where a layer reads what is no number."""
    from peft.tuners.lora import LoraLayer

    layers: dict[str, Any] = {name: each for name, each in model.named_modules() if isinstance(each, LoraLayer)}
    rank = next(iter(layers.values())).r["default"]
    _check(rank, min(layer.in_features for layer in layers.values()), examples)
    # The layers alone, where that is enough: no token needs logits.
    bare: Any = model.get_base_model()
    inside = set(bare.base_model.modules())
    reader = bare.base_model if all(layer in inside for layer in layers.values()) else bare
    readers = {name: _Components(name, rank) for name in layers}
    order = list(range(len(examples)))
    random.Random(seed).shuffle(order)
    device, read = next(model.parameters()).device, 0
    with ExitStack() as stack:
        stack.enter_context(trial(model))
        stack.enter_context(model.disable_adapter())
        latest = _Latest()
        for name, layer in layers.items():
            hook = layer.register_forward_hook(readers[name].hook(latest))
            stack.callback(hook.remove)
        for batch in islice(_batches(examples, order, rows, pad_id), MOST_BATCHES):
            latest.place_N = (batch["row_S"].to(device), batch["position_S"].to(device) + 1)
            latest.reader, read = None, read + 1
            reader(
                input_ids=batch["input_ids"].to(device),
                attention_mask=batch["attention_mask"].to(device),
                use_cache=False,
            )
            if all(each.holds for each in readers.values()):
                break
    unread = [name for name, each in readers.items() if each.found_RI is None]
    if unread:
        raise ConfigError(
            f"lora.init_lora_weights: eva: no training row of {read} batches went through {', '.join(unread[:5])}",
            hint="leave these out of lora.target_modules, or choose another lora.init_lora_weights",
        )
    for name, layer in layers.items():
        layer.lora_A["default"].weight.data.copy_(readers[name].found_RI)
    return read


def _check(rank: int, narrowest: int, examples: Sequence[Example]) -> None:
    tokens = 0
    for example in examples:
        tokens += sum(example.supervised)
        if tokens >= rank:
            break
    if rank > min(narrowest, tokens):
        why = f"the rows have {tokens} answer tokens" if rank > tokens else f"a layer reads {narrowest} numbers"
        raise ConfigError(
            f"lora.r: {rank} principal components cannot be had: {why}",
            hint="choose a smaller lora.r, or another lora.init_lora_weights than eva",
        )


class _Latest:
    """Which tokens of the batch count, and the layer that read last: the next one often reads the same."""

    place_N: tuple[Tensor, Tensor]
    """Of the supervised tokens: rows and positions."""
    reader: _Components | None = None


class _Components:
    """The principal components of what one layer reads."""

    def __init__(self, name: str, rank: int) -> None:
        from peft.utils.incremental_pca import IncrementalPCA

        self._name, self._rank = name, rank
        self._pca = IncrementalPCA(n_components=rank, copy=True, lowrank=True, lowrank_seed=42)
        self._waiting: list[Tensor] = []
        self._inputs_NI: Tensor | None = None
        self._as: _Components | None = None
        """The layer whose inputs these are, too."""
        self._holds = False

    @property
    def holds(self) -> bool:
        """Whether the last batch has changed nothing."""
        return self._holds if self._as is None else self._as.holds

    @property
    def found_RI(self) -> Tensor | None:
        """So far."""
        if self._as is not None:
            return self._as.found_RI
        found: Tensor | None = getattr(self._pca, "components_", None)
        return found

    def hook(self, latest: _Latest) -> Any:
        """What torch calls behind the layer."""

        def read(layer: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
            if self._as is None and not self._holds:
                self._read(inputs[0][latest.place_N].float(), latest)

        return read

    def _read(self, inputs_NI: Tensor, latest: _Latest) -> None:
        if not len(inputs_NI):
            return
        before, self._inputs_NI = latest.reader, inputs_NI
        first = self.found_RI is None and not self._waiting
        if (
            first
            and before is not None
            and before._inputs_NI is not None
            and torch.equal(before._inputs_NI, inputs_NI)
        ):
            self._as, self._inputs_NI = before, None
            return
        if before is not None:
            before._inputs_NI = None
        latest.reader = self
        if not inputs_NI.isfinite().all():
            raise WorkFailed(f"lora.init_lora_weights: eva: {self._name} reads what is no number")
        self._waiting.append(inputs_NI)
        if sum(map(len, self._waiting)) < self._rank:
            return
        old_RI = self.found_RI
        old_RI = None if old_RI is None else old_RI.clone()
        self._pca.partial_fit(torch.cat(self._waiting))
        self._waiting = []
        if old_RI is not None:
            self._holds = bool((F.cosine_similarity(self._pca.components_, old_RI) >= ALIKE).all())


def _batches(examples: Sequence[Example], order: Sequence[int], rows: int, pad_id: int) -> Iterator[Batch]:
    """Padded rows without end."""
    some: list[Example] = []
    while True:
        for at in order:
            longest = max(len(example.ids) for example in [*some, examples[at]])
            if some and (len(some) == rows or longest * (len(some) + 1) > _MOST_TOKENS):
                yield collate(some, pad_id=pad_id)
                some = []
            some.append(examples[at])
