"""The shape of a Yuan2 model, and what of a published config it cannot honour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedConfig

from yuantune.errors import ModelError, Problem

BUILT_POSITIONS = 8192
"""Positions of the published 2B models."""
_SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "eod_token_id")
_EXPERTS = ("moe_config", "use_moe", "moe_num_experts", "num_experts", "num_local_experts")


class YuanConfig(PreTrainedConfig):
    """Configuration of a Yuan2 model; the defaults are Yuan2-2B (2,088,724,480 parameters, bf16, tied head).

    Keys of published configs that have no field here (`auto_map`, `dropout`, `use_flash_attention`,
    `sep_token_id`, …) are kept, saved again, and have no effect; `auto_map` is never followed.

    Args:
        reset_attention_mask: tokens after an `<eod>` see nothing that precedes it, in attention and filter.
        reset_position_ids: positions restart after an `<eod>`.
        eod_token_id: the id of `<eod>`; None means `eos_token_id`.
        model_max_length: what tokenizers call the length limit; None means `max_position_embeddings`.

    Raises:
        ModelError: a mixture-of-experts config (Yuan2.0-M32), or values no Yuan2 model can be built from; all
            problems at once.

    Source: "Yuan 2.0: A Large Language Model with Localized Filtering-based Attention" (arXiv:2311.15786).
    """

    model_type = "yuan"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012 (transformers reads it from the class)

    vocab_size: int = 135040
    hidden_size: int = 2048
    intermediate_size: int = 8192
    num_hidden_layers: int = 24
    num_attention_heads: int = 32
    hidden_act: str = "silu"
    max_position_embeddings: int | None = None
    model_max_length: int | None = None
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    rope_parameters: dict[str, Any] | None = None
    use_cache: bool = True
    tie_word_embeddings: bool = True
    pad_token_id: int | None = 77185
    bos_token_id: int | None = 77185
    eos_token_id: int | list[int] | None = 77185
    eod_token_id: int | None = None
    reset_position_ids: bool = False
    reset_attention_mask: bool = False
    dtype: Any = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.dtype is None and kwargs.get("torch_dtype") is None:
            self.dtype = "bfloat16"
        if self.max_position_embeddings is None:
            self.max_position_embeddings = self.model_max_length or BUILT_POSITIONS
        if self.model_max_length is None:
            self.model_max_length = self.max_position_embeddings
        _refuse_experts(kwargs)
        super().__post_init__(**kwargs)
        self.validate()

    def validate(self) -> None:
        """Check every value, in place of transformers' own checks; run when made and before saving.

        Raises:
            ModelError: what cannot be, all at once."""
        problems = [*_number_problems(self), *_architecture_problems(self)]
        if problems:
            raise ModelError("this config does not describe a Yuan2 model", problems=problems)

    @property
    def layer_types(self) -> list[str]:
        """The kind of cache of each layer. `DynamicCache(config=…)` reads it; it is not saved."""
        import yuantune.models.yuan2.cache  # noqa: F401 (defining the layer's class makes its kind known)

        return ["yuan"] * self.num_hidden_layers

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def rotary_base(self) -> float:
        """The base of the rotation's frequencies."""
        return float((self.rope_parameters or {})["rope_theta"])

    @property
    def eod_token_ids(self) -> tuple[int, ...]:
        """The ids that end a document."""
        ids = self.eod_token_id if self.eod_token_id is not None else self.eos_token_id
        if ids is None:
            return ()
        return tuple(ids) if isinstance(ids, list | tuple) else (ids,)


def _refuse_experts(extra: dict[str, Any]) -> None:
    found = [key for key in _EXPERTS if extra.get(key)]
    if found:
        raise ModelError(
            "Yuan2.0-M32 and other mixture-of-experts models of the family are not supported",
            problems=[Problem(key, f"{extra[key]!r} describes experts") for key in found],
            hint="the dense models are: Yuan2-2B (Mars, Februa, Janus), Yuan2-51B, Yuan2-102B",
        )


def _number_problems(config: YuanConfig) -> Iterator[Problem]:
    for name in (*_SIZES, "max_position_embeddings", "model_max_length"):
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            yield Problem(name, f"must be a whole number above 0, not {value!r}")
    for name in ("rms_norm_eps", "initializer_range"):
        value = getattr(config, name)
        if not isinstance(value, int | float) or not 0 < value < 1:
            yield Problem(name, f"must be a number between 0 and 1, not {value!r}")
    for name in _TOKEN_IDS:
        ids = getattr(config, name)
        for token in ids if isinstance(ids, list | tuple) else [ids]:
            if token is not None and isinstance(config.vocab_size, int) and not 0 <= token < config.vocab_size:
                yield Problem(name, f"{token} is outside the vocabulary of {config.vocab_size}")


def _architecture_problems(config: YuanConfig) -> Iterator[Problem]:
    width, heads = config.hidden_size, config.num_attention_heads
    if isinstance(width, int) and isinstance(heads, int) and heads > 0:
        if width % heads:
            yield Problem("hidden_size", f"{width} is not a multiple of num_attention_heads, {heads}")
        elif (width // heads) % 2:
            yield Problem(
                "num_attention_heads", f"heads of {width // heads} cannot be rotated: the width must be even"
            )
    rope = (config.rope_parameters or {}).get("rope_type", "default")
    if rope != "default":
        yield Problem("rope_parameters", f"rope_type {rope!r} is not known for Yuan2; only 'default' is")
    if config.hidden_act not in ("silu", "swish"):
        yield Problem("hidden_act", f"{config.hidden_act!r} is not Yuan2's activation, 'silu'")
    if getattr(config, "causal_mask", True) is False:
        yield Problem("causal_mask", "attention that sees later tokens is not supported")
    if getattr(config, "use_shareqk", False):
        yield Problem("use_shareqk", "queries and keys from one shared projection are not supported")
    projection = getattr(config, "attention_projection_size", None) or width
    if projection != width:
        yield Problem("attention_projection_size", f"{projection} differs from hidden_size, {width}")


__all__ = ["YuanConfig"]
