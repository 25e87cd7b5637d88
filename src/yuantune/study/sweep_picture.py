"""A sweep's scores against each option that was tried, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yuantune.data.writing import replacing
from yuantune.study.leaderboard import Standing, ranked

COLOURS = ("#2f6f9f", "#c8553d", "#5b8c5a", "#8a6bb1", "#c99a2e", "#4fa3a5", "#a05d7a", "#7a7a7a", "#343a6b")
WIDE = 10
"""Values whose largest is so many times the smallest are drawn on a log axis."""


def draw_sweep(standings: Sequence[Standing], scales: Mapping[str, str], path: Path) -> None:
    """Write a PNG: a panel for each option, by its name in `scales`, which says log where it was drawn by its
    logarithm. An option that is no number has its values side by side, and the first such one of few values colours
    the points of all panels. Hollow points are trials that were stopped on the way.

    Raises OSError where the disk refuses."""
    from matplotlib.figure import Figure

    scored = ranked(standings)
    words = [name for name in scales if not _numeric(name, scored)]
    by = next((name for name in words if 1 < len(_values(name, scored)) <= len(COLOURS)), None)
    kinds = _values(by, scored) if by else [None]
    figure = Figure(figsize=(0.6 + 4.2 * len(scales), 4), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(scales), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, scales, strict=True):
        here = [each for each in scored if each.options.get(name) is not None]
        places = {value: place for place, value in enumerate(_values(name, here))}
        for kind, colour in zip(kinds, COLOURS, strict=False):
            mine = [each for each in here if by is None or str(each.options.get(by)) == kind]
            x = [places[str(e.options[name])] if name in words else e.options[name] for e in mine]
            y = [_score(each) for each in mine]
            face = ["none" if each.state == "stopped" else colour for each in mine]
            axes.scatter(x, y, s=36, facecolors=face, edgecolors=colour, linewidths=1.4, zorder=3)
            axes.scatter([], [], s=36, color=colour, label=kind)
            if len(scales) == 1 + (by is not None) and name not in words and mine:
                line = sorted(zip(x, y, strict=True))
                axes.plot(*zip(*line, strict=True), color=colour, linewidth=1, alpha=0.5)
        if name in words:
            axes.set_xticks(
                range(len(places)),
                list(places),
                rotation=30 if len(places) > 3 else 0,
                ha="right" if len(places) > 3 else "center",
            )
            axes.set_xlim(-0.5, max(len(places), 1) - 0.5)
        elif _log(name, scales, here):
            axes.set_xscale("log")
        axes.set_xlabel(name)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    metric = scored[0].metric if scored else "score"
    panels[0].set_ylabel(f"best {metric} of a trial")
    if any(each.state == "stopped" for each in scored):
        panels[0].set_title("hollow: stopped on the way", loc="left", fontsize=9)
    if by is not None and (len(scales) > 1 or by != next(iter(scales))):
        panels[-1].legend(frameon=False, title=by, fontsize=9)
    with replacing(path) as file:
        figure.savefig(file, format="png")


def _score(standing: Standing) -> float:
    best = standing.best()
    assert best is not None and best.score is not None  # It is ranked.
    return best.score


def _values(name: str | None, standings: Sequence[Standing]) -> list[Any]:
    found = {
        str(each.options[name]): None for each in sorted(standings, key=lambda e: e.trial) if name in each.options
    }
    return list(found)


def _numeric(name: str, standings: Sequence[Standing]) -> bool:
    values = [each.options[name] for each in standings if each.options.get(name) is not None]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _log(name: str, scales: Mapping[str, str], standings: Sequence[Standing]) -> bool:
    values = [each.options[name] for each in standings]
    if scales[name] == "log":
        return True
    return scales[name] == "values" and bool(values) and min(values) > 0 and max(values) >= WIDE * min(values)
