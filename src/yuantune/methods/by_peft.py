"""What the methods that PEFT does have in common: its files, written and read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yuantune.errors import ModelError, RunError
from yuantune.methods.switch import Switch, by_modules
from yuantune.models.stored import StoredLinear

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER = "adapter"
_MISSING = "Found missing adapter keys while loading the checkpoint"
WEIGHTS_FILE, CONFIG_FILE = "adapter_model.safetensors", "adapter_config.json"


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write PEFT's adapter files into `folder`."""
    # The embedding is frozen and part of the base: PEFT's "auto" would ask a hub whether it was resized.
    model.save_pretrained(str(folder), save_embedding_layers=False)


def load(load_model: Callable[[Path | None], PreTrainedModel], folder: Path) -> PreTrainedModel:
    """The base model with the adapter in `folder` on it, for answering.

    Raises RunError where the file lacks weights of it: PEFT would answer with what they are made as."""
    from peft import PeftModel

    base = load_model(None)
    with all_there(folder):
        return keep_whole(PeftModel.from_pretrained(base, str(folder)))


@contextmanager
def all_there(folder: Path) -> Iterator[None]:
    """Within, PEFT reads the adapter in `folder`. Raises RunError where the file lacks weights of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=_MISSING)
        try:
            yield
        except UserWarning as warning:
            raise incomplete(folder, str(warning).removeprefix(_MISSING).strip(" :.[]")) from None


def incomplete(folder: Path, what: str) -> RunError:
    """That the adapter in `folder` lacks weights."""
    return RunError(f"{folder / WEIGHTS_FILE} is not whole: it lacks {what}", hint="train again")


def switch(base: PreTrainedModel, folder: Path) -> Switch:
    """The adapter in `folder` on a base that others share."""
    return by_modules(load, base, folder)


def keep_whole(model: Any) -> Any:
    """The model, PEFT's layers in it refusing to merge into weights of fewer bits: the update would be rounded
    away."""
    for module in model.modules():
        if hasattr(module, "get_base_layer") and isinstance(module.get_base_layer(), StoredLinear):
            module.merge = _Merge(module)
    return model


class _Merge:
    """The `merge` of one of PEFT's layers. No closure, so that a model can be copied and pickled."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Raises ModelError where the layer's weights have fewer bits now."""
        if isinstance(base := self.layer.get_base_layer(), StoredLinear):
            raise ModelError(
                f"an adapter cannot be merged into {base.FORMAT} weights: it would be rounded away",
                hint="`yuantune export RUN --merge` makes numbers of them first",
            )
        type(self.layer).merge(self.layer, *args, **kwargs)


def merge(model: Any) -> PreTrainedModel:
    """The base with the adapter in its weights, in place."""
    whole: PreTrainedModel = model.merge_and_unload(safe_merge=True)
    return whole


def restore(model: PreTrainedModel, folder: Path) -> None:
    """Put what `save` wrote into a model that was made with the same options."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(str(folder / WEIGHTS_FILE)))
