"""Muon for the hidden matrices, coupled AdamW for embeddings and head, AdamW for the rest, as one optimizer.

Muon makes the momentum of a matrix orthogonal before it is added, so that all directions of a weight are learnt at
one pace. Embeddings, the head, norms and biases are no such maps. Sources: Jordan et al., "Muon: An optimizer for
hidden layers in neural networks" (2024); Liu et al., "Muon is Scalable for LLM Training" (arXiv:2502.16982), from
which the update's size is: that of AdamW's, so that one learning rate and one weight decay serve both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from yuantune.models.placement import computes_bfloat16


class CoupledAdamW(torch.optim.Optimizer):
    """AdamW for tables of one row a token (V, D), where all rows share one second moment: the rows' mean (D,).

    Every softmax pushes each token that was not right a little away from the hidden state. Of a token that hardly
    ever occurs these pushes are all there is, all alike; Adam by itself makes full steps of them, and the rows of
    rare tokens run to one and the same place. Measured by all rows they stay small. Source: Stollenwerk and
    Stollmann, "Better Embeddings with Coupled Adam" (arXiv:2502.08441)."""

    def __init__(
        self,
        params: Any,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every table that has a gradient."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._move(table, **{key: group[key] for key in ("lr", "betas", "eps", "weight_decay")})

    def _move(
        self, table_VD: Tensor, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
    ) -> None:
        state, gradient_VD = self.state[table_VD], table_VD.grad
        assert gradient_VD is not None
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(table_VD)
            state["exp_avg_sq"] = table_VD.new_zeros(table_VD.shape[-1])
        state["step"] += 1
        unbiased = [1 - beta ** float(state["step"]) for beta in betas]
        state["exp_avg"].lerp_(gradient_VD, 1 - betas[0])
        state["exp_avg_sq"].lerp_(gradient_VD.square().mean(0), 1 - betas[1])
        scale_D = (state["exp_avg_sq"] / unbiased[1]).sqrt() + eps
        table_VD.mul_(1 - lr * weight_decay)
        table_VD.addcdiv_(state["exp_avg"], scale_D.expand_as(table_VD), value=-lr / unbiased[0])


class Muon(torch.optim.Muon):
    """torch's Muon, whose products are as wide as the gradient on a CPU that has to emulate bfloat16.

    torch makes them in bfloat16: on a Zen 3 core a step of yuan2-mini's matrices took 14 s so, and 0.4 s in
    float32; on two of Zen 5, which has units for it, 0.05 s and 0.15 s."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient."""
        devices = {str(each.device) for group in self.param_groups for each in group["params"]}
        if all(computes_bfloat16(device) for device in devices):
            super().step()
            return
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._move(matrix, group)

    def _move(self, matrix_MN: Tensor, group: dict[str, Any]) -> None:
        state, gradient_MN = self.state[matrix_MN], matrix_MN.grad
        assert gradient_MN is not None
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient_MN)
        mean_MN = state["momentum_buffer"].lerp_(gradient_MN, 1 - group["momentum"])
        ahead_MN = gradient_MN.lerp(mean_MN, group["momentum"])  # Nesterov's
        update_MN = orthogonal(ahead_MN, group["ns_coefficients"], group["ns_steps"], group["eps"])
        matrix_MN.mul_(1 - group["lr"] * group["weight_decay"])
        matrix_MN.add_(update_MN, alpha=-group["lr"] * 0.2 * max(matrix_MN.shape) ** 0.5)


def orthogonal(matrix_MN: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """The matrix with all its singular values near 1, by `steps` of Newton and Schulz's iteration."""
    a, b, c = coefficients
    wide = matrix_MN.shape[0] <= matrix_MN.shape[1]
    x = matrix_MN if wide else matrix_MN.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.T


class MuonAdamW(torch.optim.Optimizer):
    """torch's AdamW, CoupledAdamW and Muon side by side, their groups in this order.

    A matrix may have more than two dimensions (a convolution over time): it is the map from all but the first of
    them to the first."""

    def __init__(
        self,
        matrices: list[nn.Parameter],
        tables: list[dict[str, Any]],
        rest: list[dict[str, Any]],
        *,
        muon: dict[str, Any],
        adamw: dict[str, Any],
    ) -> None:
        # A view shares the weight's memory; its gradient is put in place before a step.
        self._views = [(each, each if each.ndim == 2 else each.detach().flatten(1)) for each in matrices]
        views = [view for _, view in self._views]
        self._parts: dict[str, torch.optim.Optimizer] = {
            "adamw": torch.optim.AdamW(rest, **adamw),
            "coupled": CoupledAdamW(tables, **adamw),
            "muon": Muon(views, adjust_lr_fn="match_rms_adamw", **muon),
        }
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        """The groups of all, the very objects: what a scheduler writes into them holds."""
        return [group for part in self._parts.values() for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        for weight, view in self._views:
            if view is not weight:
                view.grad = None if weight.grad is None else weight.grad.flatten(1)
        for part in self._parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """The states of all."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The states of all back."""
        for name, part in self._parts.items():
            part.load_state_dict(state_dict[name])
        self.param_groups = self._groups()


def muon_beside_adamw(
    model: PreTrainedModel, decayed: Collection[str], *, muon: dict[str, Any], adamw: dict[str, Any], decay: float
) -> MuonAdamW:
    """The optimizer of the model's trainable weights; `decayed` names those whose weights decay, by `decay`."""
    weights = {name: each for name, each in model.named_parameters() if each.requires_grad}
    matrices, tables = hidden_matrices(model), token_tables(model)

    def groups(names: list[str]) -> list[dict[str, Any]]:
        return [
            {"params": [weights[name] for name in names if (name in decayed) == decays], "weight_decay": rate}
            for decays, rate in ((True, decay), (False, 0.0))
        ]

    return MuonAdamW(
        [weights[name] for name in matrices],
        groups(tables),
        groups([name for name in weights if name not in {*matrices, *tables}]),
        muon=muon,
        adamw=adamw,
    )


def hidden_matrices(model: PreTrainedModel) -> list[str]:
    """The names of the trainable weights that Muon moves: of two dimensions or more, neither embedding nor head."""
    tables = token_tables(model)
    return [
        name
        for name, each in model.named_parameters()
        if each.requires_grad and each.ndim >= 2 and name not in tables
    ]


def token_tables(model: PreTrainedModel) -> list[str]:
    """The names of the trainable weights that have a row for each token or position: embeddings and head."""
    head = model.get_output_embeddings()
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    tables = {module.weight for module in [*embeddings, *([head] if head else [])]}
    return [name for name, each in model.named_parameters() if each.requires_grad and each in tables]
