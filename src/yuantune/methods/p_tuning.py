"""P-tuning by PEFT: embeddings of virtual tokens are learnt through a network that makes them.

Source: Liu et al., "GPT Understands, Too", 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yuantune.methods.rooted import FOLDER, load, merge, restore, rooted, save, switch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["FOLDER", "NEEDS_BASE", "apply", "load", "merge", "restore", "save", "switch"]

NEEDS_BASE = True


def apply(model: PreTrainedModel, options: dict[str, Any], tokenizer: Any = None) -> PreTrainedModel:
    """Put virtual tokens before everything that `model` reads. `options` are fields of `peft.PromptEncoderConfig`.

    Raises ModelError where the model takes no virtual tokens."""
    from peft import PromptEncoderConfig, TaskType

    return rooted(model, PromptEncoderConfig(task_type=TaskType.CAUSAL_LM, **options))
