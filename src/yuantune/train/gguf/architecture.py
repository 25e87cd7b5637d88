"""Which models llama.cpp computes as transformers does, what their GGUF file says of them, and how their weights
stand in it.

llama.cpp fixes much of a model by its architecture's name: the activation, the scale of attention, which layers see
a window. What a config says otherwise would be left out of the file without a word, and another model computed; it
is refused here instead.

Shapes: a weight is [rows, columns], as in transformers; GGUF names the same order backwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from yuantune.errors import ModelError, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
_NORMS = ("input_layernorm", "post_attention_layernorm")
_HEAD_NORMS = ("self_attn.q_norm", "self_attn.k_norm")
_MLP_NORMS = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
_TOP = ("model.embed_tokens", "model.norm", "lm_head")


@dataclass(frozen=True, slots=True)
class Architecture:
    """What llama.cpp's implementation of an architecture takes for granted.

    `parts` are the modules of a layer that have a weight, `biased` those that may have a bias too. `rotated`: q and
    k of each head are stored with their halves interleaved, as Meta's checkpoints have them. `shifted`: a norm
    multiplies by its weight, where transformers multiplies by one more. `windows`: of so many layers all but the
    last see a window only. `heads`: whether the head may differ from the embeddings."""

    name: str
    parts: tuple[str, ...]
    biased: tuple[str, ...] = ()
    activation: str = "silu"
    rotated: bool = False
    shifted: bool = False
    windows: int = 0
    heads: bool = True
    large: int = 0
    """Layers of the one model of its kind that scales attention by hidden size over heads."""


_LLAMA = Architecture("llama", (*_NORMS, *_ATTENTION, *_MLP), biased=(*_ATTENTION, *_MLP), rotated=True)
_GELU = "gelu_pytorch_tanh"

KNOWN: Mapping[str, Architecture] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": Architecture("qwen2", _LLAMA.parts, biased=_ATTENTION[:3]),
    "qwen3": Architecture("qwen3", (*_LLAMA.parts, *_HEAD_NORMS)),
    "gemma": Architecture("gemma", _LLAMA.parts, activation=_GELU, shifted=True, heads=False),
    "gemma2": Architecture(
        "gemma2", (*_LLAMA.parts, *_MLP_NORMS), activation=_GELU, shifted=True, windows=2, heads=False, large=46
    ),
    "gemma3_text": Architecture(
        "gemma3", (*_LLAMA.parts, *_HEAD_NORMS, *_MLP_NORMS), activation=_GELU, shifted=True, windows=6, large=62
    ),
}
"""By transformers' `model_type`."""

_CLASSES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "GemmaForCausalLM": "gemma",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3_text",
}
_NAMES = "Llama, Mistral, Qwen2, Qwen3, Gemma, Gemma 2, Gemma 3"
_INSTEAD = "`yuantune export RUN --merge` writes a folder that transformers and `yuantune generate` answer with"
_LOCAL_THETA = 10_000.0
"""RoPE's base in Gemma 3's windowed layers, which older llama.cpp has fixed."""


def known(kind: str, of: str) -> Architecture:
    """llama.cpp's architecture for a `model_type`, or for the class that a config names. Raises ModelError where it
    has none; `of` names the model."""
    found = KNOWN.get(_CLASSES.get(kind, kind))
    if found is not None:
        return found
    if kind.lower().startswith("yuan"):
        what = "Yuan2 has no GGUF form: llama.cpp does not know its localized filter"
    else:
        what = f"{of} is of the architecture {kind!r}, which has no GGUF form here; these have: {_NAMES}"
    raise ModelError(what, hint=_INSTEAD)


@dataclass(frozen=True, slots=True)
class Layout:
    """How one model becomes a GGUF file: its architecture, the metadata under llama.cpp's keys, and RoPE's divisors
    [head size / 2] where it has some."""

    architecture: Architecture
    metadata: dict[str, int | float]
    heads: int
    key_heads: int
    layers: int
    context: int
    factors: Tensor | None = field(default=None, compare=False)

    def names(self, model: PreTrainedModel) -> Iterator[tuple[str, str]]:
        """Of each weight its name in the file and in `model`. The head is left out where it is the embeddings."""
        import gguf

        number = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == self.architecture.name)
        table = gguf.get_tensor_name_map(number, self.layers)
        tied = bool(model.config.tie_word_embeddings)
        for name in model.state_dict():
            if tied and name.startswith("lm_head."):
                continue
            module, kind = name.rsplit(".", 1)
            found = table.get_name(module)
            assert found is not None, name  # `layout` has refused what is not in the table.
            yield f"{found}.{kind}", name

    def to_file(self, name: str, value: Tensor) -> Tensor:
        """A weight of transformers' `name` as llama.cpp has it, in float32."""
        value = value.detach().to("cpu", torch.float32)
        if self.architecture.shifted and "norm" in name:
            return value + 1
        if heads := self._rotated(name):
            return value.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(value.shape)
        return value

    def from_file(self, name: str, value: Tensor) -> Tensor:
        """The reverse of `to_file`."""
        if self.architecture.shifted and "norm" in name:
            return value - 1
        if heads := self._rotated(name):
            return value.unflatten(0, (heads, -1, 2)).transpose(1, 2).reshape(value.shape)
        return value

    def _rotated(self, name: str) -> int:
        """The heads whose halves are interleaved in a weight; 0 for the others."""
        part = name.rsplit(".", 2)[-2]
        counts = {"q_proj": self.heads, "k_proj": self.key_heads}
        return counts.get(part, 0) if self.architecture.rotated else 0


def layout(model: PreTrainedModel, of: str) -> Layout:
    """How `model` becomes a GGUF file. Raises ModelError with all that llama.cpp would compute otherwise."""
    config = model.config
    architecture = known(config.model_type, of)
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    problems = [*_parts_problems(model, architecture), *_config_problems(config, architecture, size)]
    theta, factors = _rope(model, architecture, problems)
    if problems:
        raise ModelError(
            f"{of} computes what llama.cpp's {architecture.name} does not", problems=problems, hint=_INSTEAD
        )
    window: int = getattr(config, "sliding_window", None) or 0
    context = config.max_position_embeddings
    if window and not architecture.windows:
        context = min(context, window)  # Within the first window nothing is out of sight.
    name = architecture.name
    metadata: dict[str, int | float] = {
        f"{name}.context_length": context,
        f"{name}.embedding_length": config.hidden_size,
        f"{name}.block_count": config.num_hidden_layers,
        f"{name}.feed_forward_length": config.intermediate_size,
        f"{name}.attention.head_count": config.num_attention_heads,
        f"{name}.attention.head_count_kv": config.num_key_value_heads,
        f"{name}.attention.key_length": size,
        f"{name}.attention.value_length": size,
        f"{name}.attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        f"{name}.rope.dimension_count": size,
        f"{name}.rope.freq_base": float(theta),
        f"{name}.vocab_size": model.get_input_embeddings().weight.shape[0],
    }
    if architecture.windows:
        metadata[f"{name}.attention.sliding_window"] = window
    for option in ("attn_logit_softcapping", "final_logit_softcapping"):
        if (cap := getattr(config, option, None)) is not None:
            metadata[f"{name}.{option}"] = float(cap)
    heads, key_heads = config.num_attention_heads, config.num_key_value_heads
    return Layout(architecture, metadata, heads, key_heads, config.num_hidden_layers, context, factors)


def _parts_problems(model: PreTrainedModel, architecture: Architecture) -> Iterator[Problem]:
    """Weights that the architecture has no place for."""
    seen: set[str] = set()
    for name in model.state_dict():
        module, kind = name.rsplit(".", 1)
        part = module.split(".", 3)[-1] if module.startswith("model.layers.") else module
        allowed = (*architecture.parts, *_TOP) if kind == "weight" else architecture.biased
        what = f"{part}.{kind}"
        if kind not in ("weight", "bias") or part not in allowed:
            if what not in seen:
                yield Problem(what, "a weight that it has no place for")
            seen.add(what)
    if not architecture.heads and not model.config.tie_word_embeddings:
        yield Problem("tie_word_embeddings", "false: its head is always the embeddings")


def _config_problems(config: Any, architecture: Architecture, size: int) -> Iterator[Problem]:
    """Options that it has fixed otherwise."""

    def differs(option: str, fixed: Any, *also: Any) -> Iterator[Problem]:
        value = getattr(config, option, fixed)
        if value != fixed and value not in also:
            yield Problem(option, f"{value!r}: it has {fixed!r}")

    activation = "hidden_activation" if getattr(config, "hidden_activation", None) else "hidden_act"
    yield from differs(activation, architecture.activation)
    yield from differs("partial_rotary_factor", 1.0)
    yield from differs("use_bidirectional_attention", False, None)
    if not architecture.windows:
        return
    kinds = ["sliding_attention"] * (architecture.windows - 1) + ["full_attention"]
    fixed = [kinds[layer % architecture.windows] for layer in range(config.num_hidden_layers)]
    if list(config.layer_types) != fixed:
        yield Problem("layer_types", f"it has {architecture.windows - 1} layers with a window, then one without")
    large = config.num_hidden_layers == architecture.large
    yield from differs("query_pre_attn_scalar", config.hidden_size // config.num_attention_heads if large else size)
    caps = config.attn_logit_softcapping, config.final_logit_softcapping
    if architecture.name == "gemma2" and None in caps:
        yield Problem("attn_logit_softcapping, final_logit_softcapping", f"{caps}: it always caps both")
    if architecture.name == "gemma3":
        yield from differs("attn_logit_softcapping", None)


def _rope(
    model: PreTrainedModel, architecture: Architecture, problems: list[Problem]
) -> tuple[float, Tensor | None]:
    """RoPE's base, and the divisors of its frequencies; what cannot be written goes to `problems`."""
    given = model.config.rope_parameters
    kinds = {"": given} if "rope_type" in given else given
    for kind, each in kinds.items():
        where = f"rope_parameters.{kind}" if kind else "rope_parameters"
        scaled = each["rope_type"] == "llama3" and architecture.rotated
        if each["rope_type"] != "default" and not scaled:
            problems.append(Problem(where, f"RoPE is scaled ({each['rope_type']})"))
        if float(each.get("partial_rotary_factor") or 1) != 1:
            problems.append(Problem(where, "RoPE turns a part of each head only"))
        if kind == "sliding_attention" and each["rope_theta"] != _LOCAL_THETA:
            problems.append(Problem(where, f"rope_theta {each['rope_theta']}: it has {_LOCAL_THETA}"))
    main = kinds.get("full_attention", given)
    theta = float(main["rope_theta"])
    if main["rope_type"] != "llama3" or problems:
        return theta, None
    scaled_D = model.get_decoder().rotary_emb.inv_freq.detach().to("cpu", torch.float64)
    plain_D = theta ** -(torch.arange(len(scaled_D), dtype=torch.float64) / len(scaled_D))
    return theta, (plain_D / scaled_D).float()
