"""How a model is made trainable, saved and loaded: one module a method, one table of them.

A method is a module with `apply`, `save`, `load`, `switch`, `restore` and `merge`, `FOLDER`, the name of what
it saves in a run folder, and `NEEDS_BASE`, whether that works only together with the base model.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from yuantune.methods import bitfit, bottleneck, freeze, full, ia3, lora, p_tuning, prefix_tuning, prompt_tuning
from yuantune.methods.switch import Switch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


LoadModel = Callable[[Path | None], "PreTrainedModel"]
"""Loads the model in a folder, or the run's base model for None."""


class Method(Protocol):
    """What every method's module offers."""

    FOLDER: str
    NEEDS_BASE: bool
    merge: Callable[[Any], PreTrainedModel] | str
    """Makes of what `load` gives a model of the base's kind that answers the same; or why there is none."""
    switch: Callable[[PreTrainedModel, Path], Switch] | str
    """Puts what `save` wrote on a base that other trained results share, off at first; or why that cannot be."""
    restore: Callable[[Any, Path], None] | None
    """Puts what `save` wrote into a model that `apply` has made; None where the Trainer does it itself."""

    def apply(self, model: PreTrainedModel, options: dict[str, Any], tokenizer: Any = None) -> PreTrainedModel:
        """Make `model` trainable by the method; the random weights are drawn from torch's current state."""

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        """Write what was trained."""

    def load(self, load_model: LoadModel, folder: Path) -> PreTrainedModel:
        """The trained model from what `save` wrote in `folder`."""


_MODULES = (bitfit, bottleneck, freeze, full, ia3, lora, p_tuning, prefix_tuning, prompt_tuning)
METHODS: dict[str, Method] = {module.__name__.rpartition(".")[2]: cast(Method, module) for module in _MODULES}
"""Each method by its name in the config."""


def trainable_parameters(model: PreTrainedModel) -> tuple[int, int]:
    """`(trainable, all)` parameter counts; tied weights count once."""
    counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trained in counts if trained), sum(n for n, _ in counts)
