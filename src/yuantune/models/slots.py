"""Answers that grow side by side: keys and values of many rows, behind one prefix that all of them share.

A step computes what is new, of all rows together, as one flat row of tokens: nothing is padded but the attention
itself, and a row may give one token or a hundred. Each row's keys and values lie in pages of its own
(`yuantune.models.pages`); those of the prefix exist once. What a row was given on trial is taken back by not
counting it.

It works through transformers' `AttentionInterface`, so for every model that attends like Llama; Yuan2's filter is
told each token's predecessor, whose state is kept for each row.

Shapes: N new tokens of a step, laid flat; R rows, A heads, K of them for keys and values, G = A/K, E width of a
head, P tokens of the prefix, L most new tokens of a row, T most tokens of a row behind the prefix, D hidden size,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import Cache

from yuantune.errors import ModelError
from yuantune.models.grouped import branches
from yuantune.models.needed import only_these
from yuantune.models.pages import Pages, Span
from yuantune.models.probe import accepts, attending_by, configs_of, inner
from yuantune.models.slots_filter import SlotFilter
from yuantune.models.virtual import root_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "yuantune_slots"
_FEW = 0.5
"""Where no greater share of the rows has several new tokens, these attend apart: one token a row is not padded to
as many as the longest has, and only their keys and values are read twice."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a row is given in a step: the tokens that follow what it holds. Logits are made for its last `logits`
    tokens."""

    ids: Sequence[int]
    logits: int = 1


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows that attend together: `token_RL` is where their new tokens stand in the step (0, where a row has none),
    `has_RL` whether there is one. `held`: the pages that they read, and which of its row's own tokens each of
    them sees, [R, L, T]; None for rows that hold nothing yet, whose own tokens are the new ones."""

    token_RL: Tensor
    has_RL: Tensor
    held: tuple[Span, Tensor] | None


@dataclass(frozen=True, slots=True)
class _Step:
    """Where the keys and values of a step's new tokens go, and how its rows attend."""

    place_N: Tensor
    blocks: tuple[_Block, ...]


class Slots:
    """Rows 0 to `rows` - 1 that a model reads and answers; each holds `lengths[row]` tokens behind the prefix."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = inner(model)
        self.lengths: list[int] = []
        self.prefix: tuple[int, ...] = ()
        self._root = root_of(model)
        self._ahead = 0
        """Tokens before every row: virtual ones, and those of the prefix."""
        self._follows = False
        """Whether Yuan2's filter knows what a row's first token follows."""
        self._pages = Pages()
        self._prefix_keys: list[Tensor] = []
        self._prefix_values: list[Tensor] = []
        self._step: _Step | None = None
        layers = self.model.config.get_text_config().num_hidden_layers
        self._filters = [SlotFilter() for _ in range(layers)] if accepts(self.model, "parents") else []
        self._cache = Cache(layers=self._filters) if self._filters else None
        self._starts: list[int] = []
        self._configs = configs_of(self.model)
        register()

    @property
    def rows(self) -> int:
        """R: how many rows there are."""
        return len(self.lengths)

    @property
    def bytes_per_token(self) -> int:
        """What a token of a row keeps, once there has been one."""
        return self._pages.bytes_per_token

    # ------------------------------------------------------------------------------------------------ the rows
    @torch.inference_mode()
    def share(self, prefix: Sequence[int]) -> None:
        """Compute the tokens that every row begins with, virtual ones first. Only while there are no rows."""
        assert not self.lengths
        if self._ahead and self.prefix == tuple(prefix):
            return
        self.prefix, self._prefix_keys, self._prefix_values = tuple(prefix), [], []
        self._ahead, self._follows = 0, False
        for each in self._filters:
            each.begin = None
        virtual_PD, root = None, self._root
        if root is not None and root.keys_values is not None:
            pairs = [[each.to(self.model.dtype) for each in pair] for pair in root.keys_values()]
            self._prefix_keys, self._prefix_values = [key for key, _ in pairs], [value for _, value in pairs]
            self._ahead = root.count
        elif root is not None and root.embeddings is not None:
            virtual_PD = root.embeddings()
        count = len(prefix) + (0 if virtual_PD is None else len(virtual_PD))
        if not count:
            return
        self.add()
        self.step([Chunk([0] * (count - len(prefix)) + list(prefix))], virtual_PD)
        self.keep([count])
        own = [self._pages.of_row(layer, 0, count) for layer in range(len(self._pages.keys))]
        for shared, new in zip((self._prefix_keys, self._prefix_values), zip(*own, strict=True), strict=True):
            shared[:] = [torch.cat(pair, 1) for pair in zip(shared, new, strict=True)] if shared else new
        for each in self._filters:
            each.begin = each.of_row(0)
        self.remove(0)
        self._ahead += count
        self._follows = True

    @torch.inference_mode()
    def add(self) -> int:
        """A further row, which holds the prefix; its number."""
        self.lengths.append(0)
        self._pages.add_row()
        for each in self._filters:
            each.add_row()
        return self.rows - 1

    @torch.inference_mode()
    def keep(self, counts: Sequence[int]) -> None:
        """Of the tokens that the last step gave each row, only its first `counts` remain, at least one."""
        self.lengths = [length + count for length, count in zip(self.lengths, counts, strict=True)]
        last = [start + count - 1 for start, count in zip(self._starts, counts, strict=True)]
        if self._filters:
            last_R = torch.tensor(last, device=self.model.get_input_embeddings().weight.device)
            for each in self._filters:
                each.keep(last_R)

    @torch.inference_mode()
    def remove(self, row: int) -> None:
        """Drop a row; the last row takes its number."""
        self._pages.remove_row(row)
        for each in self._filters:
            each.remove_row(row)
        self.lengths[row] = self.lengths[-1]
        self.lengths.pop()

    # ------------------------------------------------------------------------------------------------ a step
    @torch.inference_mode()
    def step(self, chunks: Sequence[Chunk], virtual_PD: Tensor | None = None) -> Tensor:
        """Give each row its chunk (of at least one token); the logits [n, V] of the tokens that ask for them, row
        by row. `keep` then says what remains of each. `virtual_PD` stand in place of the first chunk's first
        tokens."""
        counts = [len(chunk.ids) for chunk in chunks]
        self._starts = [0, *accumulate(counts)][:-1]
        device = self.model.get_input_embeddings().weight.device
        each_row = list(zip(range(self.rows), self.lengths, counts, strict=True))
        self._pages.make_room([length + count for _, length, count in each_row])
        places = [place for row, length, count in each_row for place in self._pages.places(row, length, count)]
        positions = [self._ahead + length + at for _, length, count in each_row for at in range(count)]
        self._step = _Step(torch.tensor(places, device=device), tuple(self._blocks(counts, device)))
        total, before = len(places), self._filters[0].history if self._filters else 0
        given: dict[str, Any] = {}
        if self._filters:
            given = {"past_key_values": self._cache, "parents": self._parents(counts, device)}
        wanted = [
            start + count - chunk.logits + at
            for start, count, chunk in zip(self._starts, counts, chunks, strict=True)
            for at in range(chunk.logits)
        ]
        wanted_n = torch.tensor(wanted, device=device)
        with only_these(self.model, wanted_n, total), attending_by(NAME, self._configs):
            output = self.model(
                **self._inputs([token for chunk in chunks for token in chunk.ids], virtual_PD, device),
                position_ids=torch.tensor([positions], device=device),
                # Attention takes no mask; of this shape, none is made.
                attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device).expand(
                    1, 1, total, before + total
                ),
                use_cache=False,
                logits_to_keep=wanted_n,
                slots=self,
                **given,
            )
        self._step = None
        logits: Tensor = output.logits[0]
        return logits

    def _inputs(self, ids: Sequence[int], virtual_PD: Tensor | None, device: torch.device) -> dict[str, Tensor]:
        input_ids = torch.tensor([ids], device=device)
        if virtual_PD is None:
            return {"input_ids": input_ids}
        embedded = self.model.get_input_embeddings()(input_ids)
        embedded[0, : len(virtual_PD)] = virtual_PD.to(embedded.dtype)
        return {"inputs_embeds": embedded}

    def _blocks(self, counts: Sequence[int], device: torch.device) -> Iterator[_Block]:
        """New rows, those of like length together; and all rows, where some of them hold something: first one token
        of each, then what few of them have more."""
        fresh = sorted((row for row, length in enumerate(self.lengths) if not length), key=counts.__getitem__)
        while fresh:
            longest = counts[fresh[-1]]
            some = [row for row in fresh if 2 * counts[row] >= longest]
            fresh = fresh[: len(fresh) - len(some)]
            yield _Block(*self._places(some, counts, longest, device), None)
        grown = [count if length else 0 for count, length in zip(counts, self.lengths, strict=True)]
        several = [row for row, count in enumerate(grown) if count > 1]
        apart = 0 < len(several) <= _FEW * self.rows
        if any(grown):
            some = [min(count, 1) for count in grown] if apart else grown
            yield self._grown(range(self.rows), some, [0] * self.rows, device)
        if apart:
            rest = [max(count - 1, 0) for count in grown]
            yield self._grown(several, rest, [1] * self.rows, device)

    def _grown(
        self, rows: Sequence[int], counts: Sequence[int], skipped: Sequence[int], device: torch.device
    ) -> _Block:
        """`rows` that hold something: of each, its `counts` new tokens behind `skipped` ones."""
        longest = max(counts[row] for row in rows)
        token_RL, has_RL = self._places(rows, counts, longest, device, skipped)
        first = [self.lengths[row] + skipped[row] for row in rows]
        span = self._pages.span(rows, device)
        last_RL = torch.tensor(first, device=device)[:, None] + torch.arange(longest, device=device)
        seen_RLT = torch.arange(span.tokens, device=device) <= last_RL[..., None]
        return _Block(token_RL, has_RL, (span, seen_RLT))

    def _places(
        self,
        rows: Sequence[int],
        counts: Sequence[int],
        longest: int,
        device: torch.device,
        skipped: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        start_R = torch.tensor(
            [self._starts[row] + (skipped[row] if skipped else 0) for row in rows], device=device
        )
        count_R = torch.tensor([counts[row] for row in rows], device=device)
        index_L = torch.arange(longest, device=device)
        has_RL = index_L < count_R[:, None]
        return torch.where(has_RL, start_R[:, None] + index_L, 0), has_RL

    def _parents(self, counts: Sequence[int], device: torch.device) -> Tensor:
        """Each new token's predecessor, among the rows' last tokens and then the new ones."""
        before, parents = self._filters[0].history, []
        for row, (start, count) in enumerate(zip(self._starts, counts, strict=True)):
            parents.append(row if self.lengths[row] or self._follows else -1)
            parents += [before + start + at for at in range(count - 1)]
        return torch.tensor([parents], device=device)

    # ------------------------------------------------------------------------------------------------ a layer
    def attend(self, layer: int, query_ANE: Tensor, key_KNE: Tensor, value_KNE: Tensor, scaling: float) -> Tensor:
        """Write the new keys and values of a layer; the attended tokens [N, A, E]."""
        step = self._step
        assert step is not None
        self._pages.write(layer, step.place_N, key_KNE, value_KNE)
        attended_NAE = query_ANE.new_empty(query_ANE.shape[1], query_ANE.shape[0], value_KNE.shape[-1])
        for block in step.blocks:
            attended_RALE = self._block(layer, block, query_ANE, key_KNE, value_KNE, scaling)
            attended_NAE[block.token_RL[block.has_RL]] = attended_RALE.transpose(1, 2)[block.has_RL]
        return attended_NAE

    def _block(
        self, layer: int, block: _Block, query_ANE: Tensor, key_KNE: Tensor, value_KNE: Tensor, scaling: float
    ) -> Tensor:
        query_RALE = branches(query_ANE, block.token_RL)
        prefix = (self._prefix_keys[layer], self._prefix_values[layer]) if self._ahead else None
        if block.held is None:
            new = (branches(key_KNE, block.token_RL), branches(value_KNE, block.token_RL))
            return _read(query_RALE, *new, prefix, scaling)
        return self._pages.attend(layer, *block.held, query_RALE, prefix, scaling)


def _read(
    query_RALE: Tensor, key_RKLE: Tensor, value_RKLE: Tensor, prefix: tuple[Tensor, Tensor] | None, scaling: float
) -> Tensor:
    """Rows that begin: they see the prefix and themselves."""
    options: dict[str, Any] = {"scale": scaling, "is_causal": prefix is None}
    if query_RALE.shape[1] != key_RKLE.shape[1]:
        options["enable_gqa"] = True
    if prefix is not None:
        rows, longest = len(query_RALE), query_RALE.shape[2]
        key_RKLE, value_RKLE = (
            torch.cat((shared.expand(rows, -1, -1, -1), own), 2)
            for shared, own in zip(prefix, (key_RKLE, value_RKLE), strict=True)
        )
        total = key_RKLE.shape[2]
        seen_LT = torch.ones(longest, total, dtype=torch.bool, device=query_RALE.device)
        options["attn_mask"] = seen_LT.tril(total - longest)
    return F.scaled_dot_product_attention(query_RALE, key_RKLE, value_RKLE, **options)


def slot_attention(
    module: nn.Module,
    query_1ANE: Tensor,
    key_1KNE: Tensor,
    value_1KNE: Tensor,
    attention_mask: Tensor | None,
    *,
    slots: Slots,
    scaling: float | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """An attention function as transformers calls it: [1, A, N, E] and [1, K, N, E] to [1, N, A, E].

    Raises ModelError for what it does not compute: capped scores."""
    if softcap is not None:
        raise ModelError("slots have no capped attention scores")
    scaling = query_1ANE.shape[-1] ** -0.5 if scaling is None else scaling
    layer: Any = module.layer_idx
    return slots.attend(layer, query_1ANE[0], key_1KNE[0], value_1KNE[0], scaling)[None], None


def register() -> None:
    """Make the attention known to transformers. Twice does no harm."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, slot_attention)
    AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)
