"""`yuantune bench train`: training recipes side by side, each in its own process, in turn, on the same rows.

The machine's speed drifts, so recipes alternate within one run and ratios are taken round by round; medians are
quoted. Out of memory or another failure is a result too, and stands in the table.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from yuantune.config import Config, LoraSection
from yuantune.data.examples import ExampleSet
from yuantune.errors import UserError, nearest

RECIPES = {
    "tutorial": "transformers Trainer, PEFT, padding, gradient checkpointing, all logits",
    "no-checkpointing": "the same without gradient checkpointing",
    "no-sharing": "yuantune, each row computing the prompt for itself",
    "yuantune": "yuantune",
}
OURS = ("no-sharing", "yuantune")
WARM_UP = 2
"""Steps at the start of a process that are not counted."""


@dataclass(frozen=True, slots=True)
class Line:
    """One recipe's figures: medians over rounds. `ratio` is its examples/s over the first recipe's, the median of
    the ratios round by round; a failure has its message in `error` and no figures."""

    recipe: str
    model: str
    dtype: str
    examples_per_second: float
    seconds_per_step: float
    tokens_computed: int
    peak_rss_bytes: int
    ratio: float
    error: str = ""


def bench_train(
    model: str,
    data: str,
    *,
    recipes: list[str],
    steps: int,
    rounds: int,
    batch_size: int,
    dtype: str,
    template: str,
    note: Callable[[str], None] = lambda text: None,
) -> list[Line]:
    """Time `steps` optimizer steps of each recipe in each of `rounds` rounds.

    Raises UserError for what no recipe could do: an unknown recipe, model or dtype, data that the check refuses,
    fewer rows than a batch."""
    from yuantune.models.load import dtype_of

    unknown = [name for name in recipes if name not in RECIPES]
    if unknown:
        raise UserError(f"unknown recipe {unknown[0]}{nearest(unknown[0], RECIPES)}", hint=", ".join(RECIPES))
    dtype_of(dtype, model)
    rows = len(_examples(model, data, template))
    if rows < batch_size:
        raise UserError(
            f"{data} has {rows} rows, fewer than a batch of {batch_size}", hint="set --batch-size lower"
        )
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in recipes}
    for turn in range(rounds):
        for name in recipes:
            note(f"round {turn + 1}/{rounds}: {name}")
            job = {
                "recipe": name,
                "model": model,
                "data": data,
                "steps": steps + WARM_UP,
                "batch_size": batch_size,
            }
            runs[name].append(_in_process({**job, "dtype": dtype, "template": template}))
    return [_line(name, model, dtype, runs[name], runs[recipes[0]]) for name in recipes]


def _examples(model: str, data: str, template: str) -> ExampleSet:
    """The training rows, checked and tokenised."""
    from rich.console import Console

    from yuantune.models.load import load_tokenizer
    from yuantune.train.run import prepare_data

    config = Config.model_validate({"model": {"name": model}, "data": {"train": data}, "template": template})
    return prepare_data(config, load_tokenizer(model), Console(quiet=True)).train


def _in_process(job: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "yuantune.study.bench", json.dumps(job)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"killed by signal {-done.returncode}"])[-1]
        return {"error": last}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _line(name: str, model: str, dtype: str, runs: list[dict[str, Any]], base: list[dict[str, Any]]) -> Line:
    failed = [run["error"] for run in runs if "error" in run]
    if failed:
        return Line(name, model, dtype, 0.0, 0.0, 0, 0, 0.0, failed[0])
    rates = [run["examples"] / run["seconds"] for run in runs]
    pairs = [rate * b["seconds"] / b["examples"] for rate, b in zip(rates, base, strict=True) if "error" not in b]
    return Line(
        recipe=name,
        model=model,
        dtype=dtype,
        examples_per_second=median(rates),
        seconds_per_step=median(run["seconds"] / run["steps"] for run in runs),
        tokens_computed=runs[0]["tokens"],
        peak_rss_bytes=int(median(run["peak_rss"] for run in runs)),
        ratio=median(pairs) if pairs else 0.0,
    )


# ------------------------------------------------------------------------------------------- inside a process


def _work(job: dict[str, Any]) -> dict[str, Any]:
    """Train one recipe and report its counted steps."""
    from transformers import TrainerCallback, set_seed

    from yuantune.models.load import load_model, load_tokenizer

    tokenizer = load_tokenizer(job["model"])
    examples = _examples(job["model"], job["data"], job["template"])
    set_seed(0)
    model = load_model(job["model"], dtype=job["dtype"], device_map="cpu")
    model = _with_lora(model, lean=job["recipe"] in OURS)
    clock: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        trainer, tokens = _trainer(job, model, tokenizer, examples, Path(folder))
        trainer.add_callback(Clock())
        trainer.train()
    counted = len(clock) - WARM_UP
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "steps": counted,
        "seconds": clock[-1] - clock[WARM_UP - 1],
        "examples": counted * job["batch_size"],
        "tokens": sum(tokens[WARM_UP : len(clock)]),  # One more batch may have been collated ahead.
        "peak_rss": peak if sys.platform == "darwin" else peak * 1024,
    }


def _with_lora(model: Any, *, lean: bool) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    from yuantune.methods import lora

    if lean:
        return lora.apply(model, LoraSection().model_dump())
    return get_peft_model(model, LoraConfig(task_type=TaskType.CAUSAL_LM, **LoraSection().model_dump()))


def _trainer(job: dict[str, Any], model: Any, tokenizer: Any, examples: Any, folder: Path) -> tuple[Any, list[int]]:
    """The recipe's trainer, and the list to which its collator appends each batch's padded token count."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    from yuantune.train.grouping import choose_collator
    from yuantune.train.step import SupervisedTrainer

    tokens: list[int] = []
    plain = job["recipe"] not in OURS
    how = "on" if job["recipe"] == "yuantune" else "off"
    ours, _ = choose_collator(model, [examples], how=how, pad_id=tokenizer.pad_token_id)
    checkpointing = job["recipe"] == "tutorial"
    if checkpointing:
        model.enable_input_require_grads()
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=job["batch_size"],
        max_steps=job["steps"],
        save_strategy="no",
        logging_strategy="no",
        learning_rate=5e-5,
        activation_checkpointing=checkpointing,
        remove_unused_columns=False,
        dataloader_drop_last=True,
        dataloader_pin_memory=False,
        use_cpu=True,
        disable_tqdm=True,
        data_seed=0,
        optim="adamw_torch",
    )
    seq2seq = DataCollatorForSeq2Seq(tokenizer=tokenizer, padding=True)

    def gather(rows: list[Any]) -> Any:
        if plain:
            labels = [
                [token if s else -100 for token, s in zip(row.ids, row.supervised, strict=True)] for row in rows
            ]
            batch: Any = seq2seq(
                [
                    {"input_ids": row.ids, "attention_mask": [1] * len(row.ids), "labels": each}
                    for row, each in zip(rows, labels, strict=True)
                ]
            )
        else:
            batch = ours(rows)
        tokens.append(batch["input_ids"].numel())
        return batch

    kind = Trainer if plain else SupervisedTrainer
    return kind(model=model, args=args, train_dataset=examples, data_collator=gather), tokens


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_work(json.loads(sys.argv[1]))) + "\n")
