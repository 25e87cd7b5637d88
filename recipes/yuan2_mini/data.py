"""From the corpus and the generators to the files that pretraining reads, and a manifest of what is in them."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from recipes.yuan2_mini.exercises import MIX, Rows, exercises
from recipes.yuan2_mini.files import (
    EXERCISES,
    EXERCISES_EVAL,
    MANIFEST,
    TEXT,
    TEXT_EVAL,
    Written,
    read_lines,
    xz_file,
)
from recipes.yuan2_mini.held_out import HeldOut
from recipes.yuan2_mini.render import TUTORIAL_SHARE
from recipes.yuan2_mini.sources import NAMES, SOURCES, Cleaner, check_hashes, for_validation

from yuantune.data.writing import write_text
from yuantune.errors import WorkFailed

EVAL_EXERCISES = 1000
Say = Callable[[str], None]
Lines = dict[str, list[str]]
"""Cleaned lines by source."""


def make_data(
    corpus: Path, held_out: list[Path], folder: Path, *, count: int, seed: int, say: Say
) -> dict[str, Any]:
    """Write text, exercises and manifest into `folder`; the manifest is written last and returned.

    Raises DataError where the corpus is another one, WorkFailed where a held-out window is found in what was
    written."""
    hashes = check_hashes(corpus)
    blocked = HeldOut.read(held_out)
    say(f"held out: {blocked.rows:,} rows, {len(blocked.windows):,} windows")
    (folder / TEXT).mkdir(parents=True, exist_ok=True)
    files: dict[str, Written] = {}
    cleaner = Cleaner(blocked)
    train, validation = _write_text(corpus, folder, cleaner, files, say)
    names = list(read_lines(corpus / NAMES.file))
    rows = Rows(blocked)
    _write_exercises(folder / EXERCISES_EVAL, validation, names, rows, EVAL_EXERCISES, Random(seed + 1), files, say)
    _write_exercises(folder / EXERCISES, train, names, rows, count, Random(seed), files, say)
    del train, validation
    checked = _check(folder, files, blocked, say)
    manifest = {
        "seed": seed,
        "count": count,
        "python": platform.python_version(),
        "sources": hashes,
        "cleaning": {name: dict(counts) for name, counts in cleaner.counts.items()},
        "mix": MIX,
        "tutorial_share": TUTORIAL_SHARE,
        "exercises": dict(rows.counts),
        "files": {name: asdict(written) for name, written in files.items()},
        "held_out": {
            "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in held_out},
            "rows": blocked.rows,
            "windows": len(blocked.windows),
            **checked,
        },
    }
    write_text(folder / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
    return manifest


def _write_text(
    corpus: Path, folder: Path, cleaner: Cleaner, files: dict[str, Written], say: Say
) -> tuple[Lines, Lines]:
    """Clean the sources one by one; their lines for training and for validation."""
    train: Lines = {}
    validation: Lines = {}
    with xz_file(folder / TEXT_EVAL) as for_eval:
        for source in SOURCES:
            name = f"{TEXT}/{source.name}.txt.xz"
            with xz_file(folder / name) as for_train:
                for line in cleaner.clean(source, read_lines(corpus / source.file)):
                    kept, file = (validation, for_eval) if for_validation(line) else (train, for_train)
                    kept.setdefault(source.name, []).append(line)
                    file.add(line)
            files[name] = for_train.written
            say(f"{source.name}: {for_train.written.lines:,} lines, {for_train.written.characters:,} characters")
    files[TEXT_EVAL] = for_eval.written
    return train, validation


def _write_exercises(
    path: Path,
    lines: Lines,
    names: list[str],
    rows: Rows,
    count: int,
    draw: Random,
    files: dict[str, Written],
    say: Say,
) -> None:
    made = exercises(lines, names, draw)
    with xz_file(path) as file:
        for at, row in enumerate(rows.rows(made, count, draw), 1):
            file.add(json.dumps(row, ensure_ascii=False))
            if not at % 20_000:
                say(f"{path.name}: {at:,} of {count:,}")
    files[path.name] = file.written
    say(f"{path.name}: {count:,} rows, {file.written.characters:,} characters")


def _check(folder: Path, files: Iterable[str], blocked: HeldOut, say: Say) -> dict[str, int]:
    """Read everything back and look at every window, by another way than the one that left rows out."""
    looked = 0
    for name in files:
        for line in read_lines(folder / name):
            for text in json.loads(line).values() if ".jsonl" in name else (line,):
                count, found = blocked.look(text)
                looked += count
                if found:
                    raise WorkFailed(f"{folder / name}: a held-out window is in it: {text[:40]}…")
        say(f"{name}: no held-out window")
    return {"windows_looked_at": looked, "windows_found": 0}
