"""The recipes that `bench train` measures, each as a process of its own: `python -m yuantune.study.recipes JOB`.

Every recipe trains the same model with the same LoRA on the same rows in the same order; what it computes for that
is its own."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from yuantune.config import Config
from yuantune.data.examples import Example, ExampleSet
from yuantune.data.record import Source
from yuantune.method_config import LoraSection
from yuantune.study.flops import product_rate, required_flops, synchronize, work_of
from yuantune.study.subjects import model_of, tokenizer_of

RECIPES = {
    "tutorial": "transformers Trainer, PEFT, padding, gradient checkpointing, all logits",
    "no-checkpointing": "the same without gradient checkpointing",
    "trl": "TRL's SFTTrainer, PEFT, padding, its fused head",
    "trl-padding-free": "the same, the rows of a batch behind each other",
    "trl-checkpointing": "trl-padding-free with gradient checkpointing",
    "no-sharing": "yuantune, each row computing the prompt for itself",
    "yuantune": "yuantune",
}
OURS = ("no-sharing", "yuantune")
TRL = ("trl", "trl-padding-free", "trl-checkpointing")
WARM_UP = 2
"""Steps at the start of a process that are not counted."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one process measures: `steps` are all of them, the first `warm_up` (at least one) not counted."""

    recipe: str
    model: str
    tokenizer: str | None
    data: str
    template: str
    dtype: str
    steps: int
    batch_size: int
    device: str = "cpu"
    quantization: str = "none"
    products: str = "auto"
    warm_up: int = WARM_UP

    def to_json(self) -> str:
        """As `main` reads it."""
        return json.dumps(asdict(self))


def examples_of(model: str, tokenizer: str | None, data: str, template: str) -> ExampleSet:
    """The training rows, checked and tokenised."""
    from rich.console import Console

    from yuantune.train.prepare import prepare_data

    config = Config.model_validate({"data": {"train": data}, "template": template})
    return prepare_data(config, tokenizer_of(model, tokenizer), Console(quiet=True)).train


def measure(job: Job) -> dict[str, Any]:
    """Train by one recipe and report its counted steps."""
    import torch
    from transformers import TrainerCallback, set_seed

    tokenizer = tokenizer_of(job.model, job.tokenizer)
    examples = examples_of(job.model, job.tokenizer, job.data, job.template)
    set_seed(0)
    model = model_of(job.model, tokenizer, job.dtype, job.device, job.quantization, job.products)
    base = model
    clock: list[float] = []
    batches: list[tuple[int, list[Example]]] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            synchronize(job.device)
            clock.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(job, model, tokenizer, examples, Path(folder), batches)
        trainer.add_callback(Clock())
        trainer.train()
    counted = batches[job.warm_up : len(clock)]  # One more batch may have been collated ahead.
    works = [work_of(rows) for _, rows in counted]
    options = LoraSection()
    flops = [required_flops(base, work, r=options.r, targets=options.target_modules) for work in works]
    return {
        "steps": len(counted),
        "seconds": clock[-1] - clock[job.warm_up - 1],
        "examples": sum(len(rows) for _, rows in counted),
        "tokens": sum(tokens for tokens, _ in counted),
        "peak_rss": peak_bytes(job.device),
        "required_flops": sum(flops),
        "product_rate": product_rate(base, works[0].tokens, getattr(torch, job.dtype), job.device),
    }


def peak_bytes(device: str = "cpu") -> int:
    """Bytes that this process held at most, of the GPU's memory where it computed there."""
    import torch

    if device != "cpu":
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# ------------------------------------------------------------------------------------------------ the trainers


def trainer_of(
    job: Job,
    model: Any,
    tokenizer: Any,
    examples: ExampleSet,
    folder: Path,
    batches: list[Any] | None = None,
    *,
    dropout: float | None = None,
    arguments: dict[str, Any] | None = None,
) -> Any:
    """The recipe's Trainer over `examples`. Each batch's computed tokens and its rows are appended to `batches`;
    `dropout` is LoRA's (None: the default), `arguments` go over those of `transformers.TrainingArguments`."""
    make = _trl if job.recipe in TRL else _ours if job.recipe in OURS else _plain
    lora = LoraSection() if dropout is None else LoraSection(lora_dropout=dropout)
    batches = [] if batches is None else batches
    return make(_Setup(job, model, tokenizer, examples, folder, batches, lora.dump(), arguments or {}))


@dataclass(frozen=True, slots=True)
class _Setup:
    """What a trainer is made of; the fields are `trainer_of`'s, and LoRA's options."""

    job: Job
    model: Any
    tokenizer: Any
    examples: ExampleSet
    folder: Path
    batches: list[Any]
    lora: dict[str, Any]
    arguments: dict[str, Any]

    def peft_config(self) -> Any:
        """As the peers take LoRA's options."""
        from peft import LoraConfig, TaskType

        return LoraConfig(task_type=TaskType.CAUSAL_LM, **self.lora)

    def training_arguments(self, kind: Any = None, **more: Any) -> Any:
        """`kind` (default: transformers' TrainingArguments) with what every recipe has, and `more`."""
        from transformers import TrainingArguments

        usual = {
            "output_dir": str(self.folder),
            "per_device_train_batch_size": self.job.batch_size,
            "max_steps": self.job.steps,
            "save_strategy": "no",
            "logging_strategy": "no",
            "learning_rate": 5e-5,
            "remove_unused_columns": False,
            "dataloader_drop_last": True,
            "dataloader_pin_memory": False,
            "use_cpu": self.job.device == "cpu",
            "disable_tqdm": True,
            "report_to": "none",
            "data_seed": 0,
            "optim": "adamw_torch_fused",
        }
        return (kind or TrainingArguments)(**{**usual, **more, **self.arguments})


def _ours(setup: _Setup) -> Any:
    from yuantune.methods import lora
    from yuantune.train.grouping import choose_collator
    from yuantune.train.portions import RowsTrainer

    model, examples = lora.apply(setup.model, setup.lora), setup.examples
    how = "on" if setup.job.recipe == "yuantune" else "off"
    collator, _ = choose_collator(model, [examples], how=how, pad_id=setup.tokenizer.pad_token_id)
    return RowsTrainer(
        _noting(collator, setup.batches, list), model=model, args=setup.training_arguments(), train_dataset=examples
    )


def _plain(setup: _Setup) -> Any:
    from peft import get_peft_model
    from transformers import DataCollatorForSeq2Seq, Trainer

    checkpointing = setup.job.recipe == "tutorial"
    model = get_peft_model(setup.model, setup.peft_config())
    if checkpointing:
        model.enable_input_require_grads()
    padding = DataCollatorForSeq2Seq(tokenizer=setup.tokenizer, padding=True)
    return Trainer(
        model=model,
        args=setup.training_arguments(activation_checkpointing=checkpointing),
        train_dataset=setup.examples,
        data_collator=_noting(lambda rows: padding([_row(row) for row in rows]), setup.batches, list),
    )


def _trl(setup: _Setup) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [{name: each for name, each in _row(row).items() if name != "attention_mask"} for row in setup.examples]
    own = {"padding_free": setup.job.recipe != "trl", "max_length": None, "bf16": False}
    checkpointing = setup.job.recipe == "trl-checkpointing"
    trainer = SFTTrainer(
        model=setup.model,
        args=setup.training_arguments(SFTConfig, activation_checkpointing=checkpointing, **own),
        train_dataset=Dataset.from_list(rows),
        processing_class=setup.tokenizer,
        peft_config=setup.peft_config(),
    )
    trainer.data_collator = _noting(
        trainer.data_collator,
        setup.batches,
        lambda rows: [
            Example(row["input_ids"], [label != -100 for label in row["labels"]], (0, 0), Source(setup.job.data, 1))
            for row in rows
        ],
    )
    return trainer


def _row(row: Example) -> dict[str, list[int]]:
    labels = [token if learnt else -100 for token, learnt in zip(row.ids, row.supervised, strict=True)]
    return {"input_ids": list(row.ids), "attention_mask": [1] * len(row.ids), "labels": labels}


def _noting(
    collator: Callable[[Any], Any], batches: list[Any], rows_of: Callable[[Sequence[Any]], list[Example]]
) -> Callable[[Any], Any]:
    """The collator; it appends each batch's computed tokens and its examples to `batches`."""

    def gather(rows: Any) -> Any:
        batch = collator(rows)
        batches.append((batch["input_ids"].numel(), rows_of(rows)))
        return batch

    return gather


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(Job(**json.loads(sys.argv[1])))) + "\n")
