"""`yuantune bench curve`: does a whole run follow the padded recipe's losses, as far as rounding lets any run?

Three runs from the same weights over the same batches, each in its own process: transformers' Trainer with PEFT and
padding; the same with the rows of each batch in another order, which changes rounding alone; and yuantune. In
bfloat16 the first two part from each other step by step. What yuantune may differ by is that. A process is
`python -m yuantune.study.curve` with its job."""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from yuantune.data.examples import ExampleSet
from yuantune.errors import WorkFailed
from yuantune.study.bench import in_process
from yuantune.study.recipes import Job, examples_of, trainer_of
from yuantune.study.subjects import model_of, tokenizer_of

PADDED, REORDERED, OURS = "no-checkpointing", "reordered", "yuantune"


@dataclass(frozen=True, slots=True)
class Curves:
    """Losses of the steps, and how far apart they are: the root of the mean square of the differences. `ratio` is
    yuantune's distance to the padded run over that of the two padded runs."""

    model: str
    dtype: str
    padded: list[float]
    reordered: list[float]
    yuantune: list[float]
    spread: float
    distance: float
    ratio: float


def bench_curve(
    model: str,
    data: str,
    *,
    steps: int,
    batch_size: int,
    dtype: str,
    template: str,
    tokenizer: str | None = None,
    learning_rate: float = 5e-5,
    note: Callable[[str], None] = lambda text: None,
) -> Curves:
    """The three runs. Raises WorkFailed where one of them does."""
    from yuantune.models.load import dtype_of

    dtype = str(dtype_of(dtype, model, "cpu")).removeprefix("torch.")
    curves: dict[str, list[float]] = {}
    for name in (PADDED, REORDERED, OURS):
        note(f"{model}: {name}, {steps} steps")
        recipe = PADDED if name == REORDERED else name
        job = Job(recipe, model, tokenizer, data, template, dtype, steps, batch_size)
        words = {**asdict(job), "reordered": name == REORDERED, "learning_rate": learning_rate}
        found = in_process("yuantune.study.curve", json.dumps(words))
        if "error" in found:
            raise WorkFailed(f"{name}: {found['error']}")
        curves[name] = found["losses"]
    padded, other, ours = (curves[name] for name in (PADDED, REORDERED, OURS))
    spread, distance = _apart(padded, other), _apart(padded, ours)
    return Curves(model, dtype, padded, other, ours, spread, distance, distance / spread if spread else 0.0)


def _apart(one: list[float], other: list[float]) -> float:
    squares = [(a - b) ** 2 for a, b in zip(one, other, strict=True)]
    return float((sum(squares) / len(squares)) ** 0.5)


def losses(job: Job, *, reordered: bool, learning_rate: float) -> list[float]:
    """The loss of each step of one run, without dropout."""
    from torch.utils.data import SequentialSampler
    from transformers import set_seed

    tokenizer = tokenizer_of(job.model, job.tokenizer)
    examples = examples_of(job.model, job.tokenizer, job.data, job.template)
    order = _order(len(examples), job.steps, job.batch_size, reordered=reordered)
    rows = ExampleSet(examples[row] for row in order)
    set_seed(0)
    model = model_of(job.model, tokenizer, job.dtype, job.device)
    more = {"logging_strategy": "steps", "logging_steps": 1, "learning_rate": learning_rate}
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(job, model, tokenizer, rows, Path(folder), dropout=0.0, arguments=more)
        trainer._get_train_sampler = lambda dataset=None: SequentialSampler(trainer.train_dataset)
        trainer.train()
    return [float(line["loss"]) for line in trainer.state.log_history if "loss" in line]


def _order(rows: int, steps: int, batch_size: int, *, reordered: bool) -> list[int]:
    """Rows of all batches one after the other; `reordered`: the same batches, the rows in each turned about."""
    draw = random.Random(0)
    order: list[int] = []
    while len(order) < steps * batch_size:
        order += draw.sample(range(rows), rows)
    batches = [order[at : at + batch_size] for at in range(0, steps * batch_size, batch_size)]
    return [row for batch in batches for row in (reversed(batch) if reordered else batch)]


def main(words: dict[str, Any]) -> dict[str, Any]:
    """One run's losses, as JSON has them."""
    reordered, learning_rate = words.pop("reordered"), words.pop("learning_rate")
    return {"losses": losses(Job(**words), reordered=reordered, learning_rate=learning_rate)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))) + "\n")
