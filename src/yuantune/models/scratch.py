"""A new model with random weights: from a config and a tokenizer that have to fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yuantune.errors import ModelError, Problem, nearest
from yuantune.models import folder as model_folder
from yuantune.models.placement import device_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

YUAN = "yuan"
ROUND_UP = 64
"""Rows of the embedding are a multiple of this, where the config does not say how many: matrix units like it."""


def new_model(
    config: str | Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    *,
    positions: int,
    seed: int,
    dtype: str = "float32",
    device_map: str = "auto",
    attn_implementation: str = "sdpa",
) -> PreTrainedModel:
    """A model as `new_config` describes it, its weights drawn from `seed` alone, in training precision `dtype`."""
    import torch

    described = new_config(config, tokenizer, positions=positions)
    options = {"dtype": getattr(torch, dtype), "attn_implementation": attn_implementation}
    try:
        model = _drawn(described, seed, options)
    except (ValueError, RuntimeError, ImportError, TypeError) as error:
        raise ModelError(f"no model can be made from model.config: {error}") from error
    return model.to(torch.device(device_of(device_map)))


def _drawn(config: PreTrainedConfig, seed: int, options: dict[str, Any]) -> PreTrainedModel:
    """Weights from `seed` alone: the caller's random state neither matters nor moves."""
    import torch
    from transformers import AutoModelForCausalLM

    state = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs as well
        return AutoModelForCausalLM.from_config(config, **options)
    finally:
        torch.set_rng_state(state)


def new_config(
    config: str | Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, *, positions: int
) -> PreTrainedConfig:
    """The architecture: of a config.json (or its folder), or of fields, which describe a Yuan2 unless they have a
    `model_type`. What depends on the tokenizer (vocabulary, token ids) follows from it, `positions` are for a Yuan2
    that has no number of its own.

    Raises ModelError for unknown fields, values of which no model can be made, and where vocabulary size or
    token ids are not the tokenizer's."""
    from transformers import AutoConfig

    inline = isinstance(config, Mapping)
    fields = config_fields(config)
    kind = fields.pop("model_type", YUAN)
    if kind == YUAN:
        fields = {"max_position_embeddings": positions, **fields} if "model_max_length" not in fields else fields
    fields = {**_from_tokenizer(tokenizer, kind), **fields}
    try:
        known = type(AutoConfig.for_model(kind))
    except (ValueError, KeyError):
        raise ModelError(
            f"model.config: unknown model_type {kind!r}", hint=f"without model_type it is {YUAN}"
        ) from None
    if inline:
        _refuse_unknown(fields, known().to_dict())
    try:
        made = known(**fields)
    except ModelError:
        raise
    except (ValueError, TypeError) as error:
        raise ModelError(f"model.config: {next(iter(str(error).splitlines()), '')}") from error
    _check_fit(made, tokenizer)
    return made


def config_fields(config: str | Mapping[str, Any]) -> dict[str, Any]:
    """The fields as they are given: inline, or in a config.json. Raises ModelError where there is none."""
    if isinstance(config, Mapping):
        return dict(config)
    path = Path(config).expanduser()
    if path.is_dir():
        return model_folder.read_config(path)
    if not path.is_file():
        raise ModelError(
            f"model.config: there is no file {path}", hint="name a config.json, or write fields: {hidden_size: …}"
        )
    return model_folder.read_json(path)


def _from_tokenizer(tokenizer: PreTrainedTokenizerBase, kind: str) -> dict[str, Any]:
    ends = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    fields: dict[str, Any] = {"vocab_size": -(-len(tokenizer) // ROUND_UP) * ROUND_UP, **ends}
    if kind == YUAN:
        fields["eod_token_id"] = tokenizer.eos_token_id
    return fields


def _refuse_unknown(fields: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    also = ("dtype", "torch_dtype", "eod_token_id", "sep_token_id", "bos_token_id", "eos_token_id", "pad_token_id")
    unknown = [name for name in fields if name not in known and name not in also]
    if unknown:
        raise ModelError(
            "model.config has unknown fields",
            problems=[Problem(f"model.config.{name}", f"unknown{nearest(name, known)}") for name in unknown],
        )


def _check_fit(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    text = config.get_text_config()
    problems = []
    if text.vocab_size < len(tokenizer):
        problems.append(
            Problem("vocab_size", f"{text.vocab_size:,}, and the tokenizer has {len(tokenizer):,} tokens")
        )
    ids = getattr(text, "eos_token_id", None)
    if ids is not None and tokenizer.eos_token_id not in (ids if isinstance(ids, list | tuple) else [ids]):
        problems.append(
            Problem(
                "eos_token_id",
                f"{ids}, and the tokenizer's end token, {tokenizer.eos_token}, is {tokenizer.eos_token_id}",
            )
        )
    if problems:
        raise ModelError(
            "model.config and model.tokenizer do not fit each other",
            problems=problems,
            hint="leave these fields out: they follow from the tokenizer",
        )
