"""The run folder: what stands in it, and whether a run may begin or go on there.

RUN/config.yaml     every option as it was used
RUN/yuantune.json   template, labels, base model and tokenizer with hashes, versions, seed
RUN/check.json      what the check of the data found
RUN/log.jsonl       a line a logging step
RUN/loss.png        the losses, drawn
RUN/adapter/        what the method saves, and COMPLETE.json (RUN/model/ under full fine-tuning)
RUN/checkpoint-N/   a state to resume from, in the layout of transformers' Trainer, and COMPLETE.json
RUN/eval/NAME/      predictions and scores (quickstart and demo)
RUN/.lock           while a process writes
"""

from __future__ import annotations

import json
import shlex
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, TypeVar

from yuantune.config import AnyConfig, Config, RunConfig
from yuantune.config_file import build_as, load_as
from yuantune.data.strict_json import parse_json
from yuantune.data.writing import obstacle, write_text
from yuantune.errors import DiskFailed, Problem, RunError, WorkFailed, YuantuneError
from yuantune.train import checkpoint as checkpoints
from yuantune.train.checkpoint import newest_checkpoint
from yuantune.train.lock import LOCK_FILE, RunLock

if TYPE_CHECKING:
    from yuantune.data.check import CheckReport
    from yuantune.methods.card import Card

CONFIG_FILE = "config.yaml"
CHECK_FILE = "check.json"
PRETRAINING_FILE = "pretraining.json"
"""What a pretraining run began with; it stands in no other run's folder."""

FREE_TO_CHANGE = (
    "eval.",
    "generate.",
    "output_dir",
    "train.dataloader_num_workers",
    "train.eval_",
    "train.logging_steps",
    "train.max_steps",
    "train.on_nonfinite",
    "train.num_train_epochs",
    "train.per_device_eval_batch_size",
    "train.report_to",
    "train.save_",
)
"""Options that may differ on a resume; the rest would silently make another run of it."""

FEW = 2**20
"""Bytes for the small files of a checkpoint, and the log."""

_UNWRITTEN = ("PytorchStreamWriter", "inline_container", "iostream error")
"""What torch.save says where the disk refuses."""

Result = TypeVar("Result")


# ---------------------------------------------------------------------------------------------- before training


def check_new(folder: Path) -> None:
    """Raises RunError where `folder` already holds something, or cannot be made."""
    try:
        there = folder.exists() and (
            not folder.is_dir() or any(path.name != LOCK_FILE for path in folder.iterdir())
        )
    except OSError:  # Said below.
        there = False
    if there:
        resumable = newest_checkpoint(folder) is not None
        raise RunError(
            f"the run folder {folder} already exists",
            hint=f"`{resume_command(folder)}` goes on with it; or choose another output_dir"
            if resumable
            else "choose another output_dir, or remove the folder",
        )
    if why := obstacle(folder):
        raise RunError(f"the run folder {folder} cannot be made: {why}")


def _without(checkpoint: Path) -> str:
    """What to do where a checkpoint cannot be read."""
    folder = checkpoint.parent
    found = checkpoints.checkpoints(folder)
    older = [found[step] for step in sorted(found) if found[step] != checkpoint]
    if not older:
        return f"there is no other: remove {folder} and train again"
    return (
        f"remove {checkpoint}: `{resume_command(folder)}` then goes on from {older[-1].name}; or train again into "
        "another output_dir"
    )


def located(config: AnyConfig) -> AnyConfig:
    """`config` with the files and folders of its data, its template and its model by their absolute paths: a run is
    resumed from anywhere."""
    return build_as(type(config), located_tree(config.model_dump()))


def located_tree(tree: dict[str, Any]) -> dict[str, Any]:
    """`located` for the options as a mapping, which need not be all of them; the mapping itself is changed."""
    from yuantune.data.template import builtin_names
    from yuantune.models.load import canonical

    for dataset in (each for each in _datasets(tree) if Path(each["path"]).exists()):
        dataset["path"] = str(Path(dataset["path"]).absolute())
    for owner in (tree, *_datasets(tree)):
        template = owner.get("template")
        if isinstance(template, str) and template not in builtin_names() and Path(template).is_file():
            owner["template"] = str(Path(template).absolute())
    model = tree.get("model") or {}
    for option in ("name", "tokenizer"):
        if isinstance(model.get(option), str):
            model[option] = canonical(model[option])
    if isinstance(model.get("config"), str) and Path(model["config"]).exists():
        model["config"] = str(Path(model["config"]).absolute())
    return tree


def _datasets(tree: Any) -> Iterator[dict[str, Any]]:
    """Every mapping with a `path` in a tree of options."""
    if isinstance(tree, dict):
        if isinstance(tree.get("path"), str):
            yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for each in tree:
            yield from _datasets(each)


def command_of(folder: Path) -> str:
    """The command that made a run folder, and goes on with it."""
    return "yuantune pretrain" if (folder / PRETRAINING_FILE).is_file() else "yuantune train"


def resume_command(folder: Path) -> str:
    """What to type to go on with a run."""
    return f"{command_of(folder)} {shlex.quote(str(folder))} --resume"


def check_resumable(folder: Path, config: RunConfig, free: tuple[str, ...] = FREE_TO_CHANGE) -> None:
    """Raises RunError where there is nothing to go on with, or where an option that decides what is learnt (all but
    those that begin as one of `free`) differs from the run's own config."""
    if not folder.is_dir():
        raise RunError(f"no run folder {folder} to resume", hint="leave --resume away to begin it")
    if newest_checkpoint(folder) is None:
        raise _nothing_whole(folder, checkpoints.newest_whole(folder, hashes=False)[1])
    saved = load_as(type(config), folder / CONFIG_FILE)
    before, now = flat_options(located(saved).model_dump()), flat_options(located(config).model_dump())
    changed = [name for name in now if before.get(name) != now[name] and not name.startswith(free)]
    if changed:
        raise RunError(
            f"the options differ from those that {folder} began with",
            problems=[Problem(name, f"was {before.get(name)!r}, is {now[name]!r}") for name in changed],
            hint=f"`{resume_command(folder)}` takes the run's own config",
        )


def _nothing_whole(folder: Path, problems: list[Problem]) -> RunError:
    return RunError(
        f"{folder} holds no whole checkpoint to resume from",
        problems=problems,
        hint="remove the folder and train anew",
    )


def take_up(folder: Path, lock: RunLock, note: Callable[[str], None]) -> Path:
    """Lock a run that goes on, clear what a killed process has left there, and choose the checkpoint: the newest
    one whose files are as they were written. What is passed over for it is noted.

    Raises RunError where another process writes there, where no checkpoint is whole, or where something in the
    folder leads out of it."""
    refuse_links(folder, folder.iterdir())
    with failures(folder):
        lock.take()
    checkpoints.tidy(folder)
    checkpoint, problems = checkpoints.newest_whole(folder)
    if checkpoint is None:
        raise _nothing_whole(folder, problems)
    for problem in problems:
        note(f"{problem.where} {problem.what}")
    if problems:
        note(f"the run goes on from {checkpoint.name}")
    return checkpoint


def refuse_links(run: Path, paths: Iterable[Path]) -> None:
    """Raises RunError where one of these in a run folder leads out of it: who made the folder would choose what is
    written over, or removed, elsewhere."""
    home = run.resolve()
    problems = [
        Problem(str(path), f"leads out of the run folder, to {path.resolve()}")
        for path in paths
        if path.is_symlink() and not path.resolve().is_relative_to(home)
    ]
    if problems:
        raise RunError(
            f"{run} is not all in one place", problems=problems, hint="replace the links by what they lead to"
        )


def by_first(args: Any, act: Callable[[], Result]) -> Result:
    """What `act` gives in the first of the processes that train together, or the error of ours that it raises
    there: in each of them, and in none before it."""
    from accelerate.utils import broadcast_object_list

    outcome: list[Any] = [None, None]
    if args.process_index == 0:
        try:
            outcome[0] = act()
        except YuantuneError as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    result: Result = outcome[0]
    return result


def check_same(folder: Path, card: Card, reports: Mapping[str, CheckReport]) -> None:
    """Raises RunError where template, base model or training data are no longer those that the run began with: the
    options may name the same files, and the files hold something else."""
    from yuantune.methods.card import read_card

    before, now = asdict(read_card(folder)), json.loads(json.dumps(asdict(card)))
    problems = [
        Problem(what, "is not what it was")
        for what, part in (("template", "template"), ("the tokenizer's framing", "framing"), ("base model", "base"))
        if before[part] != now[part]
    ]
    try:
        found = parse_json((folder / CHECK_FILE).read_text(encoding="utf-8"))["train"]
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError(f"{folder / CHECK_FILE} is missing or damaged", hint="train anew") from None
    for count in ("examples", "supervised_tokens"):
        if found.get(count) != (is_now := reports["train"].to_dict()[count]):
            problems.append(Problem("training data", f"had {found.get(count)} {count}, has {is_now}"))
    if problems:
        raise RunError(
            f"{folder} began with something else than there is now",
            problems=problems,
            hint="put back what it began with, or train anew into another output_dir",
        )


def flat_options(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options in sections as options with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= (
            flat_options(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name: value}
        )
    return flat


def config_of(folder: Path, kind: type[AnyConfig]) -> AnyConfig:
    """The resolved config of a run folder, its `output_dir` being where the folder is now."""
    if not (folder / CONFIG_FILE).is_file():
        raise RunError(f"{folder} is no run folder: it has no {CONFIG_FILE}")
    tree = load_as(kind, folder / CONFIG_FILE).model_dump()
    return build_as(kind, {**tree, "output_dir": str(folder)})


# -------------------------------------------------------------------------------------------------- what is written


def check_free(folder: Path, name: str, needed: int) -> None:
    """Raises DiskFailed where the disk of `folder` has no `needed` bytes for `name`, which is about to be written,
    OSError where the folder is gone. Nothing has been written or removed then."""
    free = shutil.disk_usage(folder).free
    if free < needed + FEW:
        raise DiskFailed(
            f"not enough disk space for {folder / name}: {free / 2**20:,.1f} MiB are free, "
            f"{(needed + FEW) / 2**20:,.1f} MiB are needed",
            hint=f"free some; {resume_hint(folder)}",
        )


def make(folder: Path, lock: RunLock) -> None:
    """Make the run folder and lock it. Raises RunError where somebody else has just made it."""
    with failures(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock.take()
    check_new(folder)


def begin(folder: Path, lock: RunLock, config: Config, card: Card, reports: Mapping[str, CheckReport]) -> None:
    """Make the run folder: options, card and check, before the first step."""
    make(folder, lock)
    write_text(folder / CONFIG_FILE, located(config).dump())
    report = {role: each.to_dict() for role, each in reports.items()}
    write_text(folder / CHECK_FILE, json.dumps(report, ensure_ascii=False, indent=2) + "\n")
    card.save(folder)


def save_result(
    folder: Path, name: str, save: Callable[[Path], None], tokenizer: Any, step: int, *, size: int
) -> None:
    """Write the weights after `step`, which take `size` bytes, tokenizer and card into `folder/name`: whole, or not
    there. Raises WorkFailed where the disk refuses, or has no room."""
    from yuantune.methods.card import CARD_FILE

    with failures(folder):
        check_free(folder, name, size)
        beside = checkpoints.begin(folder) / name
        try:
            save(beside)
            tokenizer.save_pretrained(beside)
            if (folder / CARD_FILE).is_file():  # A pretrained model has no prompt of its own.
                shutil.copy(folder / CARD_FILE, beside)
            checkpoints.publish(folder, name, step)
        finally:
            checkpoints.tidy(folder)


@contextmanager
def failures(folder: Path) -> Iterator[None]:
    """Turns what the disk refuses into DiskFailed, what the memory does into WorkFailed; other errors go through.

    torch and safetensors report a full disk each in their own way, and not as OSError."""
    from safetensors import SafetensorError

    from yuantune.models.memory import is_exhausted

    try:
        yield
    except (OSError, SafetensorError, RuntimeError, MemoryError, EOFError, UnpicklingError) as error:
        text = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if is_exhausted(error):
            raise WorkFailed(
                "there is not enough memory for a training step",
                hint="set train.per_device_train_batch_size lower and train.gradient_accumulation_steps higher, or "
                "train.gradient_checkpointing: true; `yuantune model show` estimates what is needed",
            ) from error
        unread = isinstance(error, EOFError | UnpicklingError)
        checkpoint = newest_checkpoint(folder)
        if checkpoint is not None and (unread or "PytorchStreamReader" in text or "deserializing" in text):
            raise WorkFailed(f"{checkpoint} is damaged: {text}", hint=_without(checkpoint)) from error
        if unread:
            raise
        if isinstance(error, RuntimeError) and not any(part in text for part in _UNWRITTEN):
            raise
        if not folder.is_dir():
            raise DiskFailed(
                f"the run folder {folder} is gone: it was moved, removed, or the disk that it is on",
                hint=f"once it is there again, `{resume_command(folder)}` goes on from its newest whole checkpoint",
            ) from error
        why = error.strerror if isinstance(error, OSError) and error.strerror else text
        raise DiskFailed(f"writing to {folder} failed: {why}", hint=resume_hint(folder)) from error


def signal_name(number: int) -> str:
    """What a person calls a signal."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def resume_hint(folder: Path) -> str:
    """What to do with a run that stopped."""
    if newest_checkpoint(folder) is None:
        return f"there is no checkpoint yet: remove {shlex.quote(str(folder))} and train anew"
    return f"`{resume_command(folder)}` goes on from its newest whole checkpoint"
