"""LoRA by PEFT: the adapter folder is PEFT's own (`adapter_config.json`, `adapter_model.safetensors`).

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from yuantune.errors import ConfigError, Problem, nearest
from yuantune.methods.lean import make_lean

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER = "adapter"
NEEDS_BASE = True


def apply(model: PreTrainedModel, options: dict[str, Any]) -> PreTrainedModel:
    """Wrap `model` with LoRA layers (with the leaner training forward); base weights are frozen, adapter weights
    are float32.

    `options` are fields of `peft.LoraConfig`. Raises ConfigError when a target module is not in the model."""
    from peft import LoraConfig, TaskType, get_peft_model

    targets = options["target_modules"]
    if isinstance(targets, list):
        _check_targets(model, targets)
    elif targets != "all-linear":
        raise ConfigError(f"lora.target_modules: give a list of layer names, or all-linear, not {targets!r}")
    tuned: PreTrainedModel = get_peft_model(model, LoraConfig(task_type=TaskType.CAUSAL_LM, **options))
    make_lean(tuned)
    return tuned


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write PEFT's adapter files into `folder`."""
    # The embedding is frozen and part of the base: PEFT's "auto" would ask a hub whether it was resized.
    model.save_pretrained(str(folder), save_embedding_layers=False)


def load(load_model: Callable[[Path | None], PreTrainedModel], folder: Path) -> PreTrainedModel:
    """The base model with the adapter in `folder` on it, for answering."""
    from peft import PeftModel

    return PeftModel.from_pretrained(load_model(None), str(folder))


def _check_targets(model: PreTrainedModel, targets: list[str]) -> None:
    from transformers.pytorch_utils import Conv1D

    # GPT-2's linear layers are called Conv1D; PEFT knows them.
    kinds = (nn.Linear, Conv1D)
    linear = sorted({name.rsplit(".", 1)[-1] for name, m in model.named_modules() if isinstance(m, kinds)})
    missing = [target for target in targets if target.rsplit(".", 1)[-1] not in linear]
    if missing:
        raise ConfigError(
            f"lora.target_modules names layers that {type(model).__name__} does not have",
            problems=[Problem(name, f"no such linear layer{nearest(name, linear)}") for name in missing],
            hint=f"its linear layers are: {', '.join(linear)}; or say `lora.target_modules: all-linear`",
        )
