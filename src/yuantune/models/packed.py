"""Whether a model keeps documents apart that are packed into one row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from yuantune.models.probe import trial

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def keeps_apart(model: PreTrainedModel) -> bool:
    """Whether a document's logits stay the same, bit for bit, when the document packed before it changes, the
    two told apart by position ids that restart.

    transformers' masks see to it for attention; a convolution or recurrence over time would let the one into
    the other."""
    device = next(model.parameters()).device
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]], device=device)
    try:
        with trial(model):
            one, other = (
                model(
                    input_ids=torch.tensor([[*before, 3, 1, 2]], device=device),
                    position_ids=positions,
                    use_cache=False,
                ).logits[0, 3:]
                for before in ((1, 2, 3), (3, 0, 0))
            )
    except TypeError:  # It takes no position ids.
        return False
    return torch.equal(one, other)
