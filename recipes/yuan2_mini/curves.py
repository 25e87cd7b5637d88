"""What the training looked like: the logs of its parts put end to end, as figures and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yuantune.errors import WorkFailed
from yuantune.train.checkpoint import newest_checkpoint
from yuantune.train.progress import LOG_FILE, read_log

_EVAL = "eval_loss_"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the training: its length, and its losses (nats a supervised token) by the tokens seen in all."""

    name: str
    steps: int
    tokens: int
    hours: float
    training: list[tuple[int, float]]
    validation: dict[str, list[tuple[int, float]]]

    def figures(self) -> dict[str, Any]:
        """The part in JSON's types, with the last loss of each kind."""
        last = {source: losses[-1][1] for source, losses in self.validation.items()}
        return {
            "part": self.name,
            "steps": self.steps,
            "tokens": self.tokens,
            "hours": round(self.hours, 2),
            "training_loss": round(self.training[-1][1], 4),
            "validation_loss": {source: round(loss, 4) for source, loss in last.items()},
        }


def read_parts(runs: Sequence[Path]) -> list[Part]:
    """The parts in their order, from each run's log.jsonl and newest checkpoint.

    Raises WorkFailed for a run that is not trained."""
    parts: list[Part] = []
    for run in runs:
        before = sum(part.tokens for part in parts)
        last = newest_checkpoint(run)
        if last is None:
            raise WorkFailed(f"{run} has no checkpoint", hint="train it first: the stage `pretrain`")
        steps = int(last.name.rpartition("-")[2])
        parts.append(_part(run.name, read_log(run / LOG_FILE), steps, before))
    return parts


def _part(name: str, log: list[dict[str, Any]], steps: int, before: int) -> Part:
    lines = [line for line in log if "loss" in line]
    a_step = lines[-1]["tokens"] // lines[-1]["step"]
    rates = [line["tokens_per_second"] for line in lines]
    # Each logged rate is for as many tokens as every other.
    seconds = steps * a_step * sum(1 / rate for rate in rates) / len(rates)
    validation: dict[str, list[tuple[int, float]]] = {}
    for line in log:
        for key in line:
            if key.startswith(_EVAL):
                source = key.removeprefix(_EVAL).removesuffix("-eval")
                validation.setdefault(source, []).append((before + line["step"] * a_step, line[key]))
    training = [(before + line["tokens"], line["loss"]) for line in lines]
    return Part(name, steps, steps * a_step, seconds / 3600, training, validation)


def plot(parts: Sequence[Part], path: Path) -> None:
    """Draw all parts' losses over the tokens seen, as a PNG; a dotted line stands where a part begins."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    colours = {"training": "#2f6f9f", "text": "#c8553d", "exercises": "#3d8f5f"}
    for part in parts:
        first = part is parts[0]
        for source, losses in {"training": part.training, **part.validation}.items():
            label = "training, the mix" if source == "training" else f"validation, {source}"
            axes.plot(
                [tokens / 1e6 for tokens, _ in losses],
                [loss for _, loss in losses],
                color=colours.get(source, "#777777"),
                linewidth=0.8 if source == "training" else 1.5,
                marker=None if source == "training" else "o",
                ms=3,
                label=label if first else None,
            )
    at = 0
    for part in parts[:-1]:
        at += part.tokens
        axes.axvline(at / 1e6, color="#999999", linewidth=0.8, linestyle=":")
    axes.set(xlabel="million tokens", ylabel="cross-entropy per supervised token (nats)", ylim=(0, None))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)
