"""Prefix tuning by PEFT: keys and values of virtual tokens are learnt in every layer, and nothing else.

Source: Li and Liang, "Prefix-Tuning: Optimizing Continuous Prompts for Generation", ACL 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from yuantune.methods.rooted import FOLDER, load, merge, restore, rooted, save, switch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["FOLDER", "NEEDS_BASE", "apply", "load", "merge", "restore", "save", "switch"]

NEEDS_BASE = True
NEAR = 0.02
"""Standard deviation of keys and values that begin near zero; those of a model's tokens are about one."""


def apply(model: PreTrainedModel, options: dict[str, Any], tokenizer: Any = None) -> PreTrainedModel:
    """Put keys and values before everything that `model` attends over. `options` are fields of
    `peft.PrefixTuningConfig`, but for `init_weights: near_zero`: keys and values that all are zero would get the
    same gradients, and stay one virtual token. Raises ModelError where the model has no place for them."""
    from peft import PrefixTuningConfig, TaskType

    near_zero = options.get("init_weights") == "near_zero"
    options = {**options, "init_weights": "zero" if near_zero else None}
    tuned = rooted(model, PrefixTuningConfig(task_type=TaskType.CAUSAL_LM, **options))
    if near_zero and not options.get("prefix_projection"):
        encoder: Any = tuned.prompt_encoder["default"]
        torch.nn.init.normal_(encoder.embedding.weight, std=NEAR)
    return tuned
