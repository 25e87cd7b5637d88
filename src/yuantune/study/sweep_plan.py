"""The trials of a sweep: combinations of options, listed or drawn, each with the whole config of its run, checked
before the first of them is trained.

Random search is Bergstra and Bengio's (2012): every option is drawn by itself.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from yuantune.config import Config, as_paths
from yuantune.config_file import build_as, option_names, read_tree
from yuantune.config_section import Section
from yuantune.errors import ConfigError, DataError, Problem, UserError, nearest
from yuantune.sweep_config import SWEPT, Places, Range, SweepConfig
from yuantune.train.folder import located_tree

DIGITS = 4
"""Significant digits of a drawn number: who reads the table types them again."""

_FIXED = {
    "output_dir": "each trial has a folder of its own in the sweep's",
    "eval.every": "trials are compared evaluation by evaluation",
    "eval.metric": "trials are ranked by one metric",
    **dict.fromkeys(("eval.rows", "data.eval", "data.split"), "trials are scored on the same rows"),
    **dict.fromkeys(
        ("train.eval_strategy", "train.eval_steps", "train.save_strategy", "train.save_steps"),
        "eval.every of the run sets it",
    ),
}
"""Options that no sweep can be over."""

METHODS = ("lora", "bottleneck", "ia3", "freeze", "prompt_tuning", "prefix_tuning", "p_tuning")
"""Sections whose options mean something under the method of their name only."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One combination. `options` are those tried that mean something in it, with their values; `config` is that of
    its run, but for its folder."""

    number: int
    options: dict[str, Any]
    config: Config

    @property
    def name(self) -> str:
        """What its folder is called."""
        return f"{self.number:03d}"

    def __str__(self) -> str:
        return ", ".join(f"{name}={shown(value)}" for name, value in self.options.items())


def shown(value: Any) -> str:
    """A value as a table has it."""
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)


def plan(config: SweepConfig, where: Places | None = None) -> tuple[list[Trial], int]:
    """The trials, and how many combinations were left out since they are the same run as another: an option of one
    method means nothing under another. Equal configs have equal trials.

    Raises ConfigError with everything that is wrong with the options tried, and with any trial's config."""
    base, places = run_tree(config, where or {})
    if problems := list(_problems(config, places)):
        raise _refused(problems)
    trees, found = [], list(_combinations(config))
    for values in found:
        tree = _copy(base)
        for name, value in values.items():
            _put(tree, name, value)
        trees.append(tree)
    configs = _checked(trees, found, places)
    trials: list[Trial] = []
    for values, each in zip(found, configs, strict=True):
        flat = {name: _get(each, name) for name in values if _means_something(name, each)}
        if all(trial.options != flat for trial in trials):
            trials.append(Trial(len(trials) + 1, flat, each))
    _check_scored(trials, places)
    return trials, len(found) - len(trials)


def run_tree(config: SweepConfig, where: Places) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """The options of the run that a sweep starts from, files and folders by their absolute paths, and the places of
    both: under their own paths those of the run, under `options` those tried."""
    places = {location[1:]: place for location, place in where.items() if location[0] == "run" and location[1:]}
    if isinstance(config.run, str):
        tree, places = read_tree(Path(config.run))
    else:
        tree = _copy(config.run)
    places |= {location: place for location, place in where.items() if location[0] != "run"}
    tree.pop("output_dir", None)
    data = tree.get("data")
    if isinstance(data, dict):
        for role in ("train", "eval"):
            if isinstance(data.get(role), str | list):
                data[role] = as_paths(data[role])
    return located_tree(tree), places


def _problems(config: SweepConfig, places: Places) -> Iterator[Problem]:
    """What is wrong with the options tried, as far as it can be told without a run's config."""
    known = list(option_names(Config))
    if not config.options:
        yield Problem(
            places.get((SWEPT,), ""), "options: nothing is tried; e.g. {train.learning_rate: [1e-4, 1e-3]}"
        )
    for name, tried in config.options.items():
        place = places.get((SWEPT, name), "")
        if name in _FIXED:
            yield Problem(place, f"{name} cannot be tried: {_FIXED[name]}")
        elif name not in known:
            section = any(each.startswith(f"{name}.") for each in known)
            what = f"{name} is a section: say which of its options" if section else f"unknown option {name}"
            yield Problem(place, what + ("" if section else _near(name, known)))
        elif not isinstance(tried, Range):
            if not tried:
                yield Problem(place, f"{name}: no values to try")
            for index, value in enumerate(tried):
                if value in tried[:index]:
                    yield Problem(place, f"{name}: {value!r} stands there twice")
    if (
        config.strategy == "random"
        and config.options
        and not any(_infinite(each) for each in config.options.values())
    ):
        there = math.prod(map(_size, config.options.values()))
        if there and (config.trials or 0) > there:
            what = (
                f"trials: {config.trials}, but there are {there} combinations; say strategy: grid for all of them"
            )
            yield Problem(places.get(("trials",), ""), what)


def _near(name: str, known: list[str]) -> str:
    by_end = nearest(name.rpartition(".")[2], [each.rpartition(".")[2] for each in known])
    return nearest(name, known) or by_end


def _infinite(tried: list[Any] | Range) -> bool:
    return isinstance(tried, Range) and not tried.int


def _size(tried: list[Any] | Range) -> int:
    return round(tried.high - tried.low) + 1 if isinstance(tried, Range) else len(tried)


def _combinations(config: SweepConfig) -> Iterator[dict[str, Any]]:
    """Every combination of a grid, or those drawn, no two alike."""
    if config.strategy == "grid":
        values = [tried for tried in config.options.values() if not isinstance(tried, Range)]
        yield from (dict(zip(config.options, each, strict=True)) for each in itertools.product(*values))
        return
    rng, seen = random.Random(config.seed), []
    for _ in range(1000 * (config.trials or 0)):
        drawn = {name: draw(tried, rng) for name, tried in config.options.items()}
        if drawn not in seen:
            seen.append(drawn)
            yield drawn
        if len(seen) == config.trials:
            return
    raise ConfigError(
        f"trials: {config.trials}, but only {len(seen)} different combinations could be drawn",
        hint="say fewer trials, or wider ranges",
    )


def draw(tried: list[Any] | Range, rng: random.Random) -> Any:
    """One of the values, or one from the range; numbers have `DIGITS` significant digits."""
    if not isinstance(tried, Range):
        return tried[rng.randrange(len(tried))]
    low, high, log = tried.low, tried.high, tried.scale == "log"
    if tried.int:  # Each number is drawn as the half steps around it.
        low, high = low - 0.5, high + 0.5
    if log:
        value = math.exp(math.log(low) + (math.log(high) - math.log(low)) * rng.random())
    else:
        value = low + (high - low) * rng.random()
    if tried.int:
        return int(min(max(round(value), tried.low), tried.high))
    return min(max(float(f"{value:.{DIGITS}g}"), tried.low), tried.high)


# ------------------------------------------------------------------------------------------------- trials' configs


def _checked(trees: list[dict[str, Any]], found: list[dict[str, Any]], places: Places) -> list[Config]:
    """The trees as configs. Raises ConfigError with what is wrong with any of them, each thing once."""
    where = dict(places)
    for name in found[0] if found else ():
        if (SWEPT, name) in places:
            where[tuple(name.split("."))] = places[(SWEPT, name)]
    configs: list[Config] = []
    wrong: dict[Problem, list[int]] = {}
    for index, tree in enumerate(trees):
        try:
            configs.append(build_as(Config, tree, where))
        except ConfigError as error:
            for problem in error.problems:
                wrong.setdefault(problem, []).append(index)
    problems = []
    for problem, trials in wrong.items():
        # What is not of one option is of a combination of them, or of the run as it is.
        own = not problem.where and len(trials) < len(trees)
        place = ", ".join(f"{name}={shown(value)}" for name, value in found[trials[0]].items())
        more = f" (and {len(trials) - 1} more)" if len(trials) > 1 else ""
        problems.append(Problem(place + more, problem.what) if own else problem)
    if problems:
        raise _refused(problems)
    return configs


def _check_scored(trials: list[Trial], places: Places) -> None:
    """Raises ConfigError where a trial would have no score, or where they would not be of the same rows."""
    problems = []
    for config in [trial.config for trial in trials]:
        every, most = config.eval.every, config.train.max_steps
        if every == "no":
            what = "eval.every: no: nothing would be scored; put `eval: {every: epoch}` into the run"
            what += "" if config.data.eval or config.data.split else ", and data.eval (or data.split)"
            problems.append(Problem(places.get(("eval", "every"), places.get(("run",), "")), what))
        elif not config.data.train:
            problems.append(Problem(places.get(("data",), ""), "data.train names no data"))
        if isinstance(every, int) and 0 < most < every:
            what = f"eval.every: {every}: a trial of train.max_steps: {most} ends before"
            problems.append(Problem(places.get(("eval", "every"), ""), what))
    seeds = {trial.config.train.seed for trial in trials}
    if len(seeds) > 1 and any(not trial.config.data.eval for trial in trials):
        what = "train.seed: data.split holds out other rows for each; give data.eval"
        problems.append(Problem(places.get((SWEPT, "train.seed"), ""), what))
    if problems:
        raise _refused(list(dict.fromkeys(problems)))


def _refused(problems: list[Problem]) -> ConfigError:
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the sweep"
    return ConfigError(
        f"{count}; nothing was trained",
        problems=problems,
        hint="`yuantune init --sweep` writes a sweep with every option and what it means, `yuantune init` a run",
    )


def _means_something(name: str, config: Config) -> bool:
    section = name.partition(".")[0]
    if name == "model.int8_products":
        return config.model.quantization == "int8"
    return section not in METHODS or section == config.method


def _get(config: Config, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    if isinstance(value, Section):
        return value.model_dump()
    if isinstance(value, list):
        return [each.model_dump() if isinstance(each, Section) else each for each in value]
    return value


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *sections, last = name.split(".")
    for part in sections:
        if not isinstance(tree.get(part), Mapping):
            tree[part] = {}
        tree = tree[part]
    tree[last] = value


def _copy(tree: Any) -> Any:
    """Mappings and sequences of a tree anew, the rest as it is."""
    if isinstance(tree, Mapping):
        return {str(key): _copy(value) for key, value in tree.items()}
    return [_copy(each) for each in tree] if isinstance(tree, list) else tree


# ------------------------------------------------------------------------------------------------------- the data


def check_data(trials: Sequence[Trial], console: Console) -> None:
    """Read and check the data of all trials, as their runs will, each set once.

    Raises the error of the first where all have the same, else ConfigError with what is wrong with which trial."""
    from yuantune.models.load import load_tokenizer
    from yuantune.train.arguments import training_arguments
    from yuantune.train.prepare import prepare_data

    seen: dict[str, UserError | None] = {}
    wrong: list[tuple[Trial, UserError]] = []
    for trial in trials:
        config = trial.config
        key = json.dumps(
            [config.data.model_dump(), config.template, config.model.name, config.model.revision, config.train.seed]
        )
        found = None
        try:
            training_arguments(config)
        except UserError as error:
            found = error
        try:
            if key not in seen:
                seen[key] = None
                tokenizer = load_tokenizer(config.model.name, revision=config.model.revision)
                data = prepare_data(config, tokenizer, console if len(seen) == 1 else Console(quiet=True))
                if not any(record.has_answer for record in data.eval_records):
                    raise DataError("no row of the evaluation data has an answer: there is nothing to score")
        except UserError as error:
            seen[key] = error
        if (found := seen[key] or found) is not None:
            wrong.append((trial, found))
    if not wrong:
        return
    if len(wrong) == len(trials) and len({str(error) for _, error in wrong}) == 1:
        raise wrong[0][1]
    problems = [Problem(str(trial), error.message) for trial, error in wrong]
    raise ConfigError(f"{len(wrong)} of {len(trials)} trials cannot be trained", problems=problems)
