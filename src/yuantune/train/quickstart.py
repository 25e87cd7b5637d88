"""From one labelled file to a scored run in one call; the demo is the same call on the data that ships."""

from __future__ import annotations

import shlex
import signal
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from rich.console import Console

from yuantune.config import Config
from yuantune.data.record import Prediction, row_of
from yuantune.data.writing import write_rows
from yuantune.errors import Interrupted
from yuantune.infer.extractor import Extractor
from yuantune.infer.opening import load
from yuantune.train.evaluate import EVAL_FOLDER, evaluate
from yuantune.train.prepare import Prepared
from yuantune.train.run import RunResult, run_prepared

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SAMPLE = resources.files("yuantune.resources") / "resumes"
TUTORIAL_TEXT = "张三,汉族,金融学硕士。"
"""The question with which the tutorial ends."""
HELD_OUT = "heldout"


@dataclass(frozen=True, slots=True)
class QuickstartResult:
    """A run, its scores on the held-out rows (`scores.json`), and those before training, where they were asked
    for."""

    run: RunResult
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    predictions: list[Prediction]


def demo_config(output_dir: str) -> Config:
    """The demo: LoRA on `yuan2-mini` with the sample résumés and the tutorial's prompt."""
    return Config.model_validate(
        {
            "output_dir": output_dir,
            "template": "resume-ner",
            "model": {"name": "yuan2-mini"},
            "data": {"train": str(SAMPLE / "train.jsonl"), "eval": str(SAMPLE / "test.jsonl")},
            "train": {
                "learning_rate": 5e-4,
                "num_train_epochs": 3,
                "lr_scheduler_type": "cosine",
                "warmup_steps": 0.05,
                "eval_strategy": "no",
                "save_total_limit": 1,
                "logging_steps": 5,
            },
            "generate": {"max_new_tokens": 256, "batch_size": 40},
        }
    )


def quickstart(config: Config, *, score_before: bool = False, console: Console | None = None) -> QuickstartResult:
    """Train by `config`, answer its evaluation rows and score them; all is written into the run folder.

    `score_before` answers them with the untrained model too: what training changed is then a figure. Ctrl-C while
    the trained model answers raises Interrupted: the run stands, and the held-out rows lie in it to be answered."""
    console = console or Console(stderr=True, highlight=False, soft_wrap=True)
    scores: list[dict[str, Any] | None] = []

    def score_untrained(model: PreTrainedModel, data: Prepared) -> None:
        untrained = Extractor(model, data.template, **config.generate.model_dump())
        scores.append(evaluate(untrained, data.eval_records, console).scores)

    run, data = run_prepared(config, console=console, before=score_untrained if score_before else None)
    held_out = data.eval_records
    try:
        evaluation = evaluate(load(run.folder), held_out, console)
    except KeyboardInterrupt:
        rows = run.folder / EVAL_FOLDER / HELD_OUT / "rows.jsonl"
        write_rows(rows, map(row_of, held_out))
        command = f"yuantune generate {shlex.quote(str(run.folder))} --input {shlex.quote(str(rows))}"
        raise Interrupted(
            f"stopped by Ctrl-C while the held-out rows were answered; the run itself is finished: {run.folder}",
            signal_number=signal.SIGINT,
            hint=f"`{command} --output answers.jsonl` answers them and prints the scores",
        ) from None
    evaluation.save(run.folder, HELD_OUT)
    return QuickstartResult(run, scores[0] if scores else None, evaluation.scores, evaluation.predictions)
