"""A run's options as people write them: the YAML file, `--set` on the command line, and the commented file of
`yuantune init`; what is wrong in them, all of it, each with its line or its setting.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ValidationError

from yuantune.config import AnyConfig, Config, RunConfig
from yuantune.errors import ConfigError, Problem, nearest


def load_config(path: str | Path | None = None, settings: Sequence[str] = ()) -> Config:
    """Read a config file (None: the defaults) and apply `section.option=value` settings.

    Raises ConfigError with every problem, each with its line or its setting."""
    return load_as(Config, path, settings)


def load_as(kind: type[AnyConfig], path: str | Path | None = None, settings: Sequence[str] = ()) -> AnyConfig:
    """`load_config` for any kind of run."""
    tree, where = read_tree(Path(path)) if path is not None else ({}, {})
    for setting in settings:
        where[apply_setting(tree, setting)] = f"--set {setting}"
    return build_as(kind, tree, where, str(path) if path is not None else "the options")


def override(config: AnyConfig, settings: Sequence[str]) -> AnyConfig:
    """`config` with `section.option=value` settings applied."""
    tree = config.model_dump()
    where = {apply_setting(tree, setting): f"--set {setting}" for setting in settings}
    return build_as(type(config), tree, where, "the options")


def build_as(
    kind: type[AnyConfig],
    tree: Mapping[str, Any],
    where: Mapping[tuple[str, ...], str] | None = None,
    name: str = "config",
) -> AnyConfig:
    """Validate a nested mapping; `where` tells for an option's path the place to name in an error."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        problems = [_problem(item, where or {}, kind) for item in error.errors()]
        raise ConfigError(
            f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in {name}",
            problems=problems,
            hint=f"`{kind.init}` writes a config with every option and what it means",
        ) from None


def option_names(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Every option's dotted name."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from option_names(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def commented_config(values: Mapping[str, Any] | None = None, kind: type[RunConfig] = Config) -> str:
    """A config file with every option, its default (or its value in `values`) and its description as a comment."""
    config = build_as(kind, values or {})
    lines = [
        "# yuantune configuration. Every option has its default here; delete what you do not change.",
        "",
    ]
    for name, field in kind.model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            said = (type(value).__doc__ or "").splitlines()
            lines += ["", *(f"# {line.strip()}" for line in said), f"{name}:"]
            for option, inner in type(value).model_fields.items():
                lines += _option_lines(option, getattr(value, option), inner.description or "", "  ")
        else:
            lines += _option_lines(name, value, field.description or "", "")
    return "\n".join(lines) + "\n"


def _option_lines(name: str, value: Any, description: str, indent: str) -> list[str]:
    if isinstance(value, list):
        value = [item.model_dump(exclude_defaults=True) if isinstance(item, BaseModel) else item for item in value]
        value = [item["path"] if isinstance(item, dict) and set(item) == {"path"} else item for item in value]
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=True, sort_keys=False, width=10_000)
    comments = [f"{indent}# {line.strip()}" for line in description.splitlines()]
    return [*comments, f"{indent}{name}: {text.removesuffix('...' + chr(10)).strip()}"]


def read_tree(path: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """A YAML file's mapping, unchecked, and for every option's path its `file:line`.

    Raises ConfigError where there is no such file, or no mapping in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = f"`yuantune init {shlex.quote(str(path))}` writes one"
        raise ConfigError(f"no config file {path}", hint=hint) from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder, not a config file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    try:
        tree = yaml.safe_load(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines = dict(_node_lines(node))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{path}:{mark.line + 1}" if mark else str(path)
        what = getattr(error, "problem", None) or str(error)
        raise ConfigError("the config is not valid YAML", problems=[Problem(at, what)]) from None
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply, or within itself") from None
    except ValueError as error:  # What looks like a date and is none: 2024-13-01.
        raise ConfigError(f"{path} holds a value that YAML cannot read: {error}", hint="put it in quotes") from None
    if tree is None:
        return {}, {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds a {type(tree).__name__}, not options with values")
    return tree, {location: f"{path}:{line}" for location, line in lines.items()}


def _node_lines(node: yaml.Node | None, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            location = (*prefix, str(key.value))
            yield location, key.start_mark.line + 1
            yield from _node_lines(value, location)


def apply_setting(tree: dict[str, Any], setting: str) -> tuple[str, ...]:
    """Put one `a.b=c` into the tree (the value is read as YAML); returns its path. Raises ConfigError where it is
    none."""
    name, sign, text = setting.partition("=")
    parts = tuple(name.strip().split("."))
    if not sign or not all(parts):
        raise ConfigError(f"--set {setting}: write it as section.option=value, e.g. train.learning_rate=1e-4")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: what looks like a date and is none.
        value = text
    branch = tree
    for part in parts[:-1]:
        if branch.get(part) is None:
            branch[part] = {}
        inner = branch[part]
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {setting}: {part} is an option, not a section")
        branch = cast("dict[str, Any]", inner)
    branch[parts[-1]] = value
    return parts


_ALIASES = {
    "alpha": "lora.lora_alpha",
    "batch_size": "train.per_device_train_batch_size",
    "dropout": "lora.lora_dropout",
    "epochs": "train.num_train_epochs",
    "grad_accum": "train.gradient_accumulation_steps",
    "lr": "train.learning_rate",
    "lr_scheduler": "train.lr_scheduler_type",
    **dict.fromkeys(("cutoff_len", "max_len", "max_seq_len", "max_seq_length"), "data.max_length"),
    "num_epochs": "train.num_train_epochs",
    "optimizer": "train.optim",
    "rank": "lora.r",
    "steps": "train.max_steps",
    "warmup": "train.warmup_steps",
}
"""What other tools call an option."""


def _problem(item: Any, where: Mapping[tuple[str, ...], str], kind: type[RunConfig]) -> Problem:
    """One of pydantic's findings in our words: unknown options with the nearest known one."""
    location = tuple(str(part) for part in item["loc"])
    name = ".".join(location)
    if item["type"] == "extra_forbidden":
        known = list(option_names(kind))
        meant = _ALIASES.get(location[-1].lower(), "")
        close = f" (did you mean '{meant}'?)" if meant in known else nearest(name, known)
        close = close or nearest(location[-1], [n.rsplit(".", 1)[-1] for n in known])
        what = f"unknown option {name}{close}"
    elif item["type"] == "value_error":
        what = str(item["ctx"]["error"]) if "ctx" in item else item["msg"]
    else:
        value = item.get("input")
        shown = "" if isinstance(value, dict | list) else f", not {value!r}"
        what = f"{name}: {item['msg'][0].lower()}{item['msg'][1:]}{shown}"
    # A problem inside a list has no line of its own: the list's line is the nearest place.
    for end in range(len(location), 0, -1):
        if location[:end] in where:
            return Problem(where[location[:end]], what)
    return Problem("", what)
