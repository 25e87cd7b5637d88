"""From one labelled file to a scored run in one call; the demo is the same call on the data that ships."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from yuantune.config import Config
from yuantune.data.labels import gold_labels
from yuantune.data.record import Labels, Prediction, Record, row_of
from yuantune.data.writing import write_rows, write_text
from yuantune.errors import Interrupted
from yuantune.infer.extractor import Extractor, load
from yuantune.infer.job import as_row
from yuantune.infer.progress import Answering
from yuantune.score.entities import EntityScore, score_entities
from yuantune.train.run import Prepared, RunResult, run_prepared

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SAMPLE = resources.files("yuantune.resources") / "resumes"
TUTORIAL_TEXT = "张三,汉族,金融学硕士。"
"""The question with which the tutorial ends."""

EVAL_FOLDER = "eval"


@dataclass(frozen=True, slots=True)
class QuickstartResult:
    """A run, its score on the held-out rows (None for free-text tasks), and the score before training."""

    run: RunResult
    before: EntityScore | None
    after: EntityScore | None
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
                "learning_rate": 3e-3,
                "num_train_epochs": 3,
                "lr_scheduler_type": "cosine",
                "warmup_steps": 0.05,
                "eval_strategy": "no",
                "save_total_limit": 1,
                "logging_steps": 5,
            },
            "generate": {"max_new_tokens": 160, "batch_size": 40},
        }
    )


def quickstart(config: Config, *, score_before: bool = False, console: Console | None = None) -> QuickstartResult:
    """Train by `config`, answer its evaluation rows and score them; all is written into the run folder.

    `score_before` answers them with the untrained model too: what training changed is then a figure. Ctrl-C while
    the trained model answers raises Interrupted: the run stands, and the held-out rows lie in it to be answered."""
    console = console or Console(stderr=True, highlight=False, soft_wrap=True)
    scores: list[EntityScore | None] = []

    def score_untrained(model: PreTrainedModel, data: Prepared) -> None:
        untrained = Extractor(model, data.template, **config.generate.model_dump())
        scores.append(score_predictions(data.eval_records, answer_all(untrained, data.eval_records, console)))

    run, data = run_prepared(config, console=console, before=score_untrained if score_before else None)
    held_out, folder = data.eval_records, run.folder / EVAL_FOLDER / "heldout"
    try:
        predictions = answer_all(load(run.folder), held_out, console)
    except KeyboardInterrupt:
        rows = folder / "rows.jsonl"
        write_rows(rows, map(row_of, held_out))
        command = f"yuantune generate {shlex.quote(str(run.folder))} --input {shlex.quote(str(rows))}"
        raise Interrupted(
            f"stopped by Ctrl-C while the held-out rows were answered; the run itself is finished: {run.folder}",
            signal_number=signal.SIGINT,
            hint=f"`{command} --output answers.jsonl` answers them and prints the scores",
        ) from None
    after = score_predictions(held_out, predictions)
    save_scores(folder, after, held_out, predictions)
    return QuickstartResult(run, scores[0] if scores else None, after, predictions)


def answer_all(
    extractor: Extractor,
    records: Sequence[Record],
    console: Console,
    *,
    on_answer: Callable[[Prediction], None] | None = None,
) -> list[Prediction]:
    """Answer records under a progress bar, in their order; `on_answer` gets each as soon as it is there. How many
    answers were cut short is said behind it."""
    with Answering(console, len(records)) as progress:

        def advance(prediction: Prediction) -> None:
            if on_answer is not None:
                on_answer(prediction)
            progress.advance()

        predictions = list(extractor.predict(records, on_answer=advance))
    if cut := sum(not prediction.finished for prediction in predictions):
        which = f"{cut} of {len(predictions)} answers were" if len(predictions) > 1 else "the answer was"
        console.print(
            f"note: {which} cut short at {extractor.max_new_tokens} tokens (max_new_tokens), before the end",
            markup=False,
        )
    return predictions


def score_predictions(records: Sequence[Record], predictions: Sequence[Prediction]) -> EntityScore | None:
    """Entity scores of predictions against their records' labels, or outputs that are labels as JSON; None where
    most answers are neither: free text, of which one may look like labels."""
    pairs = [
        (gold, prediction.labels)
        for record, prediction in zip(records, predictions, strict=True)
        if (gold := gold_labels(record)) is not None
    ]
    return score_entities(pairs) if 2 * len(pairs) > sum(record.has_answer for record in records) else None


def save_scores(
    folder: Path, score: EntityScore | None, records: Sequence[Record], predictions: Sequence[Prediction]
) -> None:
    """Write `predictions.jsonl`, the expected answer beside each, and, where there is a score, `scores.json`."""
    rows = (
        {**as_row(prediction), "gold": _expected(record)}
        for record, prediction in zip(records, predictions, strict=True)
    )
    write_rows(folder / "predictions.jsonl", rows)
    if score is not None:
        write_text(folder / "scores.json", json.dumps(score.to_dict(), ensure_ascii=False, indent=2) + "\n")


def _expected(record: Record) -> Labels | str | None:
    """The answer that a record has: its labels, or its text."""
    if (labels := gold_labels(record)) is not None:
        return labels
    answers = [message.content for message in record.messages if message.role == "assistant"]
    return answers[-1] if answers else record.output
