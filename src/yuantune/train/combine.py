"""Several runs become one: their adapters combined, in a folder that answers and is exported like a run.

RESULT/yuantune.json   prompt, base and options, those of the first run
RESULT/adapter/        the combined adapter, as a run leaves its own
RESULT/combine.json    of which runs, with which weights, how, and how exactly
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yuantune.data.strict_json import parse_json
from yuantune.data.writing import obstacle, write_text
from yuantune.errors import ConfigError, Problem, RunError, WorkFailed
from yuantune.infer.adapters import differences
from yuantune.infer.opening import check_weights, open_run
from yuantune.methods import METHODS
from yuantune.methods.card import CARD_FILE, Card, read_card
from yuantune.train import checkpoint as checkpoints

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REPORT_FILE = "combine.json"
_ROUNDING = 1e-5


@dataclass(frozen=True, slots=True)
class Combined:
    """What came of it: `apart` is how far the update is from the weighted sum of those of the runs, as a share of
    their lengths; `prompts_differ` names the runs that were trained with another prompt than the first."""

    folder: Path
    runs: tuple[str, ...]
    weights: tuple[float, ...]
    how: str
    rank: int | None
    density: float | None
    seed: int
    apart: float
    prompts_differ: tuple[str, ...]


def combine_runs(
    runs: Sequence[Path],
    output: Path,
    *,
    weights: Sequence[float] | None = None,
    how: str | None = None,
    rank: int | None = None,
    density: float = 0.5,
    seed: int = 0,
    model: str | None = None,
    device_map: str | None = None,
) -> Combined:
    """Write the combination of `runs` as the folder `output`, whole or not at all.

    `how` is one of `yuantune.methods.combine.HOWS` (default: cat). `weights` default to 1 for each LoRA, to a mean
    of (IA)³. Raises RunError where the runs do not belong to one base or their method cannot be combined,
    ConfigError for options that do not fit them, WorkFailed where the disk refuses."""
    import torch

    from yuantune.methods.combine import check_how, combine

    if len(runs) < 2:
        raise ConfigError("name at least two runs to combine")
    cards = [read_card(run) for run in runs]
    method = _check_runs(runs, cards, model, device_map)
    chosen = tuple(weights or [1.0 if method == "lora" else 1 / len(runs)] * len(runs))
    if len(chosen) != len(runs):
        raise ConfigError(
            f"--weights: {len(chosen)} for {len(runs)} runs", hint="give one for each run, in their order"
        )
    how = check_how(method, how, chosen)
    _check_output(output)
    folders = [weights_of(run, card) for run, card in zip(runs, cards, strict=True)]
    for run, folder in zip(runs, folders, strict=True):
        check_weights(run, folder)

    def base_alone(_: Any, load_base: Any, __: Path) -> PreTrainedModel:
        base: PreTrainedModel = load_base(None)
        return base

    base, template, _ = open_run(runs[0], model=model, device_map=device_map, attach=base_alone)
    torch.manual_seed(seed)
    tuned, apart = combine(base, folders, chosen, method=method, how=how, rank=rank, density=density)
    if how == "cat" and not apart <= _ROUNDING:
        raise WorkFailed(
            f"the combined update is not the sum of the runs': it differs by {apart:.2g} of their length"
        )
    thinned = method == "lora" and how not in ("cat", "svd", "linear")
    done = Combined(
        folder=output,
        runs=tuple(str(run.resolve()) for run in runs),
        weights=chosen,
        how=how,
        rank=rank,
        density=density if thinned else None,
        seed=seed,
        apart=apart,
        prompts_differ=tuple(
            str(run)
            for run, card in zip(runs, cards, strict=True)
            if (card.template, card.framing) != (cards[0].template, cards[0].framing)
        ),
    )
    _write(done, replace(cards[0], options=_options(done)), tuned, template.tokenizer)
    return done


def weights_of(run: Path, card: Card) -> Path:
    """Where the weights of a run lie: in the folder itself, where it is an adapter's or a checkpoint's."""
    folder = run / METHODS[card.method].FOLDER
    return folder if folder.is_dir() else run


def parts_of(run: Path) -> list[Path]:
    """The runs that a folder was trained in: itself, or those that it was combined from."""
    try:
        report = parse_json((run / REPORT_FILE).read_text(encoding="utf-8"))
        return [part for each in report["runs"] for part in parts_of(Path(each))]
    except (OSError, ValueError, KeyError, TypeError):
        return [run]


def _check_runs(runs: Sequence[Path], cards: Sequence[Card], model: str | None, device_map: str | None) -> str:
    """The method of all runs. Raises RunError with everything that keeps them apart."""
    from yuantune.methods.combine import COMBINED

    problems = []
    for run, card in zip(runs, cards, strict=True):
        if card.method not in COMBINED:
            why = f"was trained by {card.method}; only {' and '.join(COMBINED)} can be combined"
            problems.append(Problem(str(run), why))
        elif card.method != cards[0].method and cards[0].method in COMBINED:
            problems.append(Problem(str(run), f"was trained by {card.method}, {runs[0]} by {cards[0].method}"))
        problems += [
            Problem(str(run), what)
            for what in differences(runs[0], cards[0], card, model=model, device_map=device_map)
        ]
    if problems:
        raise RunError(
            "these runs cannot be combined",
            problems=problems,
            hint="runs on one base answer side by side, too: yuantune.Adapters, `yuantune extract --adapter`",
        )
    return cards[0].method


def _check_output(output: Path) -> None:
    if why := obstacle(output):
        raise RunError(f"the folder {output} cannot be made: {why}", hint="name another one: --to DIR")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise RunError(f"{output} is already there", hint="name a new folder: --to DIR")


def _options(done: Combined) -> dict[str, Any]:
    kept = {"how": done.how, "weights": list(done.weights), "rank": done.rank, "density": done.density}
    return {"combined": {"runs": list(done.runs), **kept, "seed": done.seed}}


def _write(done: Combined, card: Card, tuned: Any, tokenizer: Any) -> None:
    from safetensors import SafetensorError

    output, method = done.folder, METHODS[card.method]
    beside = output.with_name(f".{output.name}.partial")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        card.save(beside)
        adapter = checkpoints.begin(beside) / method.FOLDER
        method.save(tuned, adapter)
        tokenizer.save_pretrained(adapter)
        shutil.copy(beside / CARD_FILE, adapter)
        checkpoints.publish(beside, method.FOLDER, 0)
        report = {**asdict(done), "folder": str(output)}
        write_text(beside / REPORT_FILE, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        if output.is_dir():  # It is empty.
            output.rmdir()
        os.rename(beside, output)
    except (OSError, SafetensorError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise WorkFailed(f"{output} could not be written: {why}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
