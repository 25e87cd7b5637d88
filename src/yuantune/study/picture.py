"""What a bench found, as a picture: a row for each model, its lines' rates and memory as bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bar:
    """One recipe or engine with one model: its rate, the rate over the first one's, and its memory in bytes. Of a
    failure only `error` is shown."""

    name: str
    model: str
    rate: float
    ratio: float
    memory: int
    error: str = ""


def draw(bars: Sequence[Bar], path: Path, *, unit: str, memory: str) -> None:
    """Write a PNG. Each model has its own scale: what is compared is one model's lines. `unit` is that of the rate,
    `memory` what the bytes are of."""
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(bar.model for bar in bars))
    groups = [[bar for bar in bars if bar.model == model] for model in models]
    heights = [len(group) + 1.6 for group in groups]
    figure = Figure(figsize=(9, 0.32 * sum(heights) + 0.4), dpi=120, layout="constrained")
    panels = figure.subplots(len(groups), 2, squeeze=False, height_ratios=heights)
    for group, (speed, space) in zip(groups, panels, strict=True):
        names = [bar.name for bar in group]
        rates = [0.0 if bar.error else bar.rate for bar in group]
        sizes = [0.0 if bar.error else bar.memory / 2**30 for bar in group]
        for axes, values in ((speed, rates), (space, sizes)):
            colours = ["#c8553d" if name == names[-1] else "#9fb4c4" for name in names]
            drawn = axes.barh(range(len(names)), values, color=colours, height=0.7)
            axes.invert_yaxis()
            axes.set_xlim(0, 1.3 * max([*values, 1e-9]))
            axes.spines[["top", "right", "bottom"]].set_visible(False)
            axes.set_xticks([])
            axes.set_yticks(range(len(names)), names if axes is speed else [""] * len(names))
            labels = [
                (bar.error[:40] if axes is speed else "")
                if bar.error
                else f"{bar.rate:.3g}  (×{bar.ratio:.2f})"
                if axes is speed
                else f"{bar.memory / 2**30:.2f} GiB"
                for bar in group
            ]
            axes.bar_label(drawn, labels, padding=4, fontsize=9)
        speed.set_title(f"{group[0].model}: {unit}", loc="left", fontsize=10)
        space.set_title(memory, loc="left", fontsize=10)
    figure.savefig(path)
