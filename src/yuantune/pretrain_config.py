"""Every option of a pretraining run, declared once and documented at its field; read as `config_file` reads
its own.

What fine-tuning has too keeps its name and its meaning. `yuantune init --pretrain` writes these fields with their
descriptions as comments.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from yuantune.config import RunConfig, StepSection, as_paths
from yuantune.config_section import Section


class PretrainModelSection(Section):
    """The model: a base to go on with (name), or a new one (config and tokenizer)."""

    name: str | None = None
    """Base whose training goes on: built-in name, folder (a run's checkpoint-N and model too), or hub id."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    config: str | dict[str, Any] | None = None
    """Architecture of a new model with random weights: a config.json, its folder, or its fields, e.g. {hidden_size:
    256, …}. Fields describe a Yuan2 unless they have a model_type; vocabulary size and token ids follow from the
    tokenizer."""
    tokenizer: str | None = None
    """Tokenizer of a new model: folder, built-in name or hub id."""
    dtype: Literal["bfloat16", "float32", "float64"] = "float32"
    """Number format of the weights while training. (For speed on a GPU see train.bf16, which leaves the weights
    be.)"""
    save_dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Number format of the finished model's file; auto: model.dtype. Checkpoints always keep model.dtype."""
    device_map: str = "auto"
    """Where the model runs: auto (a GPU or MPS where there is one), cpu, cuda, cuda:0, mps."""
    attn_implementation: str = "sdpa"
    """Attention kernel: sdpa, eager, flash_attention_2 (CUDA, where installed)."""

    @model_validator(mode="after")
    def _base_or_new(self) -> PretrainModelSection:
        if self.name is not None and (self.config is not None or self.tokenizer is not None):
            raise ValueError(
                "model.name goes on with a model; model.config and model.tokenizer make a new one: not both"
            )
        if (self.config is None) != (self.tokenizer is None):
            raise ValueError("a new model needs both model.config and model.tokenizer")
        return self


class SourceSection(Section):
    """One source of text or instruction data."""

    path: str
    """A file (.txt, .jsonl; .xz and .gz too), a folder of such files, or whatever `data.train` of fine-tuning
    takes."""
    weight: float = Field(default=1.0, gt=0)
    """Its share of the tokens, against the weights of the others. A source that ends begins anew, in a new
    order."""
    kind: Literal["auto", "text", "instruction"] = "auto"
    """text: every token is learnt; instruction: the answer's tokens. auto: by what the rows hold."""
    template: str | dict[str, Any] = "auto"
    """The prompt of instruction rows: auto (by their shape), a built-in name, a YAML file, or an inline
    template."""
    format: str | None = None
    """Format, where the file's ending and content do not tell it."""
    field: str = "text"
    """The field of a JSONL row that holds the text."""
    lines: int = Field(default=1, ge=0)
    """How many lines of a .txt make a document; 0: blank lines separate documents."""


Sources = Annotated[list[SourceSection], BeforeValidator(as_paths)]


class PretrainDataSection(Section):
    """What is learnt, and how documents fill rows."""

    train: Sources = Field(default_factory=list)
    """The mix: a path, or a list of paths or of {path, weight, kind, template, format, field, lines}."""
    eval: Sources = Field(default_factory=list)
    """Held-out sources, each with its own loss. Empty: no evaluation."""
    sequence_length: int = Field(default=1024, gt=1)
    """Tokens in a row. Documents are packed into rows without padding and do not see each other."""
    eval_rows: int = Field(default=32, gt=0)
    """Rows of each evaluation source: its first ones, always the same."""
    shuffle_buffer: int = Field(default=10_000, gt=0)
    """Documents held to draw from at random: larger mixes better, and takes memory. 1 keeps the file's order."""


class PretrainStepSection(StepSection):
    """Training, under the names of transformers.TrainingArguments."""

    max_tokens: int | None = Field(default=None, gt=0)
    """How long, in tokens rather than steps: say one of the two."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Stop after so many minutes with a checkpoint, and say how to go on. The schedule does not change."""
    per_device_train_batch_size: int = Field(default=8, gt=0)
    """Rows in one forward pass on one device."""
    per_device_eval_batch_size: int = Field(default=8, gt=0)
    """Rows in one forward pass of evaluation."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate: for a new, small model. A base goes on with less (2e-5 to 2e-4), a large one is made
    with less."""
    lr_scheduler_type: str = "cosine_with_min_lr"
    """How the learning rate moves: cosine_with_min_lr, cosine, linear, warmup_stable_decay, …"""
    lr_scheduler_kwargs: dict[str, Any] = Field(default_factory=dict)
    """The scheduler's own options. cosine_with_min_lr: {min_lr_rate: 0.1} (so without any);
    warmup_stable_decay: {num_decay_steps: 1000} (so without any: a fifth of all steps)."""
    warmup_steps: float = Field(default=0.02, ge=0)
    """Steps of warm-up; below 1, a share of all steps."""
    weight_decay: float = Field(default=0.1, ge=0)
    """AdamW's decay of the weights (norms and biases are left out)."""
    adam_beta2: float = Field(default=0.95, ge=0, lt=1)
    """AdamW: decay of the gradient's square."""
    logging_steps: float = Field(default=10, gt=0)
    """Steps between two lines of log.jsonl."""
    eval_steps: float | None = Field(default=500, gt=0)
    """Steps between evaluations; the last step has one too."""
    save_total_limit: int | None = Field(default=2, gt=0)
    """Keep only so many checkpoints, the newest."""


class PretrainConfig(RunConfig):
    """A pretraining run."""

    init: ClassVar[str] = "yuantune init --pretrain"

    output_dir: str = "runs/pretrain"
    """The run folder, made by `yuantune pretrain`; it must not exist yet."""
    model: PretrainModelSection = Field(default_factory=PretrainModelSection)
    data: PretrainDataSection = Field(default_factory=PretrainDataSection)
    train: PretrainStepSection = Field(default_factory=PretrainStepSection)

    @model_validator(mode="after")
    def _formats(self) -> PretrainConfig:
        if self.train.fp16 and self.model.dtype == "bfloat16":
            raise ValueError("model.dtype: bfloat16 cannot be trained under train.fp16; say float32")
        if self.train.max_steps > 0 and self.train.max_tokens is not None:
            raise ValueError(
                "train.max_steps and train.max_tokens both say how long: keep one (the other is put off by "
                "--set train.max_tokens=null or --set train.max_steps=-1)"
            )
        return self
