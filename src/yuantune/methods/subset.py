"""Some of the model's own weights are trained and saved, as they are called in the model: `trained.safetensors`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from yuantune.errors import RunError
from yuantune.methods.switch import Switch, by_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER = "adapter"
WEIGHTS_FILE = "trained.safetensors"


def train_only(model: PreTrainedModel, chosen: Callable[[str], bool]) -> PreTrainedModel:
    """Freeze all but the parameters whose name is chosen."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(chosen(name))
    return model


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write the weights that are trained."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad}
    save_file(state, str(folder / WEIGHTS_FILE), metadata={"format": "pt"})


def load(load_model: Callable[[Path | None], PreTrainedModel], folder: Path) -> PreTrainedModel:
    """The base model with the weights in `folder`, for answering."""
    model = load_model(None)
    restore(model, folder)
    return model


def merge(model: PreTrainedModel) -> PreTrainedModel:
    """The model as it is: what was trained are its own weights."""
    return model


def switch(base: PreTrainedModel, folder: Path) -> Switch:
    """The weights in `folder` in place of those of a base that others share."""
    return by_weights(base, _saved(base, folder))


def restore(model: PreTrainedModel, folder: Path) -> None:
    """Put what `save` wrote into the model. Raises RunError where it has no such weights."""
    saved, own = _saved(model, folder), dict(model.named_parameters())
    with torch.no_grad():
        for name, each in saved.items():
            own[name].copy_(each)


def _saved(model: PreTrainedModel, folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    saved: dict[str, Tensor] = load_file(str(folder / WEIGHTS_FILE))
    own = dict(model.named_parameters())
    if wrong := [name for name, each in saved.items() if name not in own or own[name].shape != each.shape]:
        raise RunError(f"{folder / WEIGHTS_FILE} is of another model: {', '.join(wrong)}")
    return saved
