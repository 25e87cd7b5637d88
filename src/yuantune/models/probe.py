"""Asking a model about itself: what it is under its wrappers, what it takes, and how it answers a trial."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
