"""Asking a model about itself: what it is under its wrappers, what it takes, and how it answers a trial."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""By how much, relatively, two ways to the same figures may differ, by the precision of the arithmetic."""


def accepts(model: PreTrainedModel, argument: str) -> bool:
    """Whether the forward pass of the model under PEFT and distributed wrappers names this argument."""
    return argument in inspect.signature(inner(model).forward).parameters


def inner(model: PreTrainedModel) -> PreTrainedModel:
    """The model under PEFT and distributed wrappers."""
    while True:
        within = getattr(model, "module", None) or (
            model.get_base_model() if hasattr(model, "get_base_model") else None
        )
        if within is None or within is model:
            return model
        model = within


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList | None:
    """The layers of the model's decoder in their order; None where they are kept otherwise."""
    layers = getattr(inner(model).get_decoder(), "layers", None)
    return layers if isinstance(layers, nn.ModuleList) and len(layers) else None


@contextmanager
def trial(model: PreTrainedModel) -> Iterator[None]:
    """Within, the model answers without dropout and without gradients; then it is in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def configs_of(model: nn.Module) -> list[Any]:
    """The configs that the modules of a model read, each once."""
    return list({id(each.config): each.config for each in model.modules() if hasattr(each, "config")}.values())


@contextmanager
def attending_by(name: str, configs: Sequence[Any]) -> Iterator[None]:
    """Within, models of these configs attend by the function that transformers knows as `name`."""
    before = [config._attn_implementation for config in configs]
    try:
        for config in configs:
            config._attn_implementation = name
        yield
    finally:
        for config, own in zip(configs, before, strict=True):
            config._attn_implementation = own


@contextmanager
def instead_of(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Within, whoever calls `module` gets what `forward` returns. Its hooks run as ever."""
    own = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
