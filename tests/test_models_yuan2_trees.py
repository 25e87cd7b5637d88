"""Yuan2 on trees: 4-D masks, predecessors given by hand, and attention functions from outside."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from tests.yuan2_reference import (
    ancestors,
    by_path,
    close,
    gradients,
    parameters_of,
    probed_loss,
    random_ids,
    same_gradients,
    tiny_model,
    tree,
)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("additive", [None, torch.finfo(torch.float64).min, -torch.inf, -1e9])
@pytest.mark.parametrize("depths", [True, False])
def test_branches_of_a_tree_equal_their_paths(implementation: str, additive: float | None, depths: bool) -> None:
    model = tiny_model()
    model.set_attn_implementation(implementation)
    paths, parents = tree()
    ids = random_ids(1, 12)
    mask = ancestors(parents)
    positions = mask.sum(-1)[:, 0] - 1 if depths else None
    if additive is not None:
        mask = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, additive)
    expected = by_path(model, ids, paths, depths)
    actual = model(ids, attention_mask=mask, position_ids=positions).logits[0]
    close(actual, expected)
    same_gradients(model, actual, expected)


def test_a_tree_may_lie_in_any_order_and_have_padding() -> None:
    model = tiny_model()
    paths, parents = tree()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    ids, mask = random_ids(1, 12), ancestors(parents)
    expected = by_path(model, ids, paths)
    depths = mask.sum(-1)[:, 0] - 1
    mask = nn.functional.pad(mask[..., order, :][..., order], (2, 1, 2, 1))  # padding sees nothing
    ids, depths = (nn.functional.pad(part[:, order], (2, 1)) for part in (ids, depths))
    actual = model(ids.expand(2, -1), attention_mask=mask, position_ids=depths).logits[1, 2:-1]
    close(actual, expected[order])


def group_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    layout: Tensor,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Attention as an outsider registers it: no mask from the model, its own layout from a keyword argument."""
    assert mask is None
    assert rest["position_ids"].shape == (1, 12)
    attended = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=layout, scale=rest["scaling"]
    )
    return attended.transpose(1, 2), None


@pytest.mark.parametrize("reentrant", [None, False, True])
def test_another_attention_function_gets_its_arguments_and_the_filter_its_parents(reentrant: bool | None) -> None:
    AttentionInterface.register("test_groups", group_attention)
    AttentionMaskInterface.register("test_groups", lambda *args, **kwargs: None)
    model = tiny_model()
    model.set_attn_implementation("test_groups")
    if reentrant is not None:
        model.train()
        model.activation_checkpointing_enable({"use_reentrant": reentrant})
    paths, parents = tree()
    ids, mask = random_ids(1, 12), ancestors(parents)
    depths = mask.sum(-1)[:, 0] - 1
    actual = model(ids, position_ids=depths, parents=parents, layout=mask, use_cache=False).logits[0]
    expected = by_path(model, ids, paths)
    close(actual, expected)
    if reentrant is None:
        same_gradients(model, actual, expected)
    else:  # the reentrant kind takes backward() only
        reference = gradients(model, expected)
        probed_loss(actual).backward()
        for name, parameter in parameters_of(model).items():
            close(parameter.grad, reference[name], 1e-9 * max(1.0, reference[name].abs().max().item()))
