"""The last decoder layer for the tokens that something is predicted from: what it gives elsewhere nobody reads.

Keys and values are needed of every token; queries, and what follows the attention, its output projection and the
MLP, are not. In a batch of prompts and answers that is most of them, and in a step of answering most of the
prompts that come in.

Shapes: T tokens of the batch, laid flat, S of them needed, D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from yuantune.models.loss import plain_head
from yuantune.models.probe import ROUNDING, decoder_layers, inner, instead_of, trial

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WORTH = 0.8
"""With a greater share of needed tokens, sorting them out costs more than it saves."""
_PARTS = ("mlp", "self_attn.o_proj", "self_attn.q_proj")
"""Modules of a layer that compute each token by itself, as transformers' decoders of Llama's kind name them. (Yuan2
makes keys of its q_proj, too; the trial finds that out.)"""


@contextmanager
def only_needed(model: PreTrainedModel, input_ids: Tensor, row_S: Tensor, position_S: Tensor) -> Iterator[None]:
    """Within, forward and backward pass, the last layer of `model` computes its queries, output projection and MLP
    for these tokens of `input_ids` only, and gives nothing of use for the others.

    Models that this is not known to leave alone compute all, as does a batch of which most is needed."""
    with only_these(model, torch.unique(row_S * input_ids.shape[1] + position_S), input_ids.numel()):
        yield


@contextmanager
def only_these(model: PreTrainedModel, token_S: Tensor, tokens: int) -> Iterator[None]:
    """`only_needed` for tokens by their number (each once) among the `tokens` of a batch."""
    with ExitStack() as stack:
        if 0 < len(token_S) <= WORTH * tokens:
            for module in parts_of(model):
                stack.enter_context(instead_of(module, _Needed(module.forward, token_S, tokens)))
        yield


class _Needed:
    """A module's forward for some tokens: `elsewhere` for the others."""

    def __init__(self, forward: Any, token_S: Tensor, tokens: int, elsewhere: float = 0.0) -> None:
        self.forward, self.token_S, self.tokens, self.elsewhere = forward, token_S, tokens, elsewhere

    def __call__(self, x: Tensor) -> Tensor:
        x_TD = x.reshape(-1, x.shape[-1])
        if len(x_TD) != self.tokens:  # Another batch than the one that was told of.
            whole: Tensor = self.forward(x)
            return whole
        out_SD = self.forward(x_TD.index_select(0, self.token_S)[None])[0]
        out_TD = out_SD.new_full((self.tokens, out_SD.shape[-1]), self.elsewhere)
        out_TD = out_TD.index_copy(0, self.token_S, out_SD)
        return out_TD.view(*x.shape[:-1], -1)


def parts_of(model: PreTrainedModel) -> list[nn.Module]:
    """The modules of the last layer that need not see every token; none where the model's head is not plain, the
    layer is built otherwise, or a trial gives another result."""
    bare = inner(model)
    layers = decoder_layers(bare)
    if layers is None or plain_head(model) is None:
        return []
    layer = layers[-1]
    if bare not in _KNOWN:
        _KNOWN[bare] = _names(bare, layer)
    return [layer.get_submodule(name) for name in _KNOWN[bare]]


_KNOWN: WeakKeyDictionary[nn.Module, tuple[str, ...]] = WeakKeyDictionary()


def _names(bare: PreTrainedModel, layer: nn.Module) -> tuple[str, ...]:
    """Those of the parts that the layer has and that a trial of six tokens, two of them needed, finds equal.

    What the other tokens give is not a number there: whatever reads it would be none either. (Small weights
    make much look equal that is not.)"""
    head = bare.get_output_embeddings()
    device = head.weight.device
    ids_16 = torch.arange(6, device=device)[None] % len(head.weight)
    token_S = torch.tensor([2, 5], device=device)
    names = []
    with trial(bare), instead_of(head, lambda hidden: hidden):
        whole_SD = bare(input_ids=ids_16, use_cache=False).logits[0, token_S]
        for name in _PARTS:
            module = dict(layer.named_modules()).get(name)
            if module is None:
                continue
            try:
                with instead_of(module, _Needed(module.forward, token_S, ids_16.numel(), math.nan)):
                    found_SD = bare(input_ids=ids_16, use_cache=False).logits[0, token_S]
            except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
                continue  # Called otherwise, or giving something else, than one tensor of tokens.
            error = (found_SD - whole_SD).float().norm() / whole_SD.float().norm().clamp(min=1e-30)
            if error <= ROUNDING.get(whole_SD.dtype, 1e-3):
                names.append(name)
    return tuple(names)
