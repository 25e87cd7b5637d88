"""`yuantune bench curve`: does a whole run follow the padded recipe's losses, as far as rounding lets any run?

Runs from the same weights over the same batches, each in its own process: transformers' Trainer with PEFT and
padding, and yuantune, both with the rows of the batches in several orders, which changes rounding alone. In
bfloat16 they part from each other step by step. What a run's rounding comes to is its distance from the padded run
of the same weights in a wider format. Two padded runs are nearer to each other than that: a row's own sums are the
same in both, and only the sums over rows differ. A process is `python -m yuantune.study.curve` with its job.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

from yuantune.data.examples import ExampleSet
from yuantune.errors import UserError, WorkFailed
from yuantune.study.bench import check_rows, in_process
from yuantune.study.emulated import bfloat16_units, needs_units
from yuantune.study.recipes import Job, examples_of, trainer_of
from yuantune.study.subjects import model_of, tokenizer_of

PADDED, OURS = "no-checkpointing", "yuantune"
WIDER = {"bfloat16": "float32", "float16": "float32", "float32": "float64"}


@dataclass(frozen=True, slots=True)
class Curves:
    """Losses of the steps, a list for each order of the rows; `exact` are of the padded run of the same weights in
    `wider`, a format that holds them.

    How far two runs are apart is the root of the mean square of the differences, as the median of all pairs:
    `padded_error` and `error` of padded runs and yuantune from `exact`, `spread` and `own_spread` within each,
    `distance` between them. `spread_most` and `distance_most` are the most of any pair. `emulated`: products of
    bfloat16 were those of float32, rounded (`yuantune.study.emulated`)."""

    model: str
    dtype: str
    wider: str
    emulated: bool
    padded: list[list[float]]
    yuantune: list[list[float]]
    exact: list[float]
    padded_error: float
    error: float
    spread: float
    spread_most: float
    own_spread: float
    distance: float
    distance_most: float


def bench_curve(
    model: str,
    data: str,
    *,
    steps: int,
    batch_size: int,
    dtype: str,
    template: str,
    orders: int = 4,
    tokenizer: str | None = None,
    learning_rate: float = 5e-5,
    note: Callable[[str], None] = lambda text: None,
) -> Curves:
    """Padded runs and yuantune's with the rows in `orders` orders, and a padded one in a wider format.

    Raises UserError for two orders or rows that are not there, a format without a wider one, data that the check
    refuses or that has fewer rows than a batch; WorkFailed where a run fails."""
    from yuantune.models.placement import dtype_name

    dtype = dtype_name(dtype, model, "cpu")
    if dtype not in WIDER:
        raise UserError(f"rounding in {dtype}: there is no wider format", hint=", ".join(WIDER))
    if orders < 2 or batch_size < 2:
        raise UserError("one order of the rows shows no rounding", hint="two orders and two rows a batch at least")
    check_rows(model, tokenizer, data, template, batch_size)

    def run(recipe: str, order: int, computed: str) -> dict[str, Any]:
        name = f"{recipe}, {computed}, order {order + 1} of {orders}"
        note(f"{model}: {name}, {steps} steps")
        job = Job(recipe, model, tokenizer, data, template, dtype, steps, batch_size)
        words = {"job": asdict(job), "computed": computed, "order": order, "learning_rate": learning_rate}
        found = in_process("yuantune.study.curve", json.dumps(words))
        if "error" in found:
            raise WorkFailed(f"{name}: {found['error']}")
        return found

    runs = {recipe: [run(recipe, order, dtype) for order in range(orders)] for recipe in (PADDED, OURS)}
    exact: list[float] = run(PADDED, 0, WIDER[dtype])["losses"]
    padded, ours = ([found["losses"] for found in runs[recipe]] for recipe in (PADDED, OURS))
    spreads = [_apart(one, other) for one, other in combinations(padded, 2)]
    distances = [_apart(one, other) for one in padded for other in ours]
    return Curves(
        model=model,
        dtype=dtype,
        wider=WIDER[dtype],
        emulated=runs[OURS][0]["emulated"],
        padded=padded,
        yuantune=ours,
        exact=exact,
        padded_error=median(_apart(exact, each) for each in padded),
        error=median(_apart(exact, each) for each in ours),
        spread=median(spreads),
        spread_most=max(spreads),
        own_spread=median(_apart(one, other) for one, other in combinations(ours, 2)),
        distance=median(distances),
        distance_most=max(distances),
    )


def _apart(one: list[float], other: list[float]) -> float:
    squares = [(a - b) ** 2 for a, b in zip(one, other, strict=True)]
    return float((sum(squares) / len(squares)) ** 0.5)


def losses(job: Job, computed: str, *, order: int, learning_rate: float) -> list[float]:
    """The loss of each step of one run without dropout, the batches' rows in the `order`-th order.

    Weights are those of `job.dtype`; what is computed is of `computed`, the same format or a wider one."""
    import torch
    from torch.utils.data import SequentialSampler
    from transformers import set_seed

    tokenizer = tokenizer_of(job.model, job.tokenizer)
    examples = examples_of(job.model, job.tokenizer, job.data, job.template)
    drawn = _rows(len(examples), job.steps, job.batch_size, order)
    rows = ExampleSet(examples[row] for row in drawn)
    set_seed(0)
    model = model_of(job.model, tokenizer, job.dtype, job.device)
    more = {"logging_strategy": "steps", "logging_steps": 1, "learning_rate": learning_rate}
    with tempfile.TemporaryDirectory() as folder, bfloat16_units(computed):
        trainer = trainer_of(job, model, tokenizer, rows, Path(folder), dropout=0.0, arguments=more)
        if computed != job.dtype:
            trainer.model.to(getattr(torch, computed))
        trainer._get_train_sampler = lambda dataset=None: SequentialSampler(trainer.train_dataset)
        trainer.train()
    return [float(line["loss"]) for line in trainer.state.log_history if "loss" in line]


def _rows(rows: int, steps: int, batch_size: int, order: int) -> list[int]:
    """Rows of all batches one after the other; of each `order` the same batches, the rows in them differently."""
    draw, turn = random.Random(0), random.Random(f"order {order}")
    drawn: list[int] = []
    while len(drawn) < steps * batch_size:
        drawn += draw.sample(range(rows), rows)
    batches = [drawn[at : at + batch_size] for at in range(0, steps * batch_size, batch_size)]
    return [row for batch in batches for row in turn.sample(batch, len(batch))]


def main(words: dict[str, Any]) -> dict[str, Any]:
    """One run's losses, as JSON has them, and whether bfloat16 was emulated."""
    found = losses(Job(**words.pop("job")), **words)
    return {"losses": found, "emulated": needs_units(words["computed"])}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))) + "\n")
