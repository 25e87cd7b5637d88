"""Folders that are whole or absent: a run's checkpoints, and what it leaves in the end.

    RUN/.tmp/checkpoint-6/           in the making, or on its way out: never counts
    RUN/checkpoint-6/                has its name when every file of it is on the disk
    RUN/checkpoint-6/COMPLETE.json   the last one: step, size and SHA-256 of every file, versions
    RUN/.former/adapter/             what had the name before, until the new one is whole

A folder is whole where the marker is there and every file is as it says. What else a process that was stopped
leaves is cleared by `tidy`, before the next folder is written. See docs/decisions/0013-checkpoints.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from yuantune.data.strict_json import parse_json
from yuantune.data.writing import replacing, sync_folder
from yuantune.errors import Problem

MARKER = "COMPLETE.json"
TEMPORARY = ".tmp"
"""In a run folder: what is in the making or on its way out."""
FORMER = ".former"
"""In a run folder: what had a name that another folder is about to get."""

_NAME = re.compile(r"checkpoint-(\d+)")


# ------------------------------------------------------------------------------------------------------ writing


def begin(run: Path) -> Path:
    """An empty folder in `run` to write another one into. Raises OSError where the disk refuses."""
    tidy(run)
    (run / TEMPORARY).mkdir()
    return run / TEMPORARY


def publish(run: Path, name: str, step: int) -> None:
    """What was written into `begin`'s folder under `name` becomes `run/name`, with its marker.

    Raises OSError where the disk refuses; what had the name before is there then."""
    from yuantune.methods.card import versions

    made, target, former = run / TEMPORARY / name, run / name, run / FORMER / name
    named = False
    try:
        marker = {"step": step, "files": _sealed(made), "versions": versions()}
        if target.exists():
            former.parent.mkdir(exist_ok=True)
            os.rename(target, former)
        os.rename(made, target)
        named = True
        sync_folder(run)
        with replacing(target / MARKER) as file:
            file.write((json.dumps(marker, indent=2) + "\n").encode())
    except BaseException:
        if named:
            shutil.rmtree(target, ignore_errors=True)
        tidy(run)
        raise
    tidy(run)


def _sealed(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file in `folder`, all of which are on the disk then."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            files[path.relative_to(folder).as_posix()] = {"size": file.tell(), "sha256": digest}
    sync_folder(folder)
    return files


def tidy(run: Path) -> None:
    """Clear what a process that was stopped has left: a former folder gets its name back where the one that was to
    replace it is not whole. Whoever calls it writes to `run` alone (`train/lock.py`).

    A disk that refuses is left as it is: nothing in these places counts."""
    shutil.rmtree(run / TEMPORARY, ignore_errors=True)
    place = run / FORMER
    for link in (run / TEMPORARY, place):
        if link.is_symlink():  # Of ours it is none, and what it leads to is nobody's to clear.
            with suppress(OSError):
                link.unlink()
    for former in [*place.iterdir()] if place.is_dir() else []:
        target = run / former.name
        if not flaws(target, hashes=False):
            shutil.rmtree(former, ignore_errors=True)
            continue
        shutil.rmtree(target, ignore_errors=True)
        with suppress(OSError):
            os.rename(former, target)
    with suppress(OSError):  # What is left in it has yet to get its name back.
        place.rmdir()


def prune(run: Path, newest: Path, limit: int | None, best: int | None) -> None:
    """Remove old checkpoints until `limit` are left, of which `newest` and that of step `best` are two at any rate.

    Those of later steps, which a resume has passed over, go first, then those without marker, then the oldest. What
    the disk refuses to remove is tried again after the next save."""
    if limit is None:
        return
    found, now = checkpoints(run), step_of(newest)
    order = sorted(found, key=lambda step: (step <= now, (found[step] / MARKER).is_file(), step))
    kept = {now, *([best] if best in found else [])}
    others = [step for step in order if step not in kept]
    with suppress(OSError):
        for step in others[: len(found) - max(limit, len(kept))]:
            (run / TEMPORARY).mkdir(exist_ok=True)
            # It goes at once, by name: what is left of it if we are stopped does not look like a checkpoint.
            os.rename(found[step], run / TEMPORARY / found[step].name)
    shutil.rmtree(run / TEMPORARY, ignore_errors=True)


# ------------------------------------------------------------------------------------------------------ reading


@dataclass(frozen=True, slots=True)
class Marker:
    """The contents of a `COMPLETE.json`; `files` are `(size in bytes, SHA-256)` by their path in the folder."""

    step: int
    files: dict[str, tuple[int, str]]


def read_marker(folder: Path) -> Marker:
    """Raises OSError or ValueError where there is none that can be used."""
    value = parse_json((folder / MARKER).read_text(encoding="utf-8"))
    try:
        files = {str(name): (int(each["size"]), str(each["sha256"])) for name, each in value["files"].items()}
        step = int(value["step"])
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("it lacks step, or size and SHA-256 of its files") from error
    if outside := [
        name for name in files if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts
    ]:
        raise ValueError(f"it names files outside of its folder: {outside[0]!r}")
    return Marker(step, files)


def flaws(folder: Path, *, hashes: bool = True) -> list[Problem]:
    """Everything that keeps a folder from being whole, file by file; an empty list where it is.

    Without `hashes` the files' content is not read, only their sizes are looked at."""
    try:
        marker = read_marker(folder)
    except FileNotFoundError:
        return [Problem(str(folder), f"has no {MARKER}: its writing was cut short, or an earlier version wrote it")]
    except OSError as error:
        return [Problem(str(folder / MARKER), f"cannot be read: {error.strerror or error}")]
    except ValueError as error:
        return [Problem(str(folder / MARKER), f"is damaged: {error}")]
    problems = []
    if (match := _NAME.fullmatch(folder.name)) and int(match.group(1)) != marker.step:
        problems.append(Problem(str(folder / MARKER), f"is that of step {marker.step}"))
    for name, (size, digest) in sorted(marker.files.items()):
        if what := _flaw(folder / name, size, digest if hashes else None):
            problems.append(Problem(str(folder / name), what))
    return problems


def _flaw(path: Path, size: int, digest: str | None) -> str:
    try:
        with path.open("rb") as file:
            if (now := os.fstat(file.fileno()).st_size) != size:
                return f"has {now:,} bytes, and was written with {size:,}"
            if digest is not None and hashlib.file_digest(file, "sha256").hexdigest() != digest:
                return "is damaged: its content is not what was written (SHA-256)"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return ""


@dataclass(frozen=True, slots=True)
class Examined:
    """A checkpoint or a trained result as it is on the disk; `size` in bytes, both counts by its marker."""

    name: str
    files: int
    size: int
    problems: list[Problem]


def examine(run: Path) -> list[Examined]:
    """Everything in a run folder that should be whole, in the order of its writing. Reads all of it."""
    found = checkpoints(run)
    paths = [found[step] for step in sorted(found)]
    for path in sorted(run.iterdir() if run.is_dir() else ()):
        if path.name[0] != "." and path not in paths and path.is_dir():
            paths += [path] if (path / MARKER).exists() or any(path.glob("*.safetensors")) else []
    examined = []
    for path in paths:
        problems, files = flaws(path), {}
        with suppress(OSError, ValueError):
            files = read_marker(path).files
        if path.exists():  # A run that goes on may have removed it.
            examined.append(Examined(path.name, len(files), sum(size for size, _ in files.values()), problems))
    return examined


def checkpoints(run: Path) -> dict[int, Path]:
    """Every checkpoint folder of a run by its step, whole or not."""
    paths = [path for path in run.iterdir() if path.is_dir()] if run.is_dir() else []
    return {int(match.group(1)): path for path in paths if (match := _NAME.fullmatch(path.name))}


def step_of(checkpoint: Path | None) -> int:
    """The step after which a checkpoint was written; 0 without one."""
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0


def without_better(checkpoint: Path) -> int:
    """Evaluations in a row until then that were not better than the best one before, where `eval.patience` counted
    them; else 0."""
    try:
        state = parse_json((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        stopping = state["stateful_callbacks"]["EarlyStoppingCallback"]
        return int(stopping["attributes"]["early_stopping_patience_counter"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def newest_checkpoint(run: Path) -> Path | None:
    """The newest checkpoint that is whole as far as its files' sizes tell."""
    return newest_whole(run, hashes=False)[0]


def newest_whole(run: Path, *, hashes: bool = True) -> tuple[Path | None, list[Problem]]:
    """The newest whole checkpoint of a run, and what is wrong with those that are passed over for it.

    Checkpoints of earlier versions have no marker. One of them counts only where no checkpoint with a marker is
    whole, and where nothing of it is missing or cut short as far as can be seen without."""
    found = checkpoints(run)
    newest_first = [found[step] for step in sorted(found, reverse=True)]
    wrong: dict[Path, list[Problem]] = {}
    chosen = None
    for path in newest_first:
        wrong[path] = flaws(path, hashes=hashes)
        if not wrong[path]:
            chosen = path
            break
    for path in () if chosen else newest_first:
        if not (path / MARKER).exists():
            if not (more := _cut_short(path)):
                chosen = path
                break
            wrong[path] += more
    least = step_of(chosen)
    return chosen, [problem for path, problems in wrong.items() if step_of(path) >= least for problem in problems]


def _cut_short(checkpoint: Path) -> list[Problem]:
    """What is wrong with a checkpoint without marker; transformers' Trainer writes `trainer_state.json` last."""
    from yuantune.models.folder import damage

    state = checkpoint / "trainer_state.json"
    try:
        written = parse_json(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        written = None
    if not isinstance(written, dict) or "global_step" not in written:
        return [Problem(str(state), "is missing or damaged")]
    weights = sorted(checkpoint.glob("*model*.safetensors"))
    archives = sorted({checkpoint / "optimizer.pt", *checkpoint.glob("*.pt"), *checkpoint.glob("*.pth")})
    problems = [Problem(str(file), what) for file in weights if (what := damage(file))]
    # torch.save writes a zip archive, whose table of contents stands at its end.
    problems += [
        Problem(str(file), "is missing or cut short, or not one of torch.save")
        for file in archives
        if not zipfile.is_zipfile(file)
    ]
    return problems if weights else [*problems, Problem(str(checkpoint), "has no weights")]
