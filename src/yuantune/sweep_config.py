"""Every option of a sweep, declared once and documented at its field; and how a sweep file is read: what it says of
the run that it starts from, be that a file of its own, stands in it as the run's own options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from yuantune.config import Config, RunConfig
from yuantune.config_file import apply_setting, build_as, option_names, read_tree
from yuantune.config_section import Section
from yuantune.errors import ConfigError

Places = Mapping[tuple[str, ...], str]
"""For an option's path, the place to name in an error: `file:line`, or a setting."""

SWEPT = "options"
"""The section with the options that are tried; their names have dots themselves."""


class Range(Section):
    """Values between two bounds, to draw from."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    scale: Literal["linear", "log"] = "linear"
    """Drawn evenly between the bounds, or between their logarithms."""
    int: bool = False
    """Whole numbers only."""

    @model_validator(mode="after")
    def _bounds(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low: {self.low:g} is not below high: {self.high:g}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"scale: log needs low above 0, not {self.low:g}")
        if self.int and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError("int: true needs whole numbers as low and high")
        return self


class HalvingSection(Section):
    """Successive halving (Jamieson and Talwalkar 2016; Li et al. 2018): all trials train up to a first rung, the
    best of them go on to the next, and so on."""

    factor: int | None = Field(default=None, gt=1)
    """One in so many trials goes on at each rung, which is so many times as far as the one before; null: every
    trial trains to its end."""
    first: int = Field(default=1, gt=0)
    """The first rung, in evaluations of a trial (eval.every of the run)."""

    @model_validator(mode="after")
    def _used(self) -> HalvingSection:
        if self.factor is None and self.first != 1:
            raise ValueError("halving.first means nothing without halving.factor, e.g. 3")
        return self


def _kind(value: Any) -> str:
    return "range" if isinstance(value, Mapping | Range) else "values"


Tried = Annotated[
    Annotated[list[Any], Tag("values")] | Annotated[Range, Tag("range")],
    Discriminator(_kind),
]


def dotted(tree: Any) -> Any:
    """Options in sections as options with dotted names: `{train: {seed: [1, 2]}}` is `{train.seed: [1, 2]}`. Raises
    ValueError for an option that is there in both ways."""
    if not isinstance(tree, Mapping):
        return tree
    known = set(option_names(Config))
    flat: dict[str, Any] = {}

    def put(branch: Mapping[Any, Any], prefix: str) -> None:
        for key, value in branch.items():
            name = f"{prefix}{key}"
            inside = (
                isinstance(value, Mapping) and name not in known and any(n.startswith(f"{name}.") for n in known)
            )
            if inside:
                put(value, f"{name}.")
            elif name in flat:
                raise ValueError(f"{name} stands there twice")
            else:
                flat[name] = value

    put(tree, "")
    return flat


class SweepConfig(RunConfig):
    """A sweep: runs that differ in some options, scored on the same rows."""

    init: ClassVar[str] = "yuantune init --sweep"

    output_dir: str = "sweeps/latest"
    """The sweep's folder, made by `yuantune sweep`; it must not exist yet. Each trial is a run folder in it."""
    run: str | dict[str, Any] = Field(default_factory=dict)
    """The run that every trial is but for the options tried: a config file of `yuantune train`, or its options,
    right here. It needs evaluation data, and eval.every: a trial's score is its best evaluation, by the run's
    eval.metric. Its output_dir does not count."""
    options: Annotated[dict[str, Tried], BeforeValidator(dotted)] = Field(default_factory=dict)
    """What is tried: for each option of a run a list of values, or (strategy: random) a range {low: 1.0e-5, high:
    1.0e-2, scale: log}; scale: linear is the default, int: true draws whole numbers."""
    strategy: Literal["grid", "random"] = "grid"
    """grid: every combination of the values; random: so many combinations, drawn."""
    trials: int | None = Field(default=None, gt=0)
    """Combinations that random draws, no two alike."""
    seed: int = Field(default=42, ge=0)
    """Seed of what random draws. (A run's own is train.seed.)"""
    halving: Annotated[
        HalvingSection, BeforeValidator(lambda value: {} if value in (False, "no", "none") else value)
    ] = Field(default_factory=HalvingSection)
    keep: Literal["best", "all"] = "best"
    """Whose weights stay on the disk. best: those of the best trial; of the others, config, log and picture.
    (Unless the run says otherwise, train.save_total_limit is 1 then.)"""

    @model_validator(mode="after")
    def _drawn(self) -> SweepConfig:
        problems = []
        ranges = [name for name, tried in self.options.items() if isinstance(tried, Range)]
        if self.strategy == "random" and self.trials is None:
            problems.append("strategy: random needs to know how many: say trials: 20")
        if self.strategy == "grid" and self.trials is not None:
            problems.append("trials is for strategy: random; a grid has as many as there are combinations")
        if self.strategy == "grid" and ranges:
            problems.append(f"a grid needs values, not a range ({', '.join(ranges)}); or say strategy: random")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def load_sweep(path: str | Path | None = None, settings: Sequence[str] = ()) -> SweepConfig:
    """Read a sweep file (None: the defaults) and apply `option=value` settings.

    Raises ConfigError with every problem, each with its line or its setting."""
    return read_sweep(path, settings)[0]


def read_sweep(path: str | Path | None = None, settings: Sequence[str] = ()) -> tuple[SweepConfig, dict[Any, str]]:
    """`load_sweep`, and where in which file each option stands, for whoever checks the trials. Settings are of the
    sweep's own options, of the run's (`run.train.max_steps=10`), and of those tried
    (`options.train.learning_rate=[1e-4, 1e-3]`). `run` of the config are options, whatever the file has."""
    tree, where = read_tree(Path(path)) if path is not None else ({}, {})
    late = []
    for setting in settings:
        first = setting.partition("=")[0].strip().partition(".")
        if first[0] in ("run", SWEPT) and first[1]:
            late.append(setting)
        else:
            where[apply_setting(tree, setting)] = f"--set {setting}"
    if isinstance(tree.get("run"), str):
        if not Path(tree["run"]).is_file():
            place = where.get(("run",), "run")
            raise ConfigError(
                f"{place}: run: there is no config file {tree['run']}", hint="`yuantune init` writes one"
            )
        tree["run"], inner = read_tree(Path(tree["run"]))
        where |= {("run", *location): place for location, place in inner.items()}
    tree[SWEPT] = tried = tree.get(SWEPT) or {}
    if isinstance(tried, Mapping):
        try:
            tree[SWEPT] = dict(dotted(tried))
        except ValueError as error:
            raise ConfigError(f"{where.get((SWEPT,), path)}: {SWEPT}: {error}") from None
        where |= {
            (SWEPT, ".".join(rest)): place for (name, *rest), place in [*where.items()] if name == SWEPT and rest
        }
    for setting in late:
        branch: dict[str, Any] = {}
        location = apply_setting(branch, setting)
        if location[0] == SWEPT:
            tree[SWEPT] |= dotted(branch[SWEPT])
            location = (SWEPT, ".".join(location[1:]))
        else:
            tree["run"] = tree.get("run") or {}
            apply_setting(tree, setting)
        where[location] = f"--set {setting}"
    return build_as(SweepConfig, tree, where, str(path) if path is not None else "the options"), where
