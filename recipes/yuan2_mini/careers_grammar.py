"""A small grammar language for marked text: rules in, passages with `[span](TAG)` marks out.

A block `= name` opens a rule; each further line is one way to say it (` *3` at its end: three times as likely).
In a line, `<a|b|>` chooses, and braces insert:

    {rule}       another rule, or a word of the life being told (`{ym}`, `{name}`)
    {@rule}      the rule of this life's trade (`nurse.rule`), else `any.rule`
    {rule:1}     the same string wherever the key 1 returns
    {rule*2-4、}  two to four different ways of the rule, joined by 、 (by ， when no sign is given)
    {rule+2-4、}  the rule told two to four times, joined likewise, each string once
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from .careers_life import Life
from .segments import Segment

_SLOT = re.compile(r"(@?)([\w.]+)(?::(\w+))?(?:([*+])(\d)(?:-(\d))?(\D?))?")
_PIECE = re.compile(r"\{([^{}]*)\}|([<|>])")
_MARK = re.compile(r"\[([^\[\]]+)\]\(([A-Z]+)\)")
_WEIGHT = re.compile(r" \*(\d+)$")


@dataclass(frozen=True, slots=True)
class _Slot:
    rule: str
    by_trade: bool
    key: str | None
    least: int
    most: int
    apart: bool
    """The ways differ, not only the strings."""
    joint: str


@dataclass(frozen=True, slots=True)
class _Choice:
    ways: tuple[_Line, ...]


_Line = tuple["str | _Slot | _Choice", ...]


class Grammar:
    """Rules, and words that are functions of the life being told."""

    def __init__(self, sources: tuple[str, ...], words: Mapping[str, Callable[[Life], str]]) -> None:
        """Raises ValueError for a slot that no rule and no word fills."""
        self._words = words
        self.rules: dict[str, tuple[_Line, ...]] = {}
        for source in sources:
            for name, lines in _blocks(source):
                if name in self.rules or name in words:
                    raise ValueError(f"rule {name} is given twice")
                self.rules[name] = lines
        self.trades = sorted({name.split(".")[0] for name in self.rules if "." in name} - {"any"})
        slots = [slot for lines in self.rules.values() for line in lines for slot in _slots_of(line)]
        self.used = {slot.rule for slot in slots if not slot.by_trade}
        self.used_by_trade = {slot.rule for slot in slots if slot.by_trade}
        missing = self.used - self.rules.keys() - words.keys()
        missing |= {f"@{rule}" for rule in self.used_by_trade if f"any.{rule}" not in self.rules}
        if missing:
            raise ValueError(f"nothing fills {', '.join(sorted(missing))}")

    def tell(self, life: Life, rule: str) -> str:
        """One way of the rule, with marks."""
        lines = self.rules[rule]
        return self._line(life, lines[int(life.draw.random() * len(lines))])

    def _line(self, life: Life, line: _Line) -> str:
        return "".join(part if isinstance(part, str) else self._part(life, part) for part in line)

    def _part(self, life: Life, part: _Slot | _Choice) -> str:
        if isinstance(part, _Choice):
            return self._line(life, part.ways[int(life.draw.random() * len(part.ways))])
        return self._slot(life, part)

    def _slot(self, life: Life, slot: _Slot) -> str:
        if slot.key is None:
            return self._fill(life, slot)
        key = f"{slot.rule}:{slot.key}"
        if key not in life.kept:
            life.kept[key] = self._fill(life, slot)
        return life.kept[key]

    def _fill(self, life: Life, slot: _Slot) -> str:
        rule = slot.rule
        if slot.by_trade:
            own = f"{life.trade}.{rule}"
            rule = own if own in self.rules else f"any.{rule}"
        if not slot.least:
            return self._once(life, rule)
        count = life.draw.randint(slot.least, slot.most)
        if slot.apart:
            lines = list(dict.fromkeys(self.rules[rule]))
            told = [self._line(life, line) for line in life.draw.sample(lines, min(len(lines), count))]
        else:
            told = [self._once(life, rule) for _ in range(count)]
        return slot.joint.join(dict.fromkeys(told))

    def _once(self, life: Life, rule: str) -> str:
        word = self._words.get(rule)
        return word(life) if word is not None else self.tell(life, rule)


def marked_segments(marked: str) -> list[Segment]:
    """Marked text in pieces; neighbouring bare pieces are one."""
    pieces: list[Segment] = []
    at = 0
    for mark in _MARK.finditer(marked):
        if mark.start() > at:
            pieces.append((marked[at : mark.start()], None))
        pieces.append((mark[1], mark[2]))
        at = mark.end()
    if at < len(marked):
        pieces.append((marked[at:], None))
    return pieces


def _blocks(source: str) -> Iterator[tuple[str, tuple[_Line, ...]]]:
    for block in re.split(r"^= ", source, flags=re.MULTILINE)[1:]:
        name, *rows = [row.strip() for row in block.splitlines() if row.strip()]
        lines: list[_Line] = []
        for row in rows:
            weight = _WEIGHT.search(row)
            line = _parsed(row[: weight.start()] if weight else row)
            lines += [line] * (int(weight[1]) if weight else 1)
        yield name, tuple(lines)


def _parsed(row: str) -> _Line:
    """One line as its parts; raises ValueError for a `<` without its `>`."""
    open_lines: list[list[list[str | _Slot | _Choice]]] = [[[]]]
    at = 0
    for piece in _PIECE.finditer(row):
        if piece.start() > at:
            open_lines[-1][-1].append(row[at : piece.start()])
        at = piece.end()
        if piece[1] is not None:
            open_lines[-1][-1].append(_slot(piece[1]))
        elif piece[2] == "<":
            open_lines.append([[]])
        elif piece[2] == "|":
            if len(open_lines) > 1:
                open_lines[-1].append([])
            else:
                open_lines[-1][-1].append("|")
        elif len(open_lines) == 1:
            raise ValueError(f"a > stands without its < in: {row}")
        else:
            ways = open_lines.pop()
            open_lines[-1][-1].append(_Choice(tuple(tuple(way) for way in ways)))
    if len(open_lines) > 1:
        raise ValueError(f"a < has no > in: {row}")
    if at < len(row):
        open_lines[0][0].append(row[at:])
    return tuple(open_lines[0][0])


def _slot(inside: str) -> _Slot:
    match = _SLOT.fullmatch(inside)
    if match is None:
        raise ValueError(f"no slot: {{{inside}}}")
    least = int(match[5] or 0)
    most = int(match[6] or least)
    return _Slot(match[2], bool(match[1]), match[3], least, most, match[4] == "*", match[7] or "，")


def _slots_of(line: _Line) -> Iterator[_Slot]:
    for part in line:
        if isinstance(part, _Slot):
            yield part
        elif isinstance(part, _Choice):
            for way in part.ways:
                yield from _slots_of(way)
