"""The options of each method, one section a method, under PEFT's names where PEFT does it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from yuantune.config_section import Section

SEVEN_PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

INITIALISATIONS = ("gaussian", "orthogonal", "pissa", "pissa_niter_4", "olora", "eva")


def _layers(value: list[int | str] | None) -> list[int | str] | None:
    for each in value or ():
        if isinstance(each, str) and not re.fullmatch(r"\d+-\d+", each):
            raise ValueError(f"layers are numbers (0 is the first, -1 the last) and ranges like 8-15, not {each!r}")
    return value


Layers = Annotated[list[int | str] | None, AfterValidator(_layers)]
"""Layers of a decoder; `yuantune.methods.layers` makes numbers of them."""


def _initialisation(value: bool | str) -> bool | str:
    if isinstance(value, str) and value not in INITIALISATIONS and not re.fullmatch(r"pissa_niter_\d+", value):
        raise ValueError(
            f"lora.init_lora_weights is true, false, or one of {', '.join(INITIALISATIONS)}, not {value!r}"
        )
    return value


class MethodSection(Section):
    """Options of a method."""

    def dump(self) -> dict[str, Any]:
        """Those that say how the model is made, for the method's `apply`."""
        return self.model_dump()


class LoraSection(MethodSection):
    """LoRA by PEFT (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021)."""

    r: int = Field(default=8, gt=0)
    """Rank of the update."""
    lora_alpha: int = Field(default=32, gt=0)
    """The update is scaled by lora_alpha / r."""
    lora_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout on the update's input while training."""
    target_modules: list[str] | str = Field(default_factory=lambda: list(SEVEN_PROJECTIONS))
    """Which linear layers get an update: a list of names, or all-linear. In Yuan2, q_proj and k_proj each
    serve half the attention heads: keep both."""
    layers_to_transform: Layers = None
    """Only these decoder layers: [0, 1], [8-15], [-1]. null: all."""
    use_rslora: bool = False
    """Scale by lora_alpha / √r instead (Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with
    LoRA", 2023): a high rank then learns as fast as a low one."""
    use_dora: bool = False
    """Learn each weight row's length apart from its direction (Liu et al., "DoRA: Weight-Decomposed Low-Rank
    Adaptation", 2024). It trains PEFT's own way, without the leaner forward."""
    init_lora_weights: Annotated[bool | str, AfterValidator(_initialisation)] = True
    """How the update begins: true (A random, B zero), false (both random), gaussian, orthogonal; pissa, or the
    faster pissa_niter_4 (Meng et al., "PiSSA", 2024), and olora (Büyükakyüz, "OLoRA", 2024) take it out of the
    weights: the base is then float32, and the saved adapter, of twice the rank, is for the base as it was. eva
    (Paischer et al., "One Initialization to Rule them All", 2024): A is the principal components of what each layer
    reads on the training rows, of one rank in all layers."""
    loraplus_lr_ratio: float | None = Field(default=None, gt=0)
    """B learns at so many times train.learning_rate (Hayou et al., "LoRA+", 2024, use 16). null: at the same
    rate."""
    rank_pattern: dict[str, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    """Other ranks for some layers, by the end of their name or a pattern of it: {down_proj: 16}."""
    alpha_pattern: dict[str, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    """Other lora_alpha for some layers, as in rank_pattern."""
    modules_to_save: list[str] | None = None
    """Modules that are trained in full beside the update, and saved with it: [norm]."""

    @model_validator(mode="after")
    def _can_begin_so(self) -> Self:
        if self.init_lora_weights == "eva" and self.rank_pattern:
            raise ValueError(
                "lora.init_lora_weights: eva excludes rank_pattern: all layers get components of one rank"
            )
        if self.changes_base and self.use_rslora and (self.rank_pattern or self.alpha_pattern):
            raise ValueError(
                f"lora.init_lora_weights: {self.init_lora_weights} with use_rslora excludes rank_pattern and "
                "alpha_pattern: PEFT's files have no scale for what is taken out of the weights"
            )
        return self

    @property
    def changes_base(self) -> bool:
        """Whether the update begins with something that is taken out of the base weights."""
        return isinstance(self.init_lora_weights, str) and self.init_lora_weights.startswith(("pissa", "olora"))

    def dump(self) -> dict[str, Any]:
        """Without what the optimizer alone is told: the options of `peft.LoraConfig`."""
        return self.model_dump(exclude={"loraplus_lr_ratio"})


class BottleneckSection(MethodSection):
    """Bottleneck adapters: small networks behind the parts of a layer (method: bottleneck)."""

    kind: Literal["houlsby", "pfeiffer", "parallel"] = "pfeiffer"
    """houlsby: behind attention and behind MLP (Houlsby et al., "Parameter-Efficient Transfer Learning for NLP",
    2019); pfeiffer: behind the MLP only (Pfeiffer et al., "AdapterFusion", 2021); parallel: beside the MLP, on its
    input (He et al., "Towards a Unified View of Parameter-Efficient Transfer Learning", 2022)."""
    reduction_factor: float = Field(default=16, gt=0)
    """The bottleneck is so many times narrower than the model."""
    non_linearity: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    """Between down and up projection."""
    scaling: float = Field(default=1.0, gt=0)
    """What the adapter adds is multiplied by it; He et al. use 4 beside the MLP."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout in the bottleneck while training."""
    layers: Layers = None
    """Only in these decoder layers: [0, 1], [8-15], [-1]. null: in all."""


class IA3Section(MethodSection):
    """(IA)³ by PEFT: scales on what attention and MLP pass on (method: ia3)."""

    target_modules: list[str] | None = None
    """Linear layers that are scaled. null: k_proj, v_proj and down_proj; of Yuan2 q_proj too, which makes keys."""
    feedforward_modules: list[str] | None = None
    """Those of them whose input is scaled, not their output. null: down_proj."""


class FreezeSection(MethodSection):
    """Only the last layers are trained (method: freeze)."""

    trained_layers: int = Field(default=2, gt=0)
    """How many decoder layers, counted from the end."""


class PromptSection(MethodSection):
    """What methods with virtual tokens share."""

    num_virtual_tokens: int = Field(default=20, gt=0)
    """How many virtual tokens stand before every row; they take positions like tokens."""


class PromptTuningSection(PromptSection):
    """Prompt tuning by PEFT (method: prompt_tuning). The paper's train.learning_rate is 0.3."""

    prompt_tuning_init: Literal["random", "sample_vocab", "text"] = "sample_vocab"
    """How they begin: random numbers, the embeddings of random tokens, or those of a text."""
    prompt_tuning_init_text: str | None = None
    """The text, under prompt_tuning_init: text; repeated or cut to as many tokens."""

    @model_validator(mode="after")
    def _text(self) -> Self:
        if (self.prompt_tuning_init == "text") != bool(self.prompt_tuning_init_text):
            raise ValueError("prompt_tuning.prompt_tuning_init: text and prompt_tuning_init_text go together")
        return self


class PrefixTuningSection(PromptSection):
    """Prefix tuning by PEFT (method: prefix_tuning): keys and values before every layer's own."""

    init_weights: Literal["near_zero"] | None = "near_zero"
    """How they begin: near_zero, or null for random numbers of length one, which disturb the model at first."""
    prefix_projection: bool = False
    """Learn them through a network of two layers, which is left out when the adapter is used."""
    encoder_hidden_size: int | None = Field(default=None, gt=0)
    """Its width; null: the model's."""


class PTuningSection(PromptSection):
    """P-tuning by PEFT (method: p_tuning): virtual tokens that a network makes."""

    encoder_reparameterization_type: Literal["MLP", "LSTM"] = "MLP"
    """The network."""
    encoder_hidden_size: int | None = Field(default=None, gt=0)
    """Its width; null: the model's."""
    encoder_num_layers: int = Field(default=2, gt=0)
    """Layers of an LSTM; an MLP has 2."""
    encoder_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout between the layers of an LSTM."""
