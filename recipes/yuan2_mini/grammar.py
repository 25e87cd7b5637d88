"""A small text grammar: templates with alternatives and slots, expanded into marked text.

A template is literal text with `<slot>`, which is another rule or a terminal, and `[one|other|]`, of which one is
taken; an alternative may hold slots and brackets again. A leading number and a blank give the template's weight:
`"3 <name>，<sex>。"`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from .segments import Segment
from .wordlists import Weighted, words


class Speaker(Protocol):
    """What a grammar needs to know of the thing that it speaks about: where chance comes from."""

    @property
    def draw(self) -> random.Random: ...


C = TypeVar("C", bound=Speaker)
Part = Callable[[C, list[Segment]], None]
TOKEN = re.compile(r"<[^<>]+>|[\[|\]]|[^<\[|\]]+")
WEIGHT = re.compile(r"(\d+(?:\.\d+)?) (.*)", re.DOTALL)


class Grammar(Generic[C]):
    """Rules (name to templates) over terminals (name to a function that appends segments)."""

    def __init__(self, rules: Mapping[str, Sequence[str]], terminals: Mapping[str, Part[C]]) -> None:
        self.parts: dict[str, Part[C]] = dict(terminals)
        twice = rules.keys() & terminals.keys()
        assert not twice, f"rule and terminal: {sorted(twice)}"
        self.unknown: set[str] = set()
        for name, templates in rules.items():
            self.parts[name] = self._choice([self._weighted(template) for template in templates])
        assert not self.unknown - self.parts.keys(), f"no such slot: {sorted(self.unknown - self.parts.keys())}"

    def expand(self, name: str, speaker: C) -> list[Segment]:
        """The segments of one expansion of a rule."""
        out: list[Segment] = []
        self.parts[name](speaker, out)
        return joined(out)

    def _weighted(self, template: str) -> tuple[float, Part[C]]:
        match = WEIGHT.fullmatch(template)
        weight, body = (float(match[1]), match[2]) if match else (1.0, template)
        tokens = TOKEN.findall(body)
        assert "".join(tokens) == body, template
        part = self._alternatives(tokens, top=True)
        assert not tokens, template
        return weight, part

    def _alternatives(self, tokens: list[str], top: bool = False) -> Part[C]:
        """Reads up to the closing bracket, or to the end at the top."""
        choices: list[tuple[float, Part[C]]] = []
        sequence: list[Part[C]] = []
        while tokens:
            token = tokens.pop(0)
            if token == "[":
                sequence.append(self._alternatives(tokens))
            elif token in "|]" and not top:
                choices.append((1.0, _sequence(sequence)))
                sequence = []
                if token == "]":
                    return self._choice(choices)
            elif token.startswith("<"):
                sequence.append(self._slot(token[1:-1]))
            else:
                sequence.append(_literal(token))
        assert top, "a bracket is open"
        return _sequence(sequence)

    def _slot(self, name: str) -> Part[C]:
        self.unknown.add(name)
        parts = self.parts
        return lambda speaker, out: parts[name](speaker, out)

    @staticmethod
    def _choice(weighted: list[tuple[float, Part[C]]]) -> Part[C]:
        if len(weighted) == 1:
            return weighted[0][1]
        table = Weighted(weighted)
        return lambda speaker, out: table.pick(speaker.draw)(speaker, out)


def rules_in(name: str) -> dict[str, tuple[str, ...]]:
    """The rules of lexicon/NAME.txt: a line `= rule`, then its templates, one a line, then an empty line."""
    rules: dict[str, list[str]] = {}
    for line in words(name):
        if line.startswith("= "):
            rules[line[2:]] = templates = []
        elif line:
            templates.append(line)
    return {rule: tuple(templates) for rule, templates in rules.items()}


def _literal(text: str) -> Part[C]:
    segment: Segment = (text, None)
    return lambda speaker, out: out.append(segment)


def _sequence(parts: Sequence[Part[C]]) -> Part[C]:
    if len(parts) == 1:
        return parts[0]
    fixed = tuple(parts)

    def speak(speaker: C, out: list[Segment]) -> None:
        for part in fixed:
            part(speaker, out)

    return speak


def joined(segments: Sequence[Segment]) -> list[Segment]:
    """Plain neighbours made one; empty strings dropped."""
    out: list[Segment] = []
    for string, tag in segments:
        if not string:
            continue
        if tag is None and out and out[-1][1] is None:
            out[-1] = (out[-1][0] + string, None)
        else:
            out.append((string, tag))
    return out
