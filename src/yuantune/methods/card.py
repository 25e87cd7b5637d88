"""`yuantune.json`: everything besides weights that an answer depends on, saved with the adapter.

The prompt is part of the model: template, label schema, special tokens, base model and tokenizer are written when a
run begins and enforced when its adapter answers.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from yuantune.data.strict_json import parse_json
from yuantune.data.writing import write_text
from yuantune.errors import RunError

CARD_FILE = "yuantune.json"
PACKAGES = ("accelerate", "peft", "torch", "transformers", "yuantune")


def versions() -> dict[str, str]:
    """The packages that a trained result depends on, and their versions here."""
    return {package: metadata.version(package) for package in PACKAGES}


@dataclass(frozen=True, slots=True)
class Card:
    """The contents of `yuantune.json`.

    `template` holds the label types too; `framing` says how prompt and answer end with this tokenizer; `base` is
    `models.load.identity`'s answer (name, architecture, hashes of config, tokenizer and weights)."""

    method: str
    options: dict[str, Any]
    template: dict[str, Any]
    framing: dict[str, Any]
    base: dict[str, Any]
    model: dict[str, Any]
    generate: dict[str, Any]
    max_length: int
    seed: int
    versions: dict[str, str] = field(default_factory=versions)

    @property
    def quantization(self) -> str:
        """What the base's weights were rounded to: none, bf16, int8, nf4; none too where `auto` chose, which rounds
        nothing."""
        kind = str(self.model.get("quantization", "none"))
        return "none" if kind == "auto" else kind

    def save(self, folder: Path) -> None:
        """Write it into `folder`, whole or not at all."""
        write_text(folder / CARD_FILE, json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n")


def read_card(folder: Path) -> Card:
    """The card of a run folder, or of an adapter or checkpoint folder in it.

    Raises RunError where there is none, or where it cannot be read."""
    if not folder.is_dir():
        raise RunError(f"no run folder {folder}", hint="`yuantune train config.yaml` makes one")
    for place in (folder, folder.parent):
        path = place / CARD_FILE
        if path.is_file():
            return _read(path)
    raise RunError(
        f"{folder} is no run folder: it has no {CARD_FILE}",
        hint="name the folder that `yuantune train` wrote (its output_dir)",
    )


def _read(path: Path) -> Card:
    try:
        return _parse(path)
    except ValueError as error:
        # Every trained result has a copy of its run's card.
        home = path.parent
        folders = [*(other for other in sorted(home.iterdir()) if other.is_dir()), home.parent]
        copy = next((other / CARD_FILE for other in folders if _is_whole(other / CARD_FILE)), None)
        hint = f"there is a copy: cp {shlex.quote(str(copy))} {shlex.quote(str(path))}" if copy else "train again"
        raise RunError(f"{path} is damaged: {error}", hint=hint) from None


def _is_whole(path: Path) -> bool:
    try:
        return path.is_file() and bool(_parse(path))
    except (OSError, ValueError):
        return False


def _parse(path: Path) -> Card:
    """Raises ValueError where the file is no card."""
    value = parse_json(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not an object")
    kinds: dict[str, type] = {"method": str, "max_length": int, "seed": int}
    parts = [part.name for part in fields(Card)]
    missing = [part for part in parts if not isinstance(value.get(part), kinds.get(part, dict))]
    if not missing:
        missing = [f"{part}.name" for part in ("base", "model") if "name" not in value[part]]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    return Card(**{part: value[part] for part in parts})
