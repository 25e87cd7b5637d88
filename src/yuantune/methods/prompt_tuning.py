"""Prompt tuning by PEFT: embeddings of virtual tokens before every row are learnt, and nothing else.

Source: Lester et al., "The Power of Scale for Parameter-Efficient Prompt Tuning", EMNLP 2021; section 3.2 for how
the embeddings begin.
"""

from __future__ import annotations

from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import torch

from yuantune.errors import ConfigError
from yuantune.methods.rooted import FOLDER, load, merge, restore, rooted, save, switch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["FOLDER", "NEEDS_BASE", "apply", "load", "merge", "restore", "save", "switch"]

NEEDS_BASE = True


def apply(model: PreTrainedModel, options: dict[str, Any], tokenizer: Any = None) -> PreTrainedModel:
    """Put virtual tokens before everything that `model` reads. `options` are those of `PromptTuningSection`;
    `tokenizer` is asked for the tokens of the text that they begin as.

    Raises ConfigError where that text has no tokens, ModelError where the model takes no virtual tokens."""
    from peft import PromptTuningConfig, TaskType

    count, text = options["num_virtual_tokens"], options["prompt_tuning_init_text"]
    how = "SAMPLE_VOCAB" if options["prompt_tuning_init"] == "sample_vocab" else "RANDOM"
    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=count, prompt_tuning_init=how)
    tuned = rooted(model, config)
    if options["prompt_tuning_init"] == "text":
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise ConfigError(f"prompt_tuning.prompt_tuning_init_text: {text!r} has no tokens")
        # Again from its start where it is shorter than the virtual tokens.
        rows = torch.tensor(list(islice(cycle(ids), count)), device=model.device)
        with torch.no_grad():
            table = tuned.prompt_encoder[tuned.active_adapter].embedding.weight
            table.copy_(model.get_input_embeddings().weight[rows])
    return tuned
