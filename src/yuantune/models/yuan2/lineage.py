"""Where each new token stands: its position, its predecessor, and the sequence it belongs to.

Attention is told by a mask what a token may see. Yuan2's filter must also know which single token comes before
it, or padding, the sequence packed before and the branch beside leak in. One call per forward pass works all of
it out, from what callers give: a 2-D mask (padding), a 4-D mask (anything, trees of branches too), position ids
that restart (packed sequences), `<eod>` tokens (documents), or the predecessors themselves.

Shapes: B rows, P tokens in the cache, N new ones, T = P + N, G heads of a 4-D mask (mostly 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from yuantune.errors import ModelError, Problem
from yuantune.models.yuan2.cache import YuanCacheLayer

NOT_ATTENDED = -1e4
"""An additive mask with at most this value hides a key: its weight underflows to 0 in every float type."""


@dataclass(frozen=True, slots=True)
class Documents:
    """How documents within a row are kept apart: `ends` are the ids that end one; see `YuanConfig` for the rest."""

    ends: tuple[int, ...]
    reset_attention: bool
    reset_positions: bool

    @property
    def matter(self) -> bool:
        """Whether the model has to look for the ends of documents."""
        return bool(self.ends) and (self.reset_attention or self.reset_positions)


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where the new tokens of a batch stand.

    `positions_BN` (or [1, N]) are for the rotation. `parents_BN` indexes the filter's history and the new tokens,
    joined, as `LocalizedFilter` takes it; None: each token follows the one before it in memory. `sequence_BT` is
    the sequence of each token within its row, None where no row has a second one. `mask` is the attention mask,
    boolean [B, T], or the 4-D mask as given. `reach`: only that many last tokens can still become a predecessor
    (None: any). `marks_B3N` is for the cache, None where there is none."""

    positions_BN: Tensor
    parents_BN: Tensor | None
    sequence_BT: Tensor | None
    mask: Tensor | None
    reach: int | None
    marks_B3N: Tensor | None


def trace(
    rows: int,
    length: int,
    device: torch.device,
    *,
    input_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    parents: Tensor | None = None,
    past: YuanCacheLayer | None = None,
    documents: Documents = Documents((), False, False),
) -> Lineage:
    """Work out the lineage of `length` (N) new tokens in each of `rows` (B) rows.

    - Padding (2-D mask): a token's predecessor is the last attended token before it; positions, where none are
      given, count attended tokens.
    - Packed sequences: a position that is not above that of the attended token before it starts a new sequence,
      with a mask or without, in the row or against the cache. Gaps in positions do not.
    - 4-D mask: the predecessor is the attended token whose position is one less; without `position_ids`, the last
      attended token before it. The mask alone says what is seen: sequences and documents are not looked for.
    - `parents` [B, N], indices into the row's T tokens, -1 for none: taken as they are, for the filter only.

    Args:
        attention_mask: [B, T], not 0 where there is a token; or [B or 1, G, N, T], boolean (True: seen) or
            additive.
        position_ids: [B or 1, N].
        past: the cache of the first layer, before this call.

    Raises:
        ModelError: a tensor has another shape, or a predecessor's state is not in the cache any more.
    """
    request = _Request(rows, length, device, input_ids, position_ids, past, documents)
    if parents is not None:
        _check("parents", parents, (rows, length), {rows})
        parents = parents.to(device=device, dtype=torch.long)
        if bool(((parents < -1) | (parents >= request.total)).any()):
            raise ModelError(f"parents must be -1 or the index of a token of the row, 0 to {request.total - 1}")
    if attention_mask is not None and attention_mask.dim() == 4:
        return _by_mask(request, attention_mask, parents)
    mask_BT = None
    if attention_mask is not None:
        _check("attention_mask", attention_mask, (rows, request.total), {rows})
        mask_BT = attention_mask.to(device) != 0
    if parents is None and request.is_plain(mask_BT):
        return _plain(request, mask_BT)
    return _by_rows(request, mask_BT, parents)


class _Request:
    """What a call is about, checked and filled in."""

    def __init__(
        self,
        rows: int,
        length: int,
        device: torch.device,
        input_ids: Tensor | None,
        position_ids: Tensor | None,
        past: YuanCacheLayer | None,
        documents: Documents,
    ) -> None:
        self.rows, self.length, self.device, self.documents = rows, length, device, documents
        self.cached = past is not None
        self.past = past or YuanCacheLayer()
        self.before = self.past.get_seq_length()
        self.total = self.before + length
        self.marks_B3P = self.past.known_marks(rows, device)
        self.given_BN = None
        if position_ids is not None:
            _check("position_ids", position_ids, (rows, length), {1, rows})
            self.given_BN = position_ids.to(device=device, dtype=torch.long).expand(rows, length)
        self.ends_BN = None
        if documents.matter and input_ids is not None:
            self.ends_BN = torch.stack([input_ids == end for end in documents.ends]).any(0)

    def is_plain(self, mask_BT: Tensor | None) -> bool:
        """Whether each new token simply continues the one before it. One wait for the device, where any."""
        if self.past.packed:
            return False
        exceptions = []
        if mask_BT is not None:
            exceptions.append(~mask_BT[:, max(0, self.before - 1) :].all())
        if self.given_BN is not None:
            line_BN = torch.cat((self.marks_B3P[:, 0, -1:], self.given_BN), 1)
            exceptions.append((line_BN[:, 1:] <= line_BN[:, :-1]).any())
        if self.ends_BN is not None:
            exceptions += [self.ends_BN[:, :-1].any(), self.marks_B3P[:, 2, -1:].any()]
        return not exceptions or not bool(torch.stack(exceptions).any())

    def marks(self, positions_BN: Tensor, sequence_BN: Tensor | None) -> Tensor | None:
        """`marks_B3N` (see `YuanCacheLayer`) of the new tokens."""
        if not self.cached:
            return None
        marks = torch.zeros(self.rows, 3, self.length, dtype=torch.long, device=self.device)
        marks[:, 0] = positions_BN
        if sequence_BN is not None:
            marks[:, 1] = sequence_BN
        if self.ends_BN is not None:
            marks[:, 2] = self.ends_BN
        return marks

    def within_history(self, parents_BN: Tensor) -> Tensor:
        """Parents as indices into the filter's history and the new tokens; virtual tokens are nobody's parent."""
        kept_from = self.before - self.past.history
        parents_BN = parents_BN.masked_fill(parents_BN < self.past.virtual, -1)
        return torch.where(parents_BN < 0, parents_BN, parents_BN - kept_from)

    def refuse_lost(self, parents_BN: Tensor) -> None:
        """Raise where a parent is in the cache but the filter's state of it is not."""
        lost = (parents_BN >= self.past.virtual) & (parents_BN < self.before - self.past.history)
        if self.before and bool(lost.any()):
            raise ModelError(
                "the filter's state of a predecessor is no longer in the cache",
                problems=[
                    Problem(
                        f"row {row}, new token {token}",
                        f"its predecessor is token {int(parents_BN[row, token])}",
                    )
                    for row, token in lost.nonzero().tolist()
                ],
                hint="a mask may not hide cached tokens that it showed before; for a tree, pass its 4-D mask or "
                "`parents` from the first call on: the cache then keeps all states",
            )


def _check(name: str, tensor: Tensor, shape: tuple[int, int], rows: set[int]) -> None:
    if tensor.dim() != 2 or tensor.shape[0] not in rows or tensor.shape[1] != shape[1]:
        raise ModelError(
            f"{name} has the shape {list(tensor.shape)}, which does not fit the input",
            hint=f"it must be {list(shape)}: rows, then tokens (a mask counts the tokens in the cache too)",
        )


def _plain(request: _Request, mask_BT: Tensor | None) -> Lineage:
    """Every new token follows the one before it in memory, and its position the position of that one."""
    positions_BN = request.given_BN
    if positions_BN is None:
        positions_BN = torch.arange(request.length, device=request.device)[None]
        if request.before:
            last_B1 = request.marks_B3P[:, 0, -1:]
            positions_BN = positions_BN + torch.where(last_B1 < 0, request.before, last_B1 + 1)
    return Lineage(positions_BN, None, None, mask_BT, 1, request.marks(positions_BN, None))


def _by_rows(request: _Request, mask_BT: Tensor | None, parents_BN: Tensor | None) -> Lineage:
    """Padding, packed sequences, documents: each token's predecessor is the last attended one of its sequence."""
    before, rows, device = request.before, request.rows, request.device
    index_T = torch.arange(request.total, device=device)
    attended_BT = (
        mask_BT if mask_BT is not None else torch.ones(rows, request.total, dtype=torch.bool, device=device)
    )
    last_BT = torch.where(attended_BT, index_T, -1).cummax(1).values
    previous_BT = torch.cat((last_BT.new_full((rows, 1), -1), last_BT[:, :-1]), 1)
    known_BT = previous_BT >= 0
    from_BT = previous_BT.clamp(min=0)

    new_ends_BN = request.ends_BN if request.ends_BN is not None else index_T.new_zeros(rows, request.length)
    ends_BT = torch.cat((request.marks_B3P[:, 2], new_ends_BN.long()), 1)
    after_end_BT = known_BT & (ends_BT.gather(1, from_BT) != 0)

    starts_BT = after_end_BT if request.documents.reset_attention else torch.zeros_like(after_end_BT)
    if request.given_BN is not None:
        places_BT = torch.cat((request.marks_B3P[:, 0], request.given_BN), 1)
        starts_BT = starts_BT | (known_BT & (places_BT <= places_BT.gather(1, from_BT)))
    starts_BN = (starts_BT & attended_BT)[:, before:]
    earlier_B1 = request.marks_B3P[:, 1, -1:] if before else index_T.new_zeros(rows, 1)
    sequence_BN = earlier_B1 + starts_BN.cumsum(1)
    sequence_BT = torch.cat((request.marks_B3P[:, 1], sequence_BN), 1)
    same_BT = known_BT & (sequence_BT.gather(1, from_BT) == sequence_BT)

    positions_BN = request.given_BN
    if positions_BN is None:
        counts_BT = attended_BT.cumsum(1) - 1
        restart_BT = known_BT & attended_BT & ~same_BT
        if request.documents.reset_positions:
            restart_BT = restart_BT | (after_end_BT & attended_BT)
        base_BT = torch.where(restart_BT, counts_BT, 0).cummax(1).values
        positions_BN = (counts_BT - base_BT).clamp(min=0)[:, before:]

    reach = None
    if parents_BN is None:
        parents_BN = previous_BT.masked_fill(~same_BT, -1)[:, before:]
        if request.cached:
            tail_B = torch.where(last_BT[:, -1] < 0, 1, request.total - last_BT[:, -1])
            reach = int(tail_B.max())
    request.refuse_lost(parents_BN)
    packed = request.past.packed or bool(starts_BN.any())
    return Lineage(
        positions_BN,
        request.within_history(parents_BN),
        sequence_BT if packed else None,
        mask_BT,
        reach,
        request.marks(positions_BN, sequence_BN),
    )


def _by_mask(request: _Request, mask: Tensor, parents_BN: Tensor | None) -> Lineage:
    """A 4-D mask: whom a token sees says who may come before it."""
    rows, before = request.rows, request.before
    if mask.shape[0] not in (1, rows) or mask.shape[2:] != (request.length, request.total):
        raise ModelError(
            f"attention_mask has the shape {list(mask.shape)}, which does not fit the input",
            hint=f"a 4-D mask is [{rows} or 1, heads or 1, {request.length}, {request.total}]",
        )
    index_T = torch.arange(request.total, device=request.device)
    positions_BN = request.given_BN
    if positions_BN is None:
        positions_BN = index_T[None, before:].expand(rows, -1)
    if parents_BN is None:
        seen_BGNT = mask if mask.dtype == torch.bool else mask > NOT_ATTENDED
        seen_BNT = seen_BGNT.to(request.device).any(1)
        if request.given_BN is None:
            candidates_BNT = seen_BNT & (index_T < index_T[before:, None])
        else:
            places_BT = torch.cat((request.marks_B3P[:, 0], positions_BN), 1)
            candidates_BNT = seen_BNT & (places_BT[:, None] == positions_BN[..., None] - 1)
        parents_BN = torch.where(candidates_BNT, index_T, -1).amax(-1)
    request.refuse_lost(parents_BN)
    sequence_BN = request.marks_B3P[:, 1, -1:].expand(rows, request.length) if before else None
    return Lineage(
        positions_BN,
        request.within_history(parents_BN),
        None,
        mask,
        None,
        request.marks(positions_BN, sequence_BN),
    )
