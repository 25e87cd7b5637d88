"""Which of a model's parts a method is for: decoder layers by number, modules by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from yuantune.errors import ConfigError, Problem, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def chosen_layers(model: PreTrainedModel, given: Sequence[int | str] | None, option: str) -> list[int]:
    """The decoder layers that `given` means: numbers (negative ones from the end) and ranges `"8-15"`; all for
    None.

    Raises ConfigError with everything in the option that the model does not have."""
    count: int = model.config.get_text_config().num_hidden_layers
    if given is None:
        return list(range(count))
    found: set[int] = set()
    problems = []
    for each in given:
        first, last = (each, each) if isinstance(each, int) else map(int, each.split("-"))
        numbers = [number + count if number < 0 else number for number in range(first, last + 1)]
        if not numbers or not all(0 <= number < count for number in numbers):
            problems.append(Problem(str(each), "no such layer" if numbers else "ends before it begins"))
        found.update(numbers)
    if problems or not found:
        raise ConfigError(
            f"{option} names {'layers' if problems else 'none of the layers'} that {type(model).__name__} "
            f"{'does not have' if problems else 'has'}",
            problems=problems,
            hint=f"its layers are 0 to {count - 1} (-1 is the last)",
        )
    return sorted(found)


def linear_names(model: PreTrainedModel) -> list[str]:
    """The paths of the model's linear layers."""
    from transformers.pytorch_utils import Conv1D

    # GPT-2's linear layers are called Conv1D; PEFT knows them.
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]


def check_linear(model: PreTrainedModel, names: Sequence[str], option: str, hint: str = "") -> None:
    """Raises ConfigError where `names` has layers that the model does not have."""
    known = sorted({name.rsplit(".", 1)[-1] for name in linear_names(model)})
    missing = [name for name in names if name.rsplit(".", 1)[-1] not in known]
    if missing:
        raise ConfigError(
            f"{option} names layers that {type(model).__name__} does not have",
            problems=[Problem(name, f"no such linear layer{nearest(name, known)}") for name in missing],
            hint=f"its linear layers are: {', '.join(known)}{hint}",
        )
