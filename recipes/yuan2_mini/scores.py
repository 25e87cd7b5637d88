"""What fine-tuning makes of yuan2-mini: entity F1 before and after, by the product's own training and scoring.

Sizes, rates and seeds are chosen on a fixed tenth of the train split, whose duplicates are removed first; the dev
split is answered once a reported run."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yuantune.config import Config
from yuantune.config_file import build_as, override
from yuantune.data.convert import convert
from yuantune.data.readers import read
from yuantune.data.record import Record, row_of
from yuantune.data.split import split
from yuantune.data.template import load_template
from yuantune.data.writing import write_rows, write_text
from yuantune.errors import ConfigError
from yuantune.models.placement import computes_bfloat16
from yuantune.train.quickstart import SAMPLE, quickstart

SETTINGS = Path(__file__).with_name("scores.yaml")
TENTH = 0.1
_SPLIT_SEED = 0


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table: a fine-tuning config, the data it is for, and the seeds that it runs with."""

    name: str
    what: str
    data: str
    seeds: tuple[int, ...]
    config: dict[str, Any]


def settings(names: Sequence[str] = ()) -> list[Setting]:
    """The settings of `scores.yaml`, or those of them that are named, in the file's order.

    Raises ConfigError for a name that the file lacks."""
    rows = [
        Setting(**{**row, "seeds": tuple(row["seeds"])})
        for row in yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    ]
    if unknown := sorted(set(names) - {row.name for row in rows}):
        known = ", ".join(row.name for row in rows)
        raise ConfigError(f"no setting {', '.join(unknown)} in {SETTINGS.name}", hint=f"it has: {known}")
    return [row for row in rows if not names or row.name in names]


def chosen_on(records: Iterable[Record]) -> tuple[list[Record], list[Record]]:
    """Rows to train on and the tenth to choose on, without duplicates: a text occurs once in both together."""
    once = list({record.text: record for record in reversed(list(records))}.values())[::-1]
    return split(once, fraction=TENTH, seed=_SPLIT_SEED)


def data_files(
    data: str, resumener: Path | None, folder: Path, *, choose: bool, names: Mapping[str, str] | None = None
) -> tuple[Path, Path]:
    """Rows to train on and rows to score on: the data's own, or, to choose by, its train rows in two parts. What
    has to be written (parts, and rows whose codes get `names`, or else the template's) is written into `folder`.

    Raises ConfigError where the data is ResumeNER and `resumener` is no folder with it."""
    if data == "sample":
        train, test = Path(str(SAMPLE / "train.jsonl")), Path(str(SAMPLE / "test.jsonl"))
    elif resumener is None:
        raise ConfigError(
            "ResumeNER is needed", hint="say where: --resumener FOLDER, as `yuantune data get` makes it"
        )
    else:
        train, test = (_named(resumener / f"{part}.char.bmes", folder, names) for part in ("train", "dev"))
    if not choose:
        return train, test
    parts = folder / f"{data}-nine-tenths.jsonl", folder / f"{data}-tenth.jsonl"
    for path, records in zip(parts, chosen_on(read(train)), strict=True):
        write_rows(path, map(row_of, records))
    return parts


def _named(source: Path, folder: Path, names: Mapping[str, str] | None) -> Path:
    """The rows with names of types in place of the source's codes."""
    target = folder / f"{source.name.partition('.')[0]}.jsonl"
    convert(source, target, names=names or load_template("resume-ner").label_schema.codes, overwrite=True)
    return target


def run_setting(
    setting: Setting,
    seed: int,
    files: tuple[Path, Path],
    folder: Path,
    *,
    model: str,
    more: Sequence[str] = (),
    score_before: bool = True,
) -> dict[str, Any]:
    """Fine-tune with one seed into `folder`, answer the rows before and after, and return (and keep, as
    result.json) both scores. A folder that has a result is not run again."""
    kept = folder / "result.json"
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    config = build_as(Config, setting.config)
    config = override(
        config,
        [
            f"output_dir={json.dumps(str(folder / 'run'))}",
            f"model.name={json.dumps(model)}",
            f"data.train={json.dumps(str(files[0]))}",
            f"data.eval={json.dumps(str(files[1]))}",
            f"train.seed={seed}",
            *([] if computes_bfloat16("cpu") else ["train.bf16=false"]),
            *more,
        ],
    )
    shutil.rmtree(folder, ignore_errors=True)  # What an interrupted run left.
    started = time.monotonic()
    done = quickstart(config, score_before=score_before)
    result = {
        "name": setting.name,
        "seed": seed,
        "before": _figures(done.before),
        "after": _figures(done.after),
        "seconds": round(time.monotonic() - started),
        "set": list(more),
    }
    write_text(kept, json.dumps(result, ensure_ascii=False, indent=2) + "\n")
    return result


def table(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a setting: the median, the least and the greatest F1 of its seeds, in hundredths."""
    names = list(dict.fromkeys(result["name"] for result in results))
    rows = []
    for name in names:
        mine = [result for result in results if result["name"] == name]
        after = [100 * result["after"]["f1"] for result in mine]
        before = [100 * result["before"]["f1"] for result in mine if result["before"] is not None]
        rows.append(
            {
                "name": name,
                "seeds": [result["seed"] for result in mine],
                "before": round(statistics.median(before), 1) if before else None,
                "after": round(statistics.median(after), 1),
                "least": round(min(after), 1),
                "greatest": round(max(after), 1),
                "seconds": round(statistics.median(result["seconds"] for result in mine)),
            }
        )
    return rows


def _figures(scores: dict[str, Any] | None) -> dict[str, Any] | None:
    if scores is None:
        return None
    return {**scores["micro"], **{name: scores[name] for name in ("rows", "valid", "exact", "cut_short")}}
