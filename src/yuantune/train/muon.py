"""Muon for the hidden matrices, AdamW for everything else, as one optimizer.

Muon makes the momentum of a matrix orthogonal before it is added, so that all directions of a weight are learnt at
one pace. Embeddings, the head, norms and biases are no such maps. Sources: Jordan et al., "Muon: An optimizer for
hidden layers in neural networks" (2024); Liu et al., "Muon is Scalable for LLM Training" (arXiv:2502.16982), from
which the update's size is: that of AdamW's, so that one learning rate and one weight decay serve both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel


class MuonAdamW(torch.optim.Optimizer):
    """torch's Muon and AdamW side by side; `adamw_groups` come first.

    A matrix may have more than two dimensions (a convolution over time): it is the map from all but the first of
    them to the first."""

    def __init__(
        self,
        matrices: list[nn.Parameter],
        adamw_groups: list[dict[str, Any]],
        *,
        muon: dict[str, Any],
        adamw: dict[str, Any],
    ) -> None:
        # A view shares the weight's memory; its gradient is put in place before a step.
        self._views = [(each, each if each.ndim == 2 else each.detach().flatten(1)) for each in matrices]
        self._adamw = torch.optim.AdamW(adamw_groups, **adamw)
        self._muon = torch.optim.Muon([view for _, view in self._views], adjust_lr_fn="match_rms_adamw", **muon)
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        """The groups of both, the very objects: what a scheduler writes into them holds."""
        return [*self._adamw.param_groups, *self._muon.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        for weight, view in self._views:
            if view is not weight:
                view.grad = None if weight.grad is None else weight.grad.flatten(1)
        self._adamw.step()
        self._muon.step()

    def state_dict(self) -> dict[str, Any]:
        """Both states."""
        return {"adamw": self._adamw.state_dict(), "muon": self._muon.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Both states back."""
        self._adamw.load_state_dict(state_dict["adamw"])
        self._muon.load_state_dict(state_dict["muon"])
        self.param_groups = self._groups()


def hidden_matrices(model: PreTrainedModel) -> list[str]:
    """The names of the weights that Muon moves: of two dimensions or more, neither embedding nor head."""
    head = model.get_output_embeddings()
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    outer = {weight for module in [*embeddings, *([head] if head else [])] for weight in module.parameters()}
    return [name for name, each in model.named_parameters() if each.ndim >= 2 and each not in outer]
