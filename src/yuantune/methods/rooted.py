"""What the methods that learn virtual tokens have in common: PEFT's model and files, and a forward of our own.

PEFT puts virtual tokens before padded rows. Here they are the root of the prefix that rows share, in training and
when answering (`yuantune.models.virtual`); the logits are those of the given tokens alone. PEFT's file holds the
vectors as they come out of their encoder; where that is more than a table, `prompt_encoder.safetensors` beside it
holds the encoder, which a resume goes on with.

Shapes: P virtual tokens, D hidden size, L layers, K heads for keys and values, E width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from yuantune.errors import ModelError
from yuantune.methods import by_peft
from yuantune.methods.by_peft import FOLDER
from yuantune.methods.switch import Switch, by_modules
from yuantune.models.probe import trial
from yuantune.models.virtual import Root, generate, put_root, read_groups, read_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["ENCODER_FILE", "FOLDER", "load", "merge", "restore", "rooted", "save", "switch"]

merge = "virtual tokens stand before what the model reads, not in its weights"
ENCODER_FILE = "prompt_encoder.safetensors"


def rooted(model: PreTrainedModel, config: Any) -> PreTrainedModel:
    """`model` with the virtual tokens of a PEFT config; the model's weights are frozen, the new ones float32.

    Raises ModelError where it has no place for them."""
    from peft import get_peft_model

    try:
        tuned: PreTrainedModel = get_peft_model(model, config)
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{type(model).__name__} takes no virtual tokens: {error}") from error
    _take_root(tuned)
    try:
        with trial(tuned):
            tuned(input_ids=torch.zeros(1, 2, dtype=torch.int64, device=model.device))
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{type(model).__name__} does not read virtual tokens: {why}") from error
    return tuned


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write PEFT's adapter files, and the encoder."""
    from safetensors.torch import save_file

    by_peft.save(model, folder)
    encoder = _encoder(model)
    if len(state := encoder.state_dict()) > 1:
        save_file({name: each.contiguous() for name, each in state.items()}, str(folder / ENCODER_FILE))


def load(load_model: Callable[[Path | None], PreTrainedModel], folder: Path) -> PreTrainedModel:
    """The base model behind the virtual tokens in `folder`, for answering."""
    tuned = by_peft.load(load_model, folder)
    _take_root(tuned)
    return tuned


def switch(base: PreTrainedModel, folder: Path) -> Switch:
    """The virtual tokens in `folder` before a base that others share."""
    return by_modules(load, base, folder)


def restore(model: PreTrainedModel, folder: Path) -> None:
    """Put what `save` wrote into a model that was made with the same options."""
    from safetensors.torch import load_file

    encoder = _encoder(model)
    if len(encoder.state_dict()) > 1:
        encoder.load_state_dict(load_file(str(folder / ENCODER_FILE)))
    else:
        by_peft.restore(model, folder)


def _encoder(model: Any) -> Any:
    return model.prompt_encoder[model.active_adapter]


def _take_root(tuned: Any) -> None:
    """Give a PEFT model its root, and the forward and the generation that know it."""
    config = tuned.active_peft_config
    layered = config.peft_type.value == "PREFIX_TUNING"
    vectors = _Vectors(tuned, config.num_layers, config.num_attention_heads)
    root = Root(config.num_virtual_tokens, *((None, vectors.keys_values) if layered else (vectors, None)))
    put_root(tuned, root)
    tuned.forward = _Forward(tuned.get_base_model(), root)
    tuned.generate = _Generate(tuned.get_base_model(), root)


class _Vectors:
    """What the encoder of a PEFT model gives."""

    def __init__(self, tuned: Any, layers: int, heads: int) -> None:
        self._tuned, self._layers, self._heads = tuned, layers, heads

    def __call__(self) -> Tensor:
        """[P, D], or [P, L·2·K·E] under prefix tuning."""
        tuned, encoder = self._tuned, _encoder(self._tuned)
        if tuned.active_peft_config.inference_mode:  # Loaded as a table, whatever made it.
            table: Tensor = encoder.embedding.weight
            return table
        tokens = tuned.prompt_tokens[tuned.active_adapter].to(encoder.embedding.weight.device)
        vectors: Tensor = encoder(tokens[None])[0]
        return vectors

    def keys_values(self) -> list[tuple[Tensor, Tensor]]:
        """Each layer's keys and values [K, P, E], in PEFT's order."""
        vectors = self()
        each = vectors.view(len(vectors), self._layers, 2, self._heads, -1).permute(1, 2, 3, 0, 4)
        return [(key, value) for key, value in each]


class _Forward:
    """The forward of a model with virtual tokens: that of its base, behind them."""

    def __init__(self, base: PreTrainedModel, root: Root) -> None:
        self._base, self._root = base, root

    def __call__(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Any:
        """Arguments as the base takes them. Raises ModelError for packed rows, which have no place for a root."""
        if "layout" in more:
            return read_groups(self._base, self._root, input_ids, **more)
        if more.get("position_ids") is not None:
            raise ModelError("virtual tokens do not stand before packed rows")
        return read_rows(self._base, self._root, input_ids, attention_mask, **more)


class _Generate:
    """`generate` of a model with virtual tokens, for rows of one length."""

    def __init__(self, base: PreTrainedModel, root: Root) -> None:
        self._base, self._root = base, root

    def __call__(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Tensor:
        """[B, T] to [B, T + new]. Raises ModelError for padded rows."""
        if attention_mask is not None and not bool(attention_mask.bool().all()):
            raise ModelError("rows behind virtual tokens cannot be padded on the left: give rows of one length")
        return generate(self._base, self._root, input_ids, **more)
