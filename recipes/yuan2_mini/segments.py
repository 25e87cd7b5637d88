"""What the generators hand on: marked text, and extraction exercises."""

from __future__ import annotations

from dataclasses import dataclass

Segment = tuple[str, str | None]
"""A piece of a text, and the tag of the entity that it is (None: it is none)."""


@dataclass(frozen=True, slots=True)
class Exercise:
    """A text, and what is to be found in it."""

    text: str
    labels: dict[str, list[str]]
    """Type to strings: in text order, repeats kept, only types that occur."""
    asked: tuple[str, ...]
    """The types asked for, in the order of the question; `labels` names some of them."""
    kind: str
    """Which generator made it."""


def text_of(segments: list[Segment]) -> str:
    """The text without its marks."""
    return "".join(string for string, _ in segments)


def labels_of(segments: list[Segment], asked: tuple[str, ...]) -> dict[str, list[str]]:
    """The marked strings of the asked types, in asked order."""
    found = {tag: [string for string, own in segments if own == tag] for tag in asked}
    return {tag: strings for tag, strings in found.items() if strings}
