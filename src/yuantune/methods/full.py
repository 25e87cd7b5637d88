"""Full fine-tuning: every weight moves, and a whole model folder is saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER = "model"
NEEDS_BASE = False
switch = "every weight was trained: it is a model of its own, not an adapter"
restore = None
"""The Trainer reads a model folder itself."""


def apply(model: PreTrainedModel, options: dict[str, Any], tokenizer: Any = None) -> PreTrainedModel:
    """Make every floating-point weight trainable; `options` are none."""
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return model


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write a Hugging Face model folder (config and safetensors)."""
    model.save_pretrained(str(folder))


def merge(model: PreTrainedModel) -> PreTrainedModel:
    """The model as it is."""
    return model


def load(load_model: Callable[[Path | None], PreTrainedModel], folder: Path) -> PreTrainedModel:
    """The tuned model in `folder`; the base model is not needed."""
    return load_model(folder)
