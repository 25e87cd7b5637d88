"""The last decoder layers are trained, everything before and after them is frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yuantune.errors import ConfigError, ModelError
from yuantune.methods.subset import FOLDER, load, merge, restore, save, switch, train_only
from yuantune.models.probe import decoder_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["FOLDER", "NEEDS_BASE", "apply", "load", "merge", "restore", "save", "switch"]

NEEDS_BASE = True


def apply(model: PreTrainedModel, options: dict[str, Any], tokenizer: Any = None) -> PreTrainedModel:
    """Freeze all but the last `options["trained_layers"]` decoder layers.

    Raises ConfigError where the model has fewer, ModelError where it keeps them otherwise."""
    layers = decoder_layers(model)
    if layers is None:
        raise ModelError(
            f"{type(model).__name__} has no list of layers whose last ones could be trained",
            hint="`method: lora` works with every model that has linear layers",
        )
    count = options["trained_layers"]
    if count > len(layers):
        raise ConfigError(f"freeze.trained_layers: {count}: {type(model).__name__} has {len(layers)} layers")
    chosen = {id(p) for layer in layers[len(layers) - count :] for p in layer.parameters()}
    names = {name for name, p in model.named_parameters() if id(p) in chosen}
    return train_only(model, names.__contains__)
