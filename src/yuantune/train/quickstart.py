"""From one labelled file to a scored run in one call; the demo is the same call on the data that ships."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console

from yuantune.config import Config
from yuantune.data.labels import gold_labels
from yuantune.data.record import Prediction, Record
from yuantune.data.writing import write_lines, write_text
from yuantune.infer.extractor import Extractor, load
from yuantune.score.entities import EntityScore, score_entities
from yuantune.train.folder import check_new
from yuantune.train.run import RunResult, fine_tune, prepare_data, read_records, weights_dtype

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

    `score_before` answers them with the untrained model too: what training changed is then a figure."""
    console = console or Console(stderr=True, highlight=False, soft_wrap=True)
    check_new(Path(config.output_dir))  # Here too: scoring the untrained model takes a while.
    before = _score_base(config, console) if score_before else None
    run = fine_tune(config, console=console)
    _, held_out = read_records(config, Console(quiet=True))
    extractor = load(run.folder)
    predictions = answer_all(extractor, held_out, console)
    after = score_predictions(held_out, predictions)
    save_scores(run.folder / EVAL_FOLDER / "heldout", after, predictions)
    return QuickstartResult(run, before, after, predictions)


def _score_base(config: Config, console: Console) -> EntityScore | None:
    from yuantune.models.load import load_model, load_tokenizer

    model = config.model
    tokenizer = load_tokenizer(model.name, revision=model.revision)
    data = prepare_data(config, tokenizer, Console(quiet=True))
    base = load_model(
        model.name,
        revision=model.revision,
        dtype=weights_dtype(config),
        device_map=model.device_map,
        attn_implementation=model.attn_implementation,
    )
    extractor = Extractor(base, data.template, **config.generate.model_dump())
    return score_predictions(data.eval_records, answer_all(extractor, data.eval_records, console))


def answer_all(extractor: Extractor, records: Sequence[Record], console: Console) -> list[Prediction]:
    """Answer records under a progress bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("answering"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(records))
        predictions = []
        for prediction in extractor.predict(records):
            predictions.append(prediction)
            progress.advance(task)
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


def save_scores(folder: Path, score: EntityScore | None, predictions: Sequence[Prediction]) -> None:
    """Write `predictions.jsonl` and, where there is a score, `scores.json`."""
    rows = (json.dumps(as_row(prediction), ensure_ascii=False) + "\n" for prediction in predictions)
    write_lines(folder / "predictions.jsonl", rows)
    if score is not None:
        write_text(folder / "scores.json", json.dumps(score.to_dict(), ensure_ascii=False, indent=2) + "\n")


def as_row(prediction: Prediction) -> dict[str, Any]:
    """A prediction as one JSON object."""
    row = asdict(prediction)
    row["source"] = str(prediction.source)
    row["seconds"] = round(prediction.seconds, 4)
    return row
