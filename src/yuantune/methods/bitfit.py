"""BitFit: the biases that a model has are trained, and nothing else. Of Yuan2, those are its filter's.

Source: Ben Zaken et al., "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
Language-models", 2022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yuantune.errors import ConfigError
from yuantune.methods.subset import FOLDER, load, merge, restore, save, switch, train_only

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["FOLDER", "NEEDS_BASE", "apply", "load", "merge", "restore", "save", "switch"]

NEEDS_BASE = True


def apply(model: PreTrainedModel, options: dict[str, Any], tokenizer: Any = None) -> PreTrainedModel:
    """Freeze all but the biases; `options` are none. Raises ConfigError for a model without any."""
    if not any(_is_bias(name) for name, _ in model.named_parameters()):
        raise ConfigError(
            f"method: bitfit trains the biases of a model, and {type(model).__name__} has none here",
            hint="`method: ia3` or `method: lora` train as little and need none",
        )
    return train_only(model, _is_bias)


def _is_bias(name: str) -> bool:
    return name.rpartition(".")[2] == "bias"
