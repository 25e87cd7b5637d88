"""Tagged text: one token and its tag a line, a blank line between sentences, to extraction records.

Schemes: BIO (Ramshaw and Marcus 1995), and BIOES, BMES, BMEWO, BILOU, which mark the entity's end too. They
read as one grammar: B begins, I or M continues, E or L ends, S, U or W is a whole entity, O is outside.

An entity without its beginning or end (a sentence break fell into it, or a tag is wrong):

- In BIO nothing marks an end, so there an I without B begins an entity, as the CoNLL evaluation has it.
- In the other schemes such a piece is *not* an entity and stays out of the labels, as in the published scores
  on such data. Either way the pieces are counted in a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from yuantune.data.annotations import Span, labels_of
from yuantune.data.files import Lines
from yuantune.data.problems import BadRow, Problems
from yuantune.data.record import Labels, Record

SUFFIXES = (".bmes", ".bio", ".bioes", ".bmewo", ".bilou", ".iob", ".iob2", ".conll")

# A token may itself be a space or hold a wide one, so only a blank or a tab separates.
_LINE = re.compile(r"([^ \t]+| )[ \t]+(?:.*[ \t])?([^ \t]+)")
_TAG = re.compile(r"O|([BIMESLUW])[-_](.+)")
_ENDED = frozenset("MESLUW")
_UNSPACED = re.compile(
    "[\u2e80-\u312f\u31a0-\u31ff\u3400-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]"
)
_SURVEYED = 20_000
_LINES_NAMED = 10


@dataclass(frozen=True, slots=True)
class Style:
    """How a file is tagged: whether its scheme marks an entity's end, and whether its tokens are words that
    are written with spaces between them."""

    ended: bool
    spaced: bool


@dataclass(slots=True)
class _Sentence:
    line: int
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    bytes: int = 0
    broken: bool = False


def read_tagged(
    path: Path,
    problems: Problems,
    *,
    limit: int,
    notes: list[str],
) -> Iterator[Record]:
    """One record a sentence, in two passes over the file (the first tells scheme and spacing).

    A line that is no token and tag is a problem and costs its sentence; a sentence may hold `limit` bytes.
    Pieces of entities, see above, give one note a file."""
    style = _survey(path, limit)
    lines = Lines(path, problems, limit=limit)
    pieces: list[int] = []
    for sentence in _sentences(lines, problems, limit):
        spans, cut = decode(sentence.tags, ended=style.ended)
        pieces.extend(sentence.line + start for start, _, _ in cut)
        if not style.ended:
            spans.extend(cut)
        text, labels = _joined(sentence.tokens, spans, spaced=style.spaced)
        yield Record(lines.source(sentence.line), text, labels=labels)
    if pieces:
        named = ", ".join(map(str, pieces[:_LINES_NAMED])) + (", …" if len(pieces) > _LINES_NAMED else "")
        what = "left out of the labels" if style.ended else "kept as entities"
        ends = "a beginning or an end" if style.ended else "a beginning (B)"
        notes.append(f"{path}: pieces of entities without {ends}, {what}: {len(pieces)} (lines {named})")


def decode(tags: Sequence[str], *, ended: bool) -> tuple[list[Span], list[Span]]:
    """Whole entities and pieces of entities in a sentence's tags, as spans of tokens.

    `ended` says that the scheme marks the end of every entity. Raises BadRow for an unknown tag."""
    spans: list[Span] = []
    pieces: list[Span] = []
    begun: tuple[int, str] | None = None
    whole = True

    def close(end: int) -> None:
        nonlocal begun
        if begun is not None:
            (spans if whole and not ended else pieces).append((begun[0], end, begun[1]))
        begun = None

    for at, tag in enumerate(tags):
        part, label = split_tag(tag)
        continues = begun is not None and begun[1] == label
        if part in "IM":
            if not continues:
                close(at)
                begun, whole = (at, label), False
        elif part in "EL":
            if continues:
                assert begun is not None
                (spans if whole else pieces).append((begun[0], at + 1, label))
                begun = None
            else:
                close(at)
                pieces.append((at, at + 1, label))
        else:
            close(at)
            if part == "B":
                begun, whole = (at, label), True
            elif part != "O":
                spans.append((at, at + 1, label))
    close(len(tags))
    return spans, pieces


def split_tag(tag: str) -> tuple[str, str]:
    """`"B-ORG"` to `("B", "ORG")`, `"O"` to `("O", "")`. Raises BadRow for anything else."""
    match = _TAG.fullmatch(tag)
    if match is None:
        raise BadRow(f"unknown tag {tag!r} (expected O, or B, I, M, E, S, L, U or W with a type, as in B-ORG)")
    return match[1] or "O", match[2] or ""


def style_of(tokens: Sequence[str], tags: Sequence[str]) -> Style:
    """How these tokens are tagged and joined. Raises BadRow for an unknown tag."""
    ended = any(split_tag(tag)[0] in _ENDED for tag in tags)
    return Style(ended=ended, spaced=sum(map(_wordness, tokens)) > 0)


def from_tokens(tokens: Sequence[str], tags: Sequence[str]) -> tuple[str, Labels]:
    """Text and labels of one tokenised row. Raises BadRow, also where an entity has no beginning or end."""
    if len(tokens) != len(tags):
        raise BadRow(f"{len(tokens)} tokens, but {len(tags)} tags")
    style = style_of(tokens, tags)
    spans, pieces = decode(tags, ended=style.ended)
    if pieces and style.ended:
        raise BadRow(*(f"the entity at token {start + 1} has no beginning or no end" for start, _, _ in pieces))
    return _joined(tokens, [*spans, *pieces], spaced=style.spaced)


def looks_tagged(lines: Sequence[str]) -> bool:
    """Whether these first lines of a file are tagged text: most of those that are not blank fit."""
    filled = [line for line in lines if line.strip()]
    fitting = sum(_parse(line) is not None for line in filled)
    return fitting > 0 and fitting >= 0.8 * len(filled)


def _parse(line: str) -> tuple[str, str] | None:
    """Token and tag of a line; columns between them (part of speech, chunk) are passed over."""
    match = _LINE.fullmatch(line.rstrip(" \t\r"))
    return (match[1], match[2]) if match and _TAG.fullmatch(match[2]) else None


def _survey(path: Path, limit: int) -> Style:
    """The file's style: spacing from its first tokens, an ended scheme as soon as one tag shows it."""
    words = 0
    seen = 0
    ended = False
    for line in Lines(path, Problems(), limit=limit):
        if (parsed := _parse(line)) is None or line.startswith("-DOCSTART-"):
            continue
        ended = ended or split_tag(parsed[1])[0] in _ENDED
        words += _wordness(parsed[0])
        seen += 1
        if ended and seen >= _SURVEYED:
            break
    return Style(ended=ended, spaced=words > 0)


def _wordness(token: str) -> int:
    """1 for a word of a script with spaces, -1 for a single letter (its text is cut into characters), else 0."""
    if not token.isalnum() or _UNSPACED.search(token):
        return 0
    return 1 if len(token) > 1 else -1


def _sentences(lines: Lines, problems: Problems, limit: int) -> Iterator[_Sentence]:
    sentence: _Sentence | None = None
    for line in lines:
        if not line.strip(" \t\r") or line.startswith("-DOCSTART-"):
            if sentence and not sentence.broken:
                yield sentence
            sentence = None
            continue
        if sentence is None:
            sentence = _Sentence(lines.number)
        parsed = _parse(line)
        if parsed is None:
            problems.add(lines.source(), _what_is_wrong(line))
            sentence.broken = True
        elif not sentence.broken:
            sentence.tokens.append(parsed[0])
            sentence.tags.append(parsed[1])
            sentence.bytes += len(parsed[0].encode())
            if sentence.bytes > limit:
                problems.add(
                    lines.source(sentence.line), f"a sentence of more than {limit} bytes (no blank lines?)"
                )
                sentence = _Sentence(lines.number, broken=True)
    if sentence and not sentence.broken:
        yield sentence


def _what_is_wrong(line: str) -> str:
    match = _LINE.fullmatch(line.rstrip(" \t\r"))
    if match is None:
        return "expected a token, a space or tab, and a tag"
    try:
        split_tag(match[2])
    except BadRow as bad:
        return bad.findings[0]
    return "no token and tag"


def _joined(tokens: Sequence[str], spans: Sequence[Span], *, spaced: bool) -> tuple[str, Labels]:
    """The text that the tokens make, and the labels that the spans of tokens mark in it."""
    starts: list[int] = []
    parts: list[str] = []
    length = 0
    for token in tokens:
        if spaced and parts and _space_between(parts[-1], token):
            parts.append(" ")
            length += 1
        starts.append(length)
        parts.append(token)
        length += len(token)
    text = "".join(parts)
    marked = [(starts[start], starts[end - 1] + len(tokens[end - 1]), label) for start, end, label in spans]
    return text, labels_of(text, marked)


def _space_between(left: str, right: str) -> bool:
    edges = left[-1:] + right[:1]
    return not _UNSPACED.search(edges) and not any(map(str.isspace, edges))
