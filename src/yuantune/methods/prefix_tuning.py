"""Prefix tuning by PEFT: keys and values of virtual tokens are learnt in every layer, and nothing else.

Source: Li and Liang, "Prefix-Tuning: Optimizing Continuous Prompts for Generation", ACL 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yuantune.methods.rooted import FOLDER, load, merge, restore, rooted, save, switch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["FOLDER", "NEEDS_BASE", "apply", "load", "merge", "restore", "save", "switch"]

NEEDS_BASE = True


def apply(model: PreTrainedModel, options: dict[str, Any], tokenizer: Any = None) -> PreTrainedModel:
    """Put keys and values before everything that `model` attends over. `options` are fields of
    `peft.PrefixTuningConfig`. Raises ModelError where the model has no place for them."""
    from peft import PrefixTuningConfig, TaskType

    return rooted(model, PrefixTuningConfig(task_type=TaskType.CAUSAL_LM, **options))
