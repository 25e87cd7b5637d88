"""(IA)³ by PEFT: what attention and MLP pass on is scaled, number by number; every scale begins at one.

Keys and values are scaled as they come out of their projections, the MLP's inner state as it goes into its last one
(`feedforward_modules`). Yuan2's q_proj and k_proj each make queries and keys of half the heads: both are scaled.

Source: Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning", 2022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yuantune.errors import ConfigError, Problem
from yuantune.methods.by_peft import FOLDER, keep_whole, load, merge, restore, save, switch
from yuantune.methods.layers import check_linear, linear_names

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["FOLDER", "NEEDS_BASE", "apply", "load", "merge", "restore", "save", "switch"]

NEEDS_BASE = True
USUAL = {"yuan": ("q_proj", "k_proj", "v_proj", "down_proj")}
"""What is scaled in a model of a type, where it is not Llama's: keys, values, and the MLP's last projection."""
_LLAMA = ("k_proj", "v_proj", "down_proj")


def apply(model: PreTrainedModel, options: dict[str, Any], tokenizer: Any = None) -> PreTrainedModel:
    """Wrap `model` with scales; base weights are frozen, scales are float32.

    `options` are fields of `peft.IA3Config`. Raises ConfigError for layers that are not in the model, and for a
    model of which it is not known what to scale."""
    from peft import IA3Config, TaskType, get_peft_model

    targets, feedforward = _targets(model, options["target_modules"]), options["feedforward_modules"]
    if feedforward is None:
        feedforward = [name for name in targets if name == "down_proj"]
    if missing := [name for name in feedforward if name not in targets]:
        raise ConfigError(
            "ia3.feedforward_modules are some of ia3.target_modules",
            problems=[Problem(name, "is not one of them") for name in missing],
            hint=f"the targets are: {', '.join(targets)}",
        )
    config = IA3Config(task_type=TaskType.CAUSAL_LM, target_modules=targets, feedforward_modules=feedforward)
    tuned: PreTrainedModel = keep_whole(get_peft_model(model, config))
    return tuned


def _targets(model: PreTrainedModel, given: list[str] | None) -> list[str]:
    if given is not None:
        check_linear(model, given, "ia3.target_modules")
        return given
    usual = USUAL.get(model.config.get_text_config().model_type, _LLAMA)
    known = sorted({name.rsplit(".", 1)[-1] for name in linear_names(model)})
    if not set(usual) <= set(known):
        raise ConfigError(
            f"ia3.target_modules: name what is to be scaled in {type(model).__name__}, and in "
            "ia3.feedforward_modules which of it is the MLP's last projection",
            hint=f"its linear layers are: {', '.join(known)}",
        )
    return list(usual)
