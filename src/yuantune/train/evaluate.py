"""A trained run is scored on data: answers, scores, and both written into the run folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from yuantune.data.labels import LabelSchema, gold_labels
from yuantune.data.record import Labels, Prediction, Record
from yuantune.data.strict_json import parse_json
from yuantune.data.writing import write_rows, write_text
from yuantune.errors import RunError
from yuantune.infer.expected import read_expected
from yuantune.infer.extractor import Extractor
from yuantune.infer.job import as_row
from yuantune.infer.progress import Answering
from yuantune.score.compare import Evaluated
from yuantune.score.evaluation import Answered, Form, evaluate_labels, forms_of
from yuantune.score.report import ReportRow, report
from yuantune.score.text import score_text, score_tokens
from yuantune.train.folder import refuse_links
from yuantune.train.progress import LOG_FILE, read_log

EVAL_FOLDER = "eval"
SCORES_FILE = "scores.json"
PREDICTIONS_FILE = "predictions.jsonl"
REPORT_FILE = "report.html"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Records, what was answered, and the scores (None where no record has an answer to compare with)."""

    records: list[Record]
    predictions: list[Prediction]
    scores: dict[str, Any] | None
    schema: LabelSchema

    def save(self, run: Path, name: str) -> Path:
        """Write predictions, the expected answer beside each, scores, and, of labels, a report into the run's
        folder for evaluations; returns it."""
        folder = run / EVAL_FOLDER / name
        rows = (
            {**as_row(prediction), "gold": expected(record)}
            for record, prediction in zip(self.records, self.predictions, strict=True)
        )
        write_rows(folder / PREDICTIONS_FILE, rows)
        if self.scores is not None:
            write_text(folder / SCORES_FILE, json.dumps(self.scores, ensure_ascii=False, indent=2) + "\n")
            if "micro" in self.scores:
                write_text(folder / REPORT_FILE, self._report(f"{run} · {name}", read_log(run / LOG_FILE)))
        return folder

    def _report(self, title: str, log: list[dict[str, Any]]) -> str:
        rows = [
            ReportRow(str(each.source), answered, each.raw, each.finished)
            for each, answered in _labelled(self.records, self.predictions)
        ]
        language = (
            "zh" if any("\u4e00" <= char <= "\u9fff" for name in self.schema.types for char in name) else "en"
        )
        return report(title, self.scores or {}, rows, self.schema, log=log, language=language)


def check_name(run: Path, name: str) -> None:
    """Raises RunError where an evaluation of that name would not be written into the run's own folder."""
    if name in ("", ".", "..") or set(name) & {"/", "\\", "\0"}:
        raise RunError(f"{name!r} is no name for an evaluation", hint="give one without slashes: --name NAME")
    refuse_links(run, (run / EVAL_FOLDER, run / EVAL_FOLDER / name))


def evaluate(
    extractor: Extractor,
    records: Sequence[Record],
    console: Console,
    *,
    seen: set[Form] | None = None,
    free: bool = False,
) -> Evaluation:
    """Answer records and score the answers; of text, also how likely the model finds the expected ones. `seen` are
    the training data's forms (`forms_seen`); with `free`, labels are answered once more without constraint, and
    `unconstrained` says how valid those answers were."""
    started = time.monotonic()
    predictions = answer_all(extractor, records, console)
    seconds = time.monotonic() - started
    scores = scores_of(extractor, records, predictions, seen)
    if scores is not None:
        if "micro" not in scores:
            read = read_expected(extractor.model, extractor.template, records)
            scores |= score_tokens((each.tokens, each.right, each.nats) for each in read)
        tokens = sum(each.answer_tokens for each in predictions)
        scores["speed"] = {
            "rows_per_second": len(records) / seconds,
            "answer_tokens_per_second": tokens / seconds,
            "seconds": seconds,
        }
        if free and extractor.constrain and extractor.template.template.extraction:
            extractor.constrain = False
            try:
                freely = answer_all(extractor, records, console)
            finally:
                extractor.constrain = True
            theirs = scores_of(extractor, records, freely, None) or {}
            scores["unconstrained"] = {
                name: theirs[name] for name in ("micro", "valid", "schema", "grounded", "exact", "cut_short")
            }
    return Evaluation(list(records), predictions, scores, extractor.template.schema)


def scores_of(
    extractor: Extractor, records: Sequence[Record], predictions: Sequence[Prediction], seen: set[Form] | None
) -> dict[str, Any] | None:
    """Scores of predictions against their records' labels (or outputs that are labels as JSON), or against text;
    None where no record has an answer."""
    pairs = list(zip(records, predictions, strict=True))
    labelled = [each for _, each in _labelled(records, predictions)]
    answered = sum(record.has_answer for record in records)
    # Of free text one answer may look like labels.
    if labelled and 2 * len(labelled) > answered:
        scores = evaluate_labels(labelled, extractor.template.schema, seen=seen)
    elif answered:
        texts = [(str(expected(record)), prediction.raw) for record, prediction in pairs if record.has_answer]
        scores = score_text(texts).to_dict()
    else:
        return None
    scores["cut_short"] = sum(not each.finished for each in predictions)
    return scores


def _labelled(
    records: Sequence[Record], predictions: Sequence[Prediction]
) -> Iterator[tuple[Prediction, Answered]]:
    """The predictions to records that have labels, beside them."""
    for record, prediction in zip(records, predictions, strict=True):
        if (gold := gold_labels(record)) is not None:
            yield prediction, Answered(record.text, gold, prediction.labels)


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


def read_evaluation(run: Path, name: str) -> Evaluated:
    """The labels that a run answered in an evaluation.

    Raises RunError where there is none, or it cannot be read."""
    path = run / EVAL_FOLDER / name / PREDICTIONS_FILE
    try:
        lines = [parse_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
        rows = {
            line["source"]: Answered(line["text"], line["gold"], line["labels"])
            for line in lines
            if isinstance(line["gold"], dict)
        }
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}", hint="`yuantune eval RUN --data FILE`") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged", hint="`yuantune eval RUN --data FILE` makes it anew") from error
    if not rows:
        raise RunError(f"{path} holds no labels to compare")
    return Evaluated(str(run), rows)


def forms_seen(run: Path) -> set[Form]:
    """The (type, string) pairs of a run's training data. Raises UserError where it cannot be read any more."""
    from yuantune.config import Config
    from yuantune.train.combine import parts_of
    from yuantune.train.folder import config_of
    from yuantune.train.prepare import read_records

    configs = [config_of(part, Config) for part in parts_of(run)]
    records = (record for each in configs for record in read_records(each, Console(quiet=True))[0])
    return forms_of(gold for record in records if (gold := gold_labels(record)) is not None)


def expected(record: Record) -> Labels | str | None:
    """The answer that a record has: its labels, or its text."""
    if (labels := gold_labels(record)) is not None:
        return labels
    answers = [message.content for message in record.messages if message.role == "assistant"]
    return answers[-1] if answers else record.output
