"""Every method on the same rows: what it trains, what it costs, and what F1 it reaches.

A method's learning rate is chosen by a sweep of its own, as long for each, on a fixed tenth of ResumeNER's train
rows. With it, it then learns from the first rows of the train split with several seeds, some methods from all of
it; and, with a rate chosen anew, from the same first rows under names of types that say nothing (`new`). The dev
rows are answered once a run. Each of these runs is a process of its own, `python -m recipes.yuan2_mini.methods
JOB`, so that its peak memory is its own. What is done is not done again."""

from __future__ import annotations

import copy
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from recipes.yuan2_mini.scores import data_files
from transformers import TrainerCallback

from yuantune.config import Config
from yuantune.config_file import build_as
from yuantune.data.writing import write_text
from yuantune.errors import ConfigError, WorkFailed
from yuantune.study.bench import in_process

SETTINGS = Path(__file__).with_name("methods.yaml")
RATES, RUNS, RESULT = "rates", "runs", "result.json"
ROWS = ("few", "whole", "new")
CHOSEN_ON = 120
"""Rows of the tenth that a rate is chosen on."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One method of the table."""

    name: str
    what: str
    rates: tuple[float, ...]
    config: dict[str, Any]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Study:
    """`methods.yaml`: what every run has in common, and the methods."""

    common: dict[str, Any]
    few: dict[str, Any]
    whole: dict[str, Any]
    new: dict[str, Any]
    methods: tuple[Measured, ...]


def study(names: Sequence[str] = ()) -> Study:
    """The file, with all methods or those that are named. Raises ConfigError for a name that it lacks."""
    tree = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    methods = [Measured(**{**each, "rates": tuple(each["rates"])}) for each in tree.pop("methods")]
    if unknown := sorted(set(names) - {each.name for each in methods}):
        known = ", ".join(each.name for each in methods)
        raise ConfigError(f"no method {', '.join(unknown)} in {SETTINGS.name}", hint=f"it has: {known}")
    return Study(methods=tuple(each for each in methods if not names or each.name in names), **tree)


@dataclass(frozen=True, slots=True)
class Rows:
    """What methods learn from: `parts` of the train rows, to choose a rate by under the options `limit`, and the
    `files` of the runs, which have the options `more`."""

    name: str
    seeds: tuple[int, ...]
    parts: tuple[Path, Path]
    files: tuple[Path, Path]
    limit: dict[str, Any]
    more: dict[str, Any]
    rates: str
    """Where sweeps lie: rows that share them share the rates, too."""
    faster: float = 1.0
    """How many times as high a method's rates are."""

    @property
    def data(self) -> dict[str, str]:
        """The files, as a config names them."""
        return {"train": str(self.files[0]), "eval": str(self.files[1])}


def rows_of(study: Study, resumener: Path | None, folder: Path) -> dict[str, Rows]:
    """The rows by their names, written into `folder`."""
    renamed = folder / "new"
    renamed.mkdir(parents=True, exist_ok=True)
    names: dict[str, str] = study.new["names"]
    parts = data_files("resumener", resumener, folder, choose=True)
    files = data_files("resumener", resumener, folder, choose=False)
    new_parts = data_files("resumener", resumener, renamed, choose=True, names=names)
    new_files = data_files("resumener", resumener, renamed, choose=False, names=names)
    first: dict[str, Any] = {"data": {"limit": study.few["rows"]}}
    new: dict[str, Any] = {"data": {"limit": study.new["rows"]}, "template": study.new["template"]}
    seeds, new_seeds = tuple(study.few["seeds"]), tuple(study.new["seeds"])
    return {
        "few": Rows("few", seeds, parts, files, first, first, RATES),
        "whole": Rows("whole", (0,), parts, files, first, {"train": study.whole}, RATES),
        "new": Rows("new", new_seeds, new_parts, new_files, new, new, f"{RATES}-new", study.new["rates"]),
    }


def measure(
    study: Study,
    resumener: Path | None,
    folder: Path,
    note: Callable[[str], None],
    *,
    rows: Sequence[str] = ROWS,
) -> list[dict[str, Any]]:
    """Choose each method's rate, train with it, and give one result a run; all of it is kept in `folder`.

    Raises WorkFailed where a run fails, ConfigError for `rows` of another name."""
    if unknown := [name for name in rows if name not in ROWS]:
        raise ConfigError(f"no rows {', '.join(unknown)}", hint=f"there are: {', '.join(ROWS)}")
    folder.mkdir(parents=True, exist_ok=True)
    known = rows_of(study, resumener, folder)
    results = []
    rates: dict[tuple[str, str], float] = {}
    for each in (known[name] for name in rows):
        for method in study.methods:
            if each.name != "whole" or method.whole:
                swept = (each.rates, method.name)
                if swept not in rates:
                    rates[swept] = chosen_rate(study, method, each, folder, note)
                results += [_result(study, method, each, rates[swept], seed, folder, note) for seed in each.seeds]
    return results


def _result(
    study: Study, method: Measured, rows: Rows, rate: float, seed: int, folder: Path, note: Callable[[str], None]
) -> dict[str, Any]:
    """Of one run; it is kept beside it, and not run again."""
    place = folder / RUNS / f"{method.name}-{rows.name}-{seed}"
    tree = config_of(study, method, rate, seed, rows.data, rows.more)
    if not (place / RESULT).is_file():
        note(f"{method.what}: {rows.name} rows, seed {seed}, learning rate {rate:g}")
        done = in_process("recipes.yuan2_mini.methods", json.dumps({"folder": str(place), "config": tree}))
        if "error" in done:
            raise WorkFailed(f"{method.what}, {rows.name} rows, seed {seed}: {done['error']}")
        found = {"rows": rows.name, "seed": seed, "rate": rate, **done}
        write_text(place / RESULT, json.dumps({**found, "config": tree}) + "\n")
    kept = json.loads((place / RESULT).read_text(encoding="utf-8"))
    if kept.pop("config") != tree:
        raise ConfigError(f"{place} holds a run of other options", hint="remove it: it is then run anew")
    return {"name": method.name, "what": method.what, **kept}


def config_of(
    study: Study, method: Measured, rate: float, seed: int, data: dict[str, str], more: dict[str, Any]
) -> dict[str, Any]:
    """A run's options, as `yuantune train` reads them."""
    tree: dict[str, Any] = {}
    train = {"learning_rate": rate, "seed": seed}
    for each in (study.common, method.config, {"data": data, "train": train}, more):
        _put(tree, each)
    return tree


def _put(tree: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(tree.get(name), dict):
            _put(tree[name], value)
        else:
            tree[name] = copy.deepcopy(value)


def chosen_rate(study: Study, method: Measured, rows: Rows, folder: Path, note: Callable[[str], None]) -> float:
    """The rate with the best F1 on the tenth, after as many rows and epochs as the table's runs have."""
    from yuantune.study.sweep import sweep
    from yuantune.sweep_config import SweepConfig

    note(f"{method.what}: which learning rate, {rows.name} rows")
    place, rates = folder / rows.rates / method.name, [rows.faster * rate for rate in method.rates]
    parts = {"train": str(rows.parts[0]), "eval": str(rows.parts[1])}
    tree = config_of(study, method, rates[0], 0, parts, rows.limit)
    config = build_as(Config, tree)
    steps = math.ceil((config.data.limit or 0) / config.train.per_device_train_batch_size)
    tree["eval"] = {"every": round(steps * config.train.num_train_epochs), "rows": CHOSEN_ON}
    options = {"train.learning_rate": rates}
    swept = build_as(SweepConfig, {"output_dir": str(place), "run": tree, "options": options})
    best = sweep(swept, resume=place.is_dir()).standings[0]
    return float(best.options["train.learning_rate"])


def table(results: Sequence[dict[str, Any]], rows: str) -> list[dict[str, Any]]:
    """One line a method that has learnt from `rows`, the best first: the seed with the median F1 and its interval,
    and the least and the greatest F1, in hundredths."""
    lines = []
    for name in dict.fromkeys(each["name"] for each in results):
        mine = sorted(
            (each for each in results if each["name"] == name and each["rows"] == rows), key=lambda each: each["f1"]
        )
        if not mine:
            continue
        middle = mine[(len(mine) - 1) // 2]
        low, high = middle["interval"]
        lines.append(
            {
                "method": middle["what"],
                "learning rate": f"{middle['rate']:g}",
                "trainable": f"{middle['trainable']:,}",
                "share": f"{100 * middle['trainable'] / middle['parameters']:.2f} %",
                "on the disk": f"{middle['bytes'] / 1e6:.2f} MB",
                "s/step": f"{statistics.median(each['seconds_per_step'] for each in mine):.2f}",
                "peak memory": f"{statistics.median(each['peak_bytes'] for each in mine) / 2**30:.2f} GiB",
                "F1": f"{100 * middle['f1']:.1f}",
                "95 %": f"{100 * low:.1f} to {100 * high:.1f}",
                "seeds": " / ".join(f"{100 * each['f1']:.1f}" for each in mine),
            }
        )
    return sorted(lines, key=lambda line: -float(line["F1"]))


def markdown(lines: Sequence[dict[str, Any]]) -> str:
    """The table, to paste."""
    names = list(lines[0])
    head = [" | ".join(names), " | ".join("---" for _ in names)]
    return "\n".join(f"| {row} |" for row in head + [" | ".join(line.values()) for line in lines])


class _Clock(TrainerCallback):  # type: ignore[misc]  # transformers gives it no types.
    """How long each step takes."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self._began = 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start the watch."""
        self._began = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop it."""
        self.steps.append(time.perf_counter() - self._began)


def train_and_score(job: dict[str, Any]) -> dict[str, Any]:
    """One run of the table, in this process."""
    import shutil

    from rich.console import Console

    from yuantune.infer.opening import load
    from yuantune.methods import METHODS, trainable_parameters
    from yuantune.study.recipes import peak_bytes
    from yuantune.train.evaluate import evaluate
    from yuantune.train.run import run_prepared

    folder = Path(job["folder"])
    shutil.rmtree(folder, ignore_errors=True)  # What an interrupted run left.
    config = build_as(Config, {**job["config"], "output_dir": str(folder / "run")})
    console, clock = Console(quiet=True), _Clock()
    counted: dict[str, int] = {}

    class Count(TrainerCallback):  # type: ignore[misc]
        """What is trained."""

        def on_train_begin(self, *args: Any, model: Any = None, **kwargs: Any) -> None:
            counted["trainable"], counted["parameters"] = trainable_parameters(model)

    run, data = run_prepared(config, console=console, callbacks=[clock, Count()])
    peak = peak_bytes()
    place = run.folder / METHODS[config.method].FOLDER
    written = sum(file.stat().st_size for file in place.glob("*.safetensors"))
    scores = evaluate(load(run.folder), data.eval_records, console).scores
    assert scores is not None  # The rows have labels.
    return {
        **counted,
        "bytes": written,
        "seconds_per_step": statistics.median(clock.steps),
        "peak_bytes": peak,
        "f1": scores["micro"]["f1"],
        "interval": scores["micro"]["interval"],
        "valid": scores["valid"],
    }


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(train_and_score(json.loads(sys.argv[1]))) + "\n")
