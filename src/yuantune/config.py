"""Every option of a run, declared once and documented at its field.

A config file is YAML with the sections below; `--set section.option=value` overrides one option. Training
options keep the names of `transformers.TrainingArguments`, LoRA's those of `peft.LoraConfig`. What is not declared
here is an error that names the nearest known option. `yuantune init` writes these fields, with their
descriptions as comments: there is no second list. `config_file` reads and writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from yuantune.config_section import Section
from yuantune.method_config import (
    BottleneckSection,
    FreezeSection,
    IA3Section,
    LoraSection,
    PrefixTuningSection,
    PromptTuningSection,
    PTuningSection,
)


class ModelSection(Section):
    """The base model."""

    name: str = "yuan2-mini"
    """Built-in name (yuan2-mini), a folder, a ModelScope id (default for IEITYuan/*), or a Hugging Face id.
    Prefix `modelscope:` or `hf:` to choose the hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: Literal["auto", "bfloat16", "float16", "float32", "float64"] = "auto"
    """Number format of the base weights. auto: bfloat16 under an adapter (the adapter itself stays float32),
    float32 where its own weights are trained or changed, for the built-in mini, and on a CPU that only emulates
    bfloat16."""
    quantization: Literal["auto", "none", "bf16", "int8", "nf4"] = "auto"
    """Fewer bits for the frozen weights of the decoder's linear layers, under an adapter: bf16 under float32, half
    of it; int8 on every machine, a byte a weight; nf4, half of one, on a CUDA GPU through bitsandbytes. model.dtype
    is then what is computed in. auto: none; bf16 where model.dtype is auto and float32 (see there), the file is
    bfloat16, so that nothing is lost, and float32 weights would take more than a third of the memory."""
    int8_products: Literal["auto", "integer", "dequantize"] = "auto"
    """How int8 weights are multiplied: dequantize makes numbers of a block of them at a time, exactly; integer
    rounds the other side to int8 too. auto: integer on a CPU with instructions for it (AVX512-VNNI, AMX)."""
    device_map: str = "auto"
    """Where the model runs: auto (a GPU or MPS where there is one), cpu, cuda, cuda:0, mps."""
    attn_implementation: str = "sdpa"
    """Attention kernel: sdpa, eager, flash_attention_2 (CUDA, where installed)."""


class DatasetSection(Section):
    """One labelled file, folder or hub dataset."""

    path: str
    """File, folder, or hub dataset id (`org/name#split`)."""
    weight: float = Field(default=1.0, gt=0)
    """How often its rows are drawn: 2 takes each row twice, 0.5 a seeded half."""
    format: str | None = None
    """Format, where the file's ending and content do not tell it."""


def as_paths(value: Any) -> Any:
    """`data.train: file.jsonl` means a list of one item with that path, and else its defaults."""
    items = value if isinstance(value, list) else [value]
    return [{"path": item} if isinstance(item, str) else item for item in items]


Datasets = Annotated[list[DatasetSection], BeforeValidator(as_paths)]


def _on_off(value: Any) -> Any:
    # YAML reads an unquoted on as true, off as false.
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


class DataSection(Section):
    """What is learnt and how rows become tokens."""

    train: Datasets = Field(default_factory=list)
    """Training data: a path, or a list of paths or of {path, weight, format}."""
    eval: Datasets = Field(default_factory=list)
    """Evaluation data; empty: none, unless `split` takes some from the training data."""
    split: float = Field(default=0.0, ge=0)
    """Held out from the training data when `eval` is empty: a share (0.1) or a number of rows (20)."""
    max_length: int = Field(default=1024, gt=0)
    """Longest example in tokens, prompt and answer and end token together."""
    on_overflow: Literal["error", "drop", "shorten-input"] = "error"
    """A row longer than max_length: error stops before training and names the rows; drop leaves them out and
    counts them; shorten-input cuts only the record's own text. An answer is never cut."""
    shared_prefixes: Annotated[Literal["auto", "on", "off"], BeforeValidator(_on_off)] = "auto"
    """Compute what the rows of a batch have in common at their start, the prompt, once. auto: where the model
    allows it; on: stop where it does not; off: every row for itself, padded."""
    max_batch_tokens: int | None = Field(default=None, gt=0)
    """Most tokens in one forward pass: a step with more is computed in portions, with the same sums. null: what
    half of the memory beside the model holds, by estimate."""
    max_row_bytes: int = Field(default=64 * 2**20, gt=0)
    """Longest row (line, table cell, tagged sentence) in bytes; a longer one is named, and not read into memory."""
    max_file_bytes: int | None = Field(default=None, gt=0)
    """Largest file of data, in bytes on the disk; null: any. (A JSON document has 1 GiB at most in any case, and a
    compressed file that unpacks to 200 times its size, beyond 64 MiB, is refused.)"""
    limit: int | None = Field(default=None, gt=0)
    """Use only so many training rows, the first ones; of several data sets, each one's share of them."""

    @model_validator(mode="after")
    def _share_or_rows(self) -> DataSection:
        if self.split > 1 and not self.split.is_integer():
            raise ValueError(f"data.split is a share below 1 or a whole number of rows, not {self.split}")
        return self


def _steps(value: int) -> int:
    if value != -1 and value < 1:
        raise ValueError(f"train.max_steps is -1 (as long as the rest says) or at least 1, not {value}")
    return value


Steps = Annotated[int, AfterValidator(_steps)]
# YAML reads an unquoted no as false.
Strategy = Annotated[
    Literal["no", "steps", "epoch"], BeforeValidator(lambda value: "no" if value is False else value)
]


class StepSection(Section):
    """What fine-tuning and pretraining share, under the names of transformers.TrainingArguments; on_nonfinite and
    muon_… are ours."""

    per_device_train_batch_size: int = Field(default=12, gt=0)
    """Rows in one forward pass on one device."""
    per_device_eval_batch_size: int = Field(default=12, gt=0)
    """Rows in one forward pass of evaluation."""
    gradient_accumulation_steps: int = Field(default=1, gt=0)
    """Forward passes before the weights move: the effective batch is this times the batch size."""
    max_steps: Steps = -1
    """Optimizer steps; above zero it overrides what else says how long."""
    learning_rate: float = Field(default=5e-5, gt=0)
    """Peak learning rate."""
    lr_scheduler_type: str = "linear"
    """How the learning rate moves: linear, cosine, constant, constant_with_warmup, …"""
    warmup_steps: float = Field(default=0, ge=0)
    """Steps of warm-up; below 1, a share of all steps."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decay of the weights."""
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    """AdamW: decay of the gradient's mean."""
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    """AdamW: decay of the gradient's square."""
    adam_epsilon: float = Field(default=1e-8, gt=0)
    """AdamW: added to the denominator."""
    optim: str = "adamw_torch_fused"
    """The optimizer, by its name in transformers; or muon: Muon for the hidden matrices, AdamW for the rest,
    with one second moment a column for embeddings and head (coupled Adam)."""
    muon_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of Muon's matrices, whose updates are as large as AdamW's; null: learning_rate."""
    muon_momentum: float = Field(default=0.95, ge=0, lt=1)
    """Muon: decay of the gradient's mean."""
    max_grad_norm: float = Field(default=1.0, ge=0)
    """Gradients are scaled down to this norm; 0 leaves them."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """A step whose loss or gradient is NaN or infinite: stop ends the run, and names the rows; skip leaves the step
    out, names them and goes on, ten times in a row at most (each step waits for the GPU then). Under fp16 the loss
    scaler leaves such steps out in any case."""
    bf16: bool = False
    """Autocast to bfloat16 while training (beside model.dtype, which is the weights' own format)."""
    fp16: bool = False
    """Autocast to float16 with loss scaling (CUDA)."""
    gradient_checkpointing: bool | Literal["auto"] = "auto"
    """Recompute activations in the backward pass: less memory, about a third more time. auto: where the estimate
    says that memory needs it, or memory ends. (transformers 5 calls it activation_checkpointing, too.)"""
    logging_steps: float = Field(default=1, gt=0)
    """Steps between two lines of log.jsonl."""
    eval_steps: float | None = Field(default=None, gt=0)
    """Steps between evaluations (in fine-tuning, under eval_strategy: steps)."""
    save_steps: float = Field(default=500, gt=0)
    """Steps between checkpoints (in fine-tuning, under save_strategy: steps)."""
    save_total_limit: int | None = Field(default=None, gt=0)
    """Keep only so many checkpoints, the newest; the best one of eval.every and the last one stay in any case."""
    save_on_each_node: bool = False
    """In multi-node training, save on every node."""
    seed: int = Field(default=42, ge=0, lt=2**32)
    """Seed of everything random: new weights, order of rows, dropout."""
    report_to: list[str] | str = "none"
    """Where metrics go beside log.jsonl: tensorboard, wandb, swanlab, … (install them yourself)."""

    @model_validator(mode="after")
    def _one_autocast(self) -> Self:
        if self.bf16 and self.fp16:
            raise ValueError("train.bf16 and train.fp16 exclude each other")
        return self


class TrainSection(StepSection):
    """Training, under the names of transformers.TrainingArguments."""

    num_train_epochs: float = Field(default=3.0, gt=0)
    """Passes over the training data."""
    eval_strategy: Strategy = "epoch"
    """When the evaluation loss is computed (where there is evaluation data)."""
    save_strategy: Strategy = "epoch"
    """When a checkpoint is written."""
    dataloader_num_workers: int = Field(default=0, ge=0)
    """Worker processes that collate batches."""


class EvalSection(Section):
    """Scores while training: evaluation rows are answered, and the best checkpoint is what the run leaves."""

    every: Annotated[
        Literal["no", "epoch"] | Annotated[int, Field(gt=0)],
        BeforeValidator(lambda value: "no" if value is False else value),
    ] = "no"
    """When: no, epoch, or a number of steps. It sets train.eval_strategy and train.save_strategy too."""
    rows: int = Field(default=200, gt=0)
    """Evaluation rows that are answered, the first ones."""
    metric: Literal["score", "loss"] = "score"
    """What is best: the score (F1 of labels, ROUGE-L of text), or the evaluation loss."""
    patience: int | None = Field(default=None, gt=0)
    """Stop after so many evaluations in a row without a better one."""


class GenerateSection(Section):
    """Answering, after training and in the score."""

    max_new_tokens: int = Field(default=512, gt=0)
    """Longest answer in tokens; the prompt does not count."""
    batch_size: int = Field(default=32, gt=0)
    """Rows answered at once."""
    constrain: bool = True
    """Extraction: an answer is JSON of the run's label types, in their order, whatever the model would write."""
    grounded: bool = True
    """Extraction, with constrain: every string of an answer is a piece of the record's text."""


class RunConfig(Section):
    """The options of one kind of run: sections, and what stands above them."""

    init: ClassVar[str]
    """The command that writes such a config with every option."""

    @model_validator(mode="before")
    @classmethod
    def _empty_sections(cls, tree: Any) -> Any:
        """A section whose options are all commented out is its defaults."""
        if not isinstance(tree, Mapping):
            return tree
        kinds = {name: field.annotation for name, field in cls.model_fields.items()}
        sections = {name for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Section)}
        return {name: value for name, value in tree.items() if value is not None or name not in sections}

    def dump(self) -> str:
        """The resolved config as YAML, every option written out."""
        return yaml.safe_dump(self.model_dump(), allow_unicode=True, sort_keys=False)


class Config(RunConfig):
    """A run."""

    init: ClassVar[str] = "yuantune init"

    output_dir: str = "runs/latest"
    """The run folder, made by `yuantune train`; it must not exist yet."""
    template: str | dict[str, Any] = "auto"
    """The prompt: auto (by the records' shape), a built-in name (resume-ner, extract, extract-en, plain,
    instruction, chat), a YAML file, or an inline template with `prompt` and `labels`."""
    method: Literal[
        "lora", "bottleneck", "ia3", "bitfit", "freeze", "prompt_tuning", "prefix_tuning", "p_tuning", "full"
    ] = "lora"
    """How the model is made trainable; the section of that name has its options (bitfit and full have none)."""
    model: ModelSection = Field(default_factory=ModelSection)
    data: DataSection = Field(default_factory=DataSection)
    lora: LoraSection = Field(default_factory=LoraSection)
    bottleneck: BottleneckSection = Field(default_factory=BottleneckSection)
    ia3: IA3Section = Field(default_factory=IA3Section)
    freeze: FreezeSection = Field(default_factory=FreezeSection)
    prompt_tuning: PromptTuningSection = Field(default_factory=PromptTuningSection)
    prefix_tuning: PrefixTuningSection = Field(default_factory=PrefixTuningSection)
    p_tuning: PTuningSection = Field(default_factory=PTuningSection)
    train: TrainSection = Field(default_factory=TrainSection)
    eval: EvalSection = Field(default_factory=EvalSection)
    generate: GenerateSection = Field(default_factory=GenerateSection)

    @model_validator(mode="after")
    def _scores(self) -> Config:
        """What `eval.every` means for the train section."""
        every = self.eval.every
        if every == "no":
            return self
        if not self.data.eval and not self.data.split:
            raise ValueError("eval.every needs rows to answer: give data.eval, or data.split")
        kind: Literal["steps", "epoch"] = "epoch" if every == "epoch" else "steps"
        self.train.eval_strategy = self.train.save_strategy = kind
        if every != "epoch":
            self.train.eval_steps = self.train.save_steps = float(every)
        return self

    @property
    def wide(self) -> str:
        """Which of the model's own weights training changes, so that they are float32 by default; empty: none."""
        if self.method == "lora":
            if self.lora.changes_base:
                how = self.lora.init_lora_weights
                return f"weights that an update is taken out of (lora.init_lora_weights: {how})"
            if not self.lora.modules_to_save:
                return ""
            return "weights that are trained themselves (lora.modules_to_save)"
        if self.method in ("full", "freeze", "bitfit"):
            return f"weights that are trained themselves (method: {self.method})"
        return ""

    @model_validator(mode="after")
    def _quantized(self) -> Config:
        """Quantized weights are frozen: what would train or change them is refused."""
        kind = self.model.quantization
        if kind in ("auto", "none"):
            return self
        if kind == "bf16" and self.model.dtype in ("float16", "bfloat16"):
            raise ValueError(
                f"model.quantization: bf16 keeps bfloat16 weights under float32, not under model.dtype: "
                f"{self.model.dtype}; say model.dtype: auto, or float32"
            )
        what = f"model.quantization: {kind} freezes the base"
        if self.method in ("full", "freeze", "bitfit") or (self.method == "lora" and self.lora.changes_base):
            raise ValueError(f"{what}, which has {self.wide}; adapters train beside it (method: lora)")
        if self.method == "lora" and self.lora.use_dora and kind == "int8":
            raise ValueError(f"{what}; lora.use_dora reads the weights' rows as numbers, which int8 are not")
        if self.method == "bottleneck" and kind == "nf4":
            raise ValueError(f"{what} for PEFT's methods only; method: bottleneck goes with int8")
        return self

    @model_validator(mode="after")
    def _one_pace(self) -> Config:
        if self.method == "lora" and self.lora.loraplus_lr_ratio is not None and self.train.optim == "muon":
            raise ValueError("lora.loraplus_lr_ratio needs an optimizer of transformers, not train.optim: muon")
        return self

    @model_validator(mode="after")
    def _formats(self) -> Config:
        dtype, wide = self.model.dtype, self.wide
        if self.method == "lora" and self.lora.changes_base and dtype not in ("auto", "float32"):
            raise ValueError(
                f"model.dtype: {dtype}: {wide} are float32: another format rounds what is left of them"
            )
        if wide and (dtype == "float16" or (self.train.fp16 and dtype == "bfloat16")):
            raise ValueError(
                f"model.dtype: {dtype}: {wide} cannot be float16, nor bfloat16 beside train.fp16; say float32"
            )
        return self


AnyConfig = TypeVar("AnyConfig", bound=RunConfig)
