"""Every method on the same rows: what it trains, what it costs, and what F1 it reaches.

A method's learning rate is chosen by a sweep of its own, as long for each, on a fixed tenth of ResumeNER's train
rows. With it, it then learns from the first rows of the train split with several seeds, some methods from all of
it; the dev rows are answered once a run. Each of these runs is a process of its own, `python -m
recipes.yuan2_mini.methods JOB`, so that its peak memory is its own. What is done is not done again."""

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
    methods: tuple[Measured, ...]


def study(names: Sequence[str] = ()) -> Study:
    """The file, with all methods or those that are named. Raises ConfigError for a name that it lacks."""
    tree = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    methods = [Measured(**{**each, "rates": tuple(each["rates"])}) for each in tree.pop("methods")]
    if unknown := sorted(set(names) - {each.name for each in methods}):
        known = ", ".join(each.name for each in methods)
        raise ConfigError(f"no method {', '.join(unknown)} in {SETTINGS.name}", hint=f"it has: {known}")
    return Study(methods=tuple(each for each in methods if not names or each.name in names), **tree)


def measure(
    study: Study, resumener: Path | None, folder: Path, note: Callable[[str], None], *, whole: bool = True
) -> list[dict[str, Any]]:
    """Choose each method's rate, train with it, and give one result a run; all of it is kept in `folder`. Without
    `whole`, on the first rows of the train split alone.

    Raises WorkFailed where a run fails."""
    folder.mkdir(parents=True, exist_ok=True)
    train, dev = data_files("resumener", resumener, folder, choose=False)
    parts = data_files("resumener", resumener, folder, choose=True)
    rates = {}
    for method in study.methods:
        note(f"{method.what}: which learning rate")
        rates[method.name] = chosen_rate(study, method, parts, folder / RATES / method.name)
    jobs = [
        (method, "few", seed, {"data": {"limit": study.few["rows"]}})
        for method in study.methods
        for seed in study.few["seeds"]
    ]
    jobs += [(method, "whole", 0, {"train": study.whole}) for method in study.methods if method.whole and whole]
    results = []
    for method, rows, seed, more in jobs:
        place, rate = folder / RUNS / f"{method.name}-{rows}-{seed}", rates[method.name]
        tree = config_of(study, method, rate, seed, {"train": str(train), "eval": str(dev)}, more)
        if not (place / RESULT).is_file():
            note(f"{method.what}: {rows} rows, seed {seed}, learning rate {rate:g}")
            done = in_process("recipes.yuan2_mini.methods", json.dumps({"folder": str(place), "config": tree}))
            if "error" in done:
                raise WorkFailed(f"{method.what}, {rows} rows, seed {seed}: {done['error']}")
            found = {"rows": rows, "seed": seed, "rate": rate, **done}
            write_text(place / RESULT, json.dumps({**found, "config": tree}) + "\n")
        kept = json.loads((place / RESULT).read_text(encoding="utf-8"))
        if kept.pop("config") != tree:
            raise ConfigError(f"{place} holds a run of other options", hint="remove it: it is then run anew")
        results.append({"name": method.name, "what": method.what, **kept})
    return results


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


def chosen_rate(study: Study, method: Measured, parts: tuple[Path, Path], folder: Path) -> float:
    """The rate with the best F1 on the tenth, after as many rows and epochs as the table's runs have."""
    from yuantune.study.sweep import sweep
    from yuantune.sweep_config import SweepConfig

    limit = {"data": {"limit": study.few["rows"]}}
    tree = config_of(study, method, method.rates[0], 0, {"train": str(parts[0]), "eval": str(parts[1])}, limit)
    train = build_as(Config, tree).train
    steps = math.ceil(study.few["rows"] / train.per_device_train_batch_size) * train.num_train_epochs
    tree["eval"] = {"every": round(steps), "rows": CHOSEN_ON}
    options = {"train.learning_rate": list(method.rates)}
    config = build_as(SweepConfig, {"output_dir": str(folder), "run": tree, "options": options})
    best = sweep(config, resume=folder.is_dir()).standings[0]
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

    from yuantune.infer.extractor import load
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
