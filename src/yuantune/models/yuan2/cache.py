"""What Yuan2 keeps between calls: keys and values, what the filter remembers, and where each token stands.

`DynamicCache(config=YuanConfig(…))`, and so `generate`, builds `YuanCacheLayer`s by itself, since the
config names their type; a plain `DynamicCache()`, or one that holds the keys and values of a tuned
prefix, is turned into them at its first use. Why not the hybrid layer of transformers: it can hold one
kind of state, the last token *in memory*, which is padding after a right-padded prompt and another branch in a
tree; it loses its states in `batch_repeat_interleave`; and a reset leaves zeros of the old shape.

Shapes: B rows, S cached tokens, H of them with filter states, N new ones, D hidden size, M = D/2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer, StaticLayer

from yuantune.errors import ModelError

_PER_ROW = ("keys", "values", "inputs", "middle", "marks")


class YuanCacheLayer(DynamicLayer):
    """The cache of one layer.

    Beside keys and values it holds the filter's inputs [B, H, D] and middle states [B, H, M] of the last H
    tokens: normally 1, more where an older token may still become a predecessor, all since
    `activate_past_recording()` was called, so that `crop` can go back.

    The first layer also holds `marks` [B, 3, S] for the model: each token's position, its sequence within the
    row, and whether it ends a document; and `packed`, whether a row ever held a second sequence.
    `virtual` counts leading tokens that have keys and values but never passed the filter: a tuned prefix."""

    _layer_type: str | None = "yuan"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.virtual = 0
        self.record_past = False
        self._forget()

    def _forget(self) -> None:
        self.inputs: Tensor | None = None
        self.middle: Tensor | None = None
        self.marks: Tensor | None = None
        self.packed = False

    @property
    def history(self) -> int:
        """H: how many of the last tokens can still become a predecessor."""
        return 0 if self.inputs is None else self.inputs.shape[1]

    def filter_states(self) -> tuple[Tensor, Tensor] | None:
        """The filter's inputs [B, H, D] and middle states [B, H, M], None where H is 0."""
        return None if self.inputs is None or self.middle is None else (self.inputs, self.middle)

    def update_filter(self, inputs_BND: Tensor, middle_BNM: Tensor, reach: int | None) -> None:
        """Add new tokens' states and keep those of the last `reach` tokens (None, or while recording: of all)."""
        if self.inputs is not None and self.middle is not None:
            inputs_BND = torch.cat((self.inputs, inputs_BND), 1)
            middle_BNM = torch.cat((self.middle, middle_BNM), 1)
        self.inputs, self.middle = inputs_BND, middle_BNM
        if reach is not None and not self.record_past:
            self._trim(reach)

    def _trim(self, reach: int) -> None:
        if self.inputs is not None and self.middle is not None and reach < self.history:
            # A slice would keep the whole prompt's states alive.
            self.inputs, self.middle = self.inputs[:, -reach:].clone(), self.middle[:, -reach:].clone()

    def add_marks(self, marks_B3N: Tensor, *, packed: bool) -> None:
        """Add new tokens' marks; call it once keys and values have been added."""
        rows, _, length = marks_B3N.shape
        before = self.get_seq_length() - length
        held = self.marks if self.marks is not None else _virtual_marks(rows, before, marks_B3N.device)
        self.marks = torch.cat((held, marks_B3N), -1)
        self.packed = self.packed or packed

    def known_marks(self, rows: int, device: torch.device) -> Tensor:
        """`marks`, where a tuned prefix has position -1 (nothing restarts from it) in the row's first sequence."""
        return self.marks if self.marks is not None else _virtual_marks(rows, self.get_seq_length(), device)

    def activate_past_recording(self) -> None:
        """Keep the filter's states of all further tokens, so that `crop` can take them back."""
        self.record_past = True

    def crop(self, tokens_to_remove: int) -> None:
        """Take back the last `-tokens_to_remove` tokens.

        Raises:
            ModelError: the filter's state from before them is gone; `activate_past_recording()` keeps it."""
        if tokens_to_remove > 0:
            raise ModelError("crop takes the number of tokens to remove as a negative number")
        length = max(0, self.get_seq_length() + tokens_to_remove)
        if tokens_to_remove < 0 and self.virtual < length and self.history + tokens_to_remove < 1:
            raise ModelError(
                f"cannot take back {-tokens_to_remove} tokens: the filter's state from before them was not kept",
                hint="call `activate_past_recording()` on the cache before the tokens that may be taken back",
            )
        super().crop(tokens_to_remove)
        if length <= self.virtual:
            self._forget()
            self.virtual = length
        elif tokens_to_remove < 0:
            self.inputs = self.inputs[:, :tokens_to_remove] if self.inputs is not None else None
            self.middle = self.middle[:, :tokens_to_remove] if self.middle is not None else None
            self.marks = self.marks[..., :tokens_to_remove] if self.marks is not None else None
        if self.record_past:
            self._trim(1)

    def reset(self) -> None:
        """Empty the layer."""
        super().reset()
        self._forget()
        self.virtual = 0

    def _replace_rows(self, choose: Any) -> None:
        for name in _PER_ROW:
            held = getattr(self, name)
            if held is not None and held.numel() > 0:
                setattr(self, name, choose(held))

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Take the rows `beam_idx`, as beam search does."""
        self._replace_rows(lambda held: held.index_select(0, beam_idx.to(held.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row `repeats` times."""
        self._replace_rows(lambda held: held.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows `indices`."""
        self._replace_rows(lambda held: held[indices.to(held.device)])


class YuanStaticLayer(StaticLayer):
    """Stands where transformers would build a static cache, to refuse it: the filter has none."""

    _layer_type = "yuan"

    def __init__(self, max_cache_len: int, **kwargs: Any) -> None:
        raise ModelError(
            "Yuan2 has no static cache",
            hint="leave `cache_implementation` out: the cache then grows as it is used",
        )


def _virtual_marks(rows: int, length: int, device: torch.device) -> Tensor:
    marks = torch.zeros(rows, 3, length, dtype=torch.long, device=device)
    marks[:, 0] = -1
    return marks


def adopt(cache: Any, layers: int) -> None:
    """Make every layer of `cache` a `YuanCacheLayer`, in place, keeping keys and values that it holds.

    Those are then a tuned prefix: tokens that attention sees and the filter does not.

    Raises:
        ModelError: the cache is of a kind that cannot hold the filter's states."""
    if not isinstance(cache, Cache) or not hasattr(cache, "layers"):
        raise ModelError(f"past_key_values must be a DynamicCache, not {type(cache).__name__}")
    if cache.layer_class_to_replicate is DynamicLayer:
        cache.layer_class_to_replicate = YuanCacheLayer
    while cache.layer_class_to_replicate is YuanCacheLayer and len(cache.layers) < layers:
        cache.layers.append(YuanCacheLayer())
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[index] = _adopted(layer)
        elif not isinstance(layer, YuanCacheLayer):
            raise ModelError(
                f"Yuan2 cannot use a cache of {type(layer).__name__}s",
                hint="pass `DynamicCache(config=model.config)`, or no cache",
            )
    if len(cache.layers) != layers:
        raise ModelError(f"the cache has {len(cache.layers)} layers, the model {layers}")


def _adopted(layer: DynamicLayer) -> YuanCacheLayer:
    adopted = YuanCacheLayer()
    if layer.is_initialized:
        adopted.lazy_initialization(layer.keys, layer.values)
        adopted.keys, adopted.values = layer.keys, layer.values
        adopted.virtual = adopted.get_seq_length()
    return adopted
