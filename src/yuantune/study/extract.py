"""`yuantune bench extract`: ways to answer the same rows with the same weights, each in its own process, in turn.

A trained run answers as it has learnt. A shape with random weights would write nonsense of any length: there the
gold answer's next token is made the likeliest after each real forward pass, in every engine alike, so that lengths
are real and a pass is spared only where the form leaves one way on. A process is `python -m yuantune.study.extract`
with its job.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from yuantune.data.record import Prediction, Record
from yuantune.errors import UserError, nearest
from yuantune.study.bench import in_process
from yuantune.study.recipes import peak_bytes

if TYPE_CHECKING:
    from yuantune.infer.extractor import Extractor
    from yuantune.infer.question import Edit

ENGINES = {
    "generate": "transformers' generate, rows sorted by length, the best of the batch sizes",
    "free": "yuantune's engine",
    "held": "yuantune's engine, held to the labels' JSON and to the text",
}
WARM_UP = 4
"""Rows that are answered before the clock starts."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one process measures; `model` is a run folder, or a shape (`yuantune.study.subjects`)."""

    engine: str
    model: str
    tokenizer: str | None
    data: str
    template: str
    dtype: str
    rows: int
    batch_size: int
    max_new_tokens: int

    def to_json(self) -> str:
        """As `main` reads it."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Line:
    """One engine's figures with one model: medians over rounds. `ratio` is its rows/s over the first engine's, the
    median of the ratios round by round; `valid`, `schema` and `grounded` are shares of rows; `peak_extra_bytes` is
    what the process held beyond the loaded model. A failure has its message in `error` and no figures."""

    engine: str
    model: str
    dtype: str
    batch_size: int = 0
    rows_per_second: float = 0.0
    ratio: float = 0.0
    f1: float = 0.0
    valid: float = 0.0
    schema: float = 0.0
    grounded: float = 0.0
    peak_extra_bytes: int = 0
    error: str = ""


def bench_extract(
    model: str,
    data: str,
    *,
    engines: Sequence[str],
    rows: int,
    rounds: int,
    batch_sizes: Sequence[int],
    dtype: str = "float32",
    template: str = "resume-ner",
    tokenizer: str | None = None,
    max_new_tokens: int = 256,
    note: Callable[[str], None] = lambda text: None,
) -> list[Line]:
    """Time `rows` rows with each engine in each of `rounds` rounds; each engine at its best of `batch_sizes`.

    Raises UserError for an unknown engine, and for data that cannot be read or has no labels."""
    for name in engines:
        if name not in ENGINES:
            raise UserError(f"unknown engine {name}{nearest(name, ENGINES)}", hint=", ".join(ENGINES))
    _labelled(data, rows)
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {
        (name, size): [] for name in engines for size in batch_sizes
    }
    for turn in range(rounds):
        for name, size in runs:
            note(f"{model}, round {turn + 1}/{rounds}: {name}, {size} rows at once")
            job = Job(name, model, tokenizer, data, template, dtype, rows, size, max_new_tokens)
            runs[name, size].append(in_process("yuantune.study.extract", job.to_json()))
    best = {name: max(batch_sizes, key=lambda size: _rate(runs[name, size])) for name in engines}
    base = runs[engines[0], best[engines[0]]]
    return [_line(name, model, dtype, best[name], runs[name, best[name]], base) for name in engines]


def _rate(runs: Sequence[dict[str, Any]]) -> float:
    return 0.0 if any("error" in run for run in runs) else median(run["rows"] / run["seconds"] for run in runs)


def _line(
    name: str, model: str, dtype: str, size: int, runs: list[dict[str, Any]], base: list[dict[str, Any]]
) -> Line:
    failed = [run["error"] for run in runs if "error" in run]
    if failed:
        return Line(name, model, dtype, size, error=failed[0])
    pairs = [one["seconds"] / run["seconds"] for run, one in zip(runs, base, strict=True) if "error" not in one]
    return Line(
        engine=name,
        model=model,
        dtype=dtype,
        batch_size=size,
        rows_per_second=_rate(runs),
        ratio=median(pairs) if pairs else 0.0,
        peak_extra_bytes=int(median(run["peak_extra_bytes"] for run in runs)),
        **{figure: runs[0][figure] for figure in ("f1", "valid", "schema", "grounded")},
    )


def _labelled(data: str, count: int) -> list[Record]:
    from itertools import islice

    from yuantune.data.readers import read

    records = [record for record in islice(read(data), count) if record.labels is not None]
    if not records:
        raise UserError(f"{data} holds no rows with labels")
    return records


def measure(job: Job) -> dict[str, Any]:
    """Answer the rows with one engine, and score the answers."""
    from yuantune.score.evaluation import Answered, evaluate_labels

    records = _labelled(job.data, job.rows)
    extractor, random = _extractor(job)
    extractor.set(
        batch_size=job.batch_size,
        max_new_tokens=job.max_new_tokens,
        slots=job.engine != "generate",
        constrain=job.engine == "held",
    )
    _answer(extractor, records[:WARM_UP], random)
    held = _resident()
    started = time.perf_counter()
    predictions = _answer(extractor, records, random)
    seconds = time.perf_counter() - started
    answered = [
        Answered(record.text, record.labels or {}, prediction.labels)
        for record, prediction in zip(records, predictions, strict=True)
    ]
    scores = evaluate_labels(answered, extractor.template.schema)
    return {
        "rows": len(records),
        "seconds": seconds,
        "f1": scores["micro"]["f1"],
        **{name: scores[name] for name in ("valid", "schema", "grounded")},
        "peak_extra_bytes": max(peak_bytes() - held, 0),
    }


def _extractor(job: Job) -> tuple[Extractor, bool]:
    """What answers, and whether its weights are random."""
    from yuantune.data.template import load_template
    from yuantune.infer.extractor import Extractor
    from yuantune.infer.opening import load
    from yuantune.study.subjects import SHAPES, model_of, tokenizer_of

    if job.model not in SHAPES:
        return load(Path(job.model), device_map="cpu", dtype=job.dtype), False
    tokenizer = tokenizer_of(job.model, job.tokenizer)
    model = model_of(job.model, tokenizer, job.dtype, "cpu")
    return Extractor(model, load_template(job.template).bind(tokenizer)), True


def _answer(extractor: Extractor, records: Sequence[Record], random: bool) -> list[Prediction]:
    return list(extractor.predict(records, chunk=len(records), edit=_gold(extractor, records) if random else None))


def _gold(extractor: Extractor, records: Sequence[Record]) -> Edit:
    """Makes the gold answer's next token the likeliest."""
    template = extractor.template
    scripts = [[*template.answer_ids(template.answer(record) or ""), template.end_id] for record in records]

    def edit(index: int, written: int, logits_V: Any) -> None:
        script = scripts[index]
        logits_V[script[min(written, len(script) - 1)]] = logits_V.max() + 1

    return edit


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(Job(**json.loads(sys.argv[1])))) + "\n")
