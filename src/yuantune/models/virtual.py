"""Virtual tokens: learnt vectors that stand before every row, the root of whatever prefix rows share.

Under prompt tuning they are embeddings: the model reads them like tokens, Yuan2's filter too. Under prefix tuning
they are each layer's keys and values, which nothing went through: to Yuan2's filter a row's first token has none
before it. A model with virtual tokens carries a `Root` (`put_root`); a forward pass, prefix groups and the engine
ask for it.

Shapes: P virtual tokens, B rows, T tokens of a row, N tokens of a row of prefix groups, M = N + P a group, D hidden
size, K heads for keys and values, E width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from yuantune.errors import ModelError
from yuantune.models.probe import accepts

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.cache_utils import Cache

    from yuantune.models.grouped import Layout

_ATTRIBUTE = "virtual_root"


@dataclass(frozen=True, slots=True)
class Root:
    """P virtual tokens as they are now: `embeddings` gives [P, D], `keys_values` each layer's keys and values
    [K, P, E]; a model has one of the two."""

    count: int
    embeddings: Callable[[], Tensor] | None = None
    keys_values: Callable[[], list[tuple[Tensor, Tensor]]] | None = None


def put_root(model: PreTrainedModel, root: Root) -> None:
    """`model`, a wrapper around its base, has these virtual tokens from now on."""
    vars(model)[_ATTRIBUTE] = root


def root_of(model: Any) -> Root | None:
    """The virtual tokens of a model under distributed wrappers, None where it has none."""
    while model is not None:
        if _ATTRIBUTE in vars(model):
            root: Root = vars(model)[_ATTRIBUTE]
            return root
        model = getattr(model, "module", None)
    return None


def virtual_tokens(model: Any) -> int:
    """P, 0 where the model has none."""
    root = root_of(model)
    return root.count if root is not None else 0


# ----------------------------------------------------------------------------------------------------- rows, padded


def read_rows(
    base: PreTrainedModel,
    root: Root,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    labels: Tensor | None = None,
    logits_to_keep: int | Tensor = 0,
    **more: Any,
) -> Any:
    """What `base` gives for rows [B, T] behind the virtual tokens; its logits are those of the T tokens (or of
    those that `logits_to_keep` names among them). Padding is on the right."""
    rows, length = input_ids.shape
    more["attention_mask"] = _seen(input_ids, attention_mask, root.count)
    if root.embeddings is not None:
        more["inputs_embeds"] = _behind(base, root.embeddings(), input_ids)
        if labels is not None:
            more["labels"] = torch.cat((labels.new_full((rows, root.count), -100), labels), 1)
    else:
        _check_uncheckpointed(base)
        more |= {"input_ids": input_ids, "past_key_values": cache_of(root, rows, base.dtype), "labels": labels}
    kept: int | Tensor = 0
    if accepts(base, "logits_to_keep") and labels is None:
        kept = length if isinstance(logits_to_keep, int) and not logits_to_keep else logits_to_keep
        if isinstance(kept, Tensor) and root.embeddings is not None:
            kept = kept + root.count
        more["logits_to_keep"] = kept
    output = base(**more)
    if not isinstance(kept, Tensor) and kept in (0, length):
        output.logits = output.logits[:, output.logits.shape[1] - length :]
    return output


def cache_of(root: Root, rows: int, dtype: torch.dtype) -> Cache:
    """A cache that holds the keys and values of prefix tuning for so many rows."""
    from transformers import DynamicCache

    assert root.keys_values is not None
    cache = DynamicCache()
    for layer, pair in enumerate(root.keys_values()):
        key, value = (each.to(dtype).expand(rows, -1, -1, -1) for each in pair)
        cache.update(key, value, layer)
    return cache


def _seen(input_ids: Tensor, mask_BT: Tensor | None, count: int) -> Tensor:
    mask_BT = torch.ones_like(input_ids) if mask_BT is None else mask_BT
    return torch.cat((mask_BT.new_ones(len(mask_BT), count), mask_BT), 1)


def _behind(base: PreTrainedModel, root_PD: Tensor, input_ids: Tensor) -> Tensor:
    embedded_BTD = base.get_input_embeddings()(input_ids)
    root_BPD = root_PD.to(embedded_BTD.dtype).expand(len(input_ids), -1, -1)
    return torch.cat((root_BPD, embedded_BTD), 1)


def _check_uncheckpointed(base: Any) -> None:
    if base.training and getattr(base, "is_gradient_checkpointing", False):
        raise ModelError(
            "a tuned prefix before padded rows cannot be combined with gradient checkpointing, which drops it",
            hint="say `train.gradient_checkpointing: false`",
        )


# ---------------------------------------------------------------------------------------------------- prefix groups


def read_groups(
    base: PreTrainedModel,
    root: Root,
    input_ids: Tensor,
    position_ids: Tensor,
    layout: Layout,
    parents: Tensor | None = None,
    logits_to_keep: int | Tensor = 0,
    **more: Any,
) -> Any:
    """What `base` gives for a row of prefix groups [1, N], each behind the virtual tokens; the logits are those of
    the N tokens (or of those of them that `logits_to_keep` names)."""
    if root.keys_values is not None:
        more["virtual"] = [(key.to(base.dtype), value.to(base.dtype)) for key, value in root.keys_values()]
        longer = replace(layout, longest=layout.longest + root.count)
        place = {} if parents is None else {"parents": parents}
        return base(
            input_ids=input_ids, position_ids=position_ids + root.count, layout=longer,
            logits_to_keep=logits_to_keep, **place, **more,
        )  # fmt: skip
    assert root.embeddings is not None
    rooted = _Rooted(layout, root.count, input_ids.shape[1], input_ids.device)
    embedded_ND = base.get_input_embeddings()(input_ids[0])
    table = torch.cat((root.embeddings().to(embedded_ND.dtype), embedded_ND))
    if parents is not None:
        more["parents"] = rooted.parents(parents[0])[None]
    if isinstance(logits_to_keep, Tensor):
        more["logits_to_keep"] = rooted.place_N[logits_to_keep]
    output = base(
        # An embedding lookup: the fastest gather, and its gradient sums in a fixed order.
        inputs_embeds=F.embedding(rooted.index_M, table)[None],
        position_ids=rooted.positions(position_ids[0])[None],
        layout=rooted.layout(layout),
        **more,
    )
    if not isinstance(logits_to_keep, Tensor):
        output.logits = output.logits[:, rooted.place_N]
    return output


class _Rooted:
    """A row of prefix groups with the virtual tokens before each group: `place_N` is where its tokens stand then,
    and `index_M` what stands where, among the virtual tokens and those of the row, joined."""

    def __init__(self, layout: Layout, count: int, length: int, device: torch.device) -> None:
        self.count = count
        self.starts = torch.tensor([span.start for span in layout.spans], device=device)
        self.group_N = torch.searchsorted(self.starts, torch.arange(length, device=device), right=True)
        self.place_N = torch.arange(length, device=device) + count * self.group_N
        # Each group's virtual tokens.
        groups = torch.arange(len(layout.spans), device=device)
        self.virtual_GP = (self.starts + count * groups)[:, None] + torch.arange(count, device=device)
        self.index_M = self._filled(count + torch.arange(length, device=device), torch.arange(count, device=device))

    def _filled(self, own_N: Tensor, virtual: Tensor) -> Tensor:
        """[M]: a number for each token of the row, and for each virtual one."""
        whole_M = own_N.new_empty(len(self.place_N) + self.virtual_GP.numel())
        whole_M[self.place_N] = own_N
        whole_M[self.virtual_GP] = virtual
        return whole_M

    def positions(self, position_N: Tensor) -> Tensor:
        """Virtual tokens count from 0, and an example's after them."""
        return self._filled(position_N + self.count, torch.arange(self.count, device=position_N.device))

    def parents(self, parent_N: Tensor) -> Tensor:
        """An example's first token follows the last virtual one of its group."""
        last_N = self.virtual_GP[self.group_N - 1, -1]
        own_N = torch.where(parent_N < 0, last_N, self.place_N[parent_N.clamp(min=0)])
        before_GP = self.virtual_GP - 1
        before_GP[:, 0] = -1
        return self._filled(own_N, before_GP)

    def layout(self, layout: Layout) -> Layout:
        """Every group's prefix is longer by the virtual tokens."""
        spans = tuple(
            replace(
                span,
                start=span.start + self.count * group,
                prefix=span.prefix + self.count,
                blocks=tuple(
                    replace(block, token_RL=block.token_RL + self.count * (group + 1)) for block in span.blocks
                ),
            )
            for group, span in enumerate(layout.spans)
        )
        return replace(layout, spans=spans, longest=layout.longest + self.count)


# ------------------------------------------------------------------------------------------------------- generation


def generate(base: PreTrainedModel, root: Root, input_ids: Tensor, **more: Any) -> Tensor:
    """transformers' `generate` behind the virtual tokens, for rows of one length: [B, T] to [B, T + new]."""
    more["attention_mask"] = _seen(input_ids, None, root.count)
    if root.embeddings is not None:
        written = base.generate(inputs_embeds=_behind(base, root.embeddings(), input_ids), **more)
        return torch.cat((input_ids, written), 1)
    before = input_ids.new_zeros(len(input_ids), root.count)
    cache = cache_of(root, len(input_ids), base.dtype)
    whole = base.generate(input_ids=torch.cat((before, input_ids), 1), past_key_values=cache, **more)
    return whole[:, root.count :]
