"""One raw row, as any reader finds it, to one `Record`: which fields make which kind of record.

| kind | fields |
| --- | --- |
| extraction | `text` (or `input`), and `labels: {type: [strings]}` |
| extraction, spans | `text`, and a list of spans under `labels`, `label`, `entities` or `spans` |
| extraction, tokenised | `tokens`, and `ner_tags`, `tags` or `labels`: a tag in words for each |
| Label Studio | `data`, `annotations` |
| instruction | `instruction`, `input`, `output`, perhaps `system` and `history` |
| the tutorial's | `input` (the whole prompt), `output` |
| chat | `messages` (`role`, `content`) or `conversations` (`from`, `value`), perhaps `system` |
| to be answered | `text` or `input` alone, or any of the above without its answer |

`adapter` names the adapter that is to answer, where there are several. Other fields are passed over; null counts
as absent.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from yuantune.data.annotations import label_studio, labels_of, parse_spans
from yuantune.data.problems import BadRow
from yuantune.data.record import Labels, Message, Record, Source
from yuantune.data.strict_json import StrictDecoder
from yuantune.data.tagged import from_tokens
from yuantune.errors import nearest

_TEXT = ("text", "input", "data")
_SPANS = ("labels", "label", "entities", "spans")
_CHAT = ("messages", "conversations")
_TAGS = ("ner_tags", "tags", "labels")
_ANSWERS = (*_SPANS, "output", *_CHAT)
_STRUCTURED = (*_SPANS, *_CHAT, "history", "tokens", "ner_tags", "tags", "annotations")
KNOWN = ("instruction", "system", *_TEXT, "output", *_STRUCTURED)
"""Every field that means something."""

_CLASSES = (
    "A class or a text as the answer? Name the columns input and output. Entities go under labels, as JSON"
    ' {"type": ["string"]}, all types in one column.'
)

_ROLES: dict[object, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}


def to_record(row: object, source: Source, *, cells: bool = False) -> Record:
    """The record that `row` makes. Raises BadRow with everything that is wrong with it.

    `cells`: the row comes from a table, where a cell may hold lists and objects as JSON, and an empty cell of
    an answer means that there is none."""
    if not isinstance(row, Mapping):
        raise BadRow(f"a row must be an object with fields, found {kind(row)}")
    row = {str(key): value for key, value in row.items() if value is not None}
    record = _record(_parse_cells(row) if cells else row, source)
    return replace(record, adapter=_checked(str(row["adapter"]), "adapter")) if "adapter" in row else record


def _record(row: Mapping[str, object], source: Source) -> Record:
    if isinstance(row.get("data"), Mapping):
        text, labels = label_studio(row)
        return Record(source, _checked(text, "data"), labels=_checked_labels(labels))
    if chat := [name for name in _CHAT if name in row]:
        return _chat(source, _turns(row, chat[0]))
    if "tokens" in row:
        return _tokenised(row, source)
    return _plain(row, source)


def kind(value: object) -> str:
    """What JSON calls a value: "a string", "a list", …"""
    if isinstance(value, bool):
        return "true or false"
    for types, name in (
        (str, "a string"),
        ((int, float), "a number"),
        (Mapping, "an object"),
        ((list, tuple), "a list"),
    ):
        if isinstance(value, types):
            return name
    return "null" if value is None else type(value).__name__


def _plain(row: Mapping[str, object], source: Source) -> Record:
    """A row with a text: extraction, instruction, the tutorial's, or to be answered."""
    answers = [name for name in (*_SPANS, "output") if name in row]
    if len(answers) > 1:
        raise BadRow(f"several answers: {' and '.join(answers)} (a row has one)")
    if not answers:
        _refuse_misspelt(row)
    instruction = _string(row, "instruction")
    text = _text(row, instruction)
    if not text and instruction:
        text, instruction = instruction, ""
    output = _string(row, "output") if "output" in row else None
    if (system := _string(row, "system")) or row.get("history"):
        prompt = "\n".join(part for part in (instruction, text) if part)
        return _chat(source, _with_history(row, system, prompt, output))
    labels = _labels(text, row[answers[0]], answers[0]) if answers and output is None else None
    return Record(source, text, labels=_checked_labels(labels), output=output, instruction=instruction)


def _text(row: Mapping[str, object], instruction: str) -> str:
    order = ("input", "text", "data") if instruction or "output" in row else _TEXT
    name = next((name for name in order if name in row), None)
    if name is not None:
        return _string(row, name)
    if instruction:
        return ""
    found = ", ".join(row) or "none"
    close = next((hint for key in row if (hint := nearest(key.lower(), ("text", "input")))), "")
    raise BadRow(
        f"no text; fields found: {found}{close}",
        hint="A row needs text (with labels or spans), input and output, instruction and output, messages,"
        " or text alone to be answered.",
    )


def _labels(text: str, value: object, name: str) -> Labels:
    if isinstance(value, Mapping):
        return _label_lists(value, name)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return labels_of(text, parse_spans(text, value, name))
    hint = _CLASSES if isinstance(value, str) else ""
    raise BadRow(
        f"{name} must be an object of lists of strings, or a list of spans; found {kind(value)}", hint=hint
    )


def _label_lists(value: Mapping[object, object], name: str) -> Labels:
    """`{type: [strings]}`, without the types that have none."""
    labels: Labels = {}
    findings: list[str] = []
    for label, strings in value.items():
        if not isinstance(label, str) or not label:
            findings.append(f"{name}: a type must be a name, found {label!r}")
        elif isinstance(strings, Sequence) and not isinstance(strings, str):
            bad = next((string for string in strings if not isinstance(string, str) or not string), None)
            if bad is not None or None in strings:
                what = "an empty string" if bad == "" else kind(bad)
                findings.append(f"{name}.{label} must list strings, found {what}")
            elif strings:
                labels[label] = list(strings)
        elif strings is not None:
            findings.append(f"{name}.{label} must be a list of strings, found {kind(strings)}")
    if findings:
        raise BadRow(*findings)
    return labels


def _tokenised(row: Mapping[str, object], source: Source) -> Record:
    tokens = row["tokens"]
    name = next((name for name in _TAGS if name in row), None)
    if not _is_strings(tokens):
        raise BadRow("tokens must be a list of strings")
    if name is None:
        raise BadRow(f"tokens without tags; expected one of {', '.join(_TAGS)}")
    tags = row[name]
    if not _is_strings(tags):
        raise BadRow(
            f"{name} must be a list of tags in words (B-ORG, O, …); numbers say nothing without their names"
        )
    assert isinstance(tokens, Sequence) and isinstance(tags, Sequence)
    text, labels = from_tokens(tokens, tags)
    return Record(source, _checked(text, "tokens"), labels=_checked_labels(labels))


def _chat(source: Source, messages: Sequence[Message]) -> Record:
    """A chat. Its text is what the user says in all turns, by which equal rows are known."""
    text = "\n".join(message.content for message in messages if message.role == "user")
    return Record(source, text, messages=tuple(messages))


def _turns(row: Mapping[str, object], name: str) -> list[Message]:
    turns = row[name]
    if not isinstance(turns, list | tuple):
        raise BadRow(f"{name} must be a list of turns, found {kind(turns)}")
    role_key, content_key = ("role", "content") if name == "messages" else ("from", "value")
    system = _string(row, "system")
    messages = [Message("system", system)] if system else []
    findings: list[str] = []
    for number, turn in enumerate(turns, 1):
        where = f"{name}, turn {number}"
        if not isinstance(turn, Mapping) or role_key not in turn or content_key not in turn:
            findings.append(f"{where}: expected {role_key} and {content_key}")
            continue
        content = turn[content_key]
        role = _ROLES.get(turn[role_key]) if isinstance(turn[role_key], str) else None
        if role is None:
            findings.append(f"{where}: unknown {role_key} {turn[role_key]!r} (system, user or assistant)")
        elif not isinstance(content, str):
            findings.append(f"{where}: {content_key} must be a string, found {kind(content)}")
        elif role == "system" and messages:
            findings.append(f"{where}: system comes first, and once")
        else:
            messages.append(Message(role, _checked(content, where)))
    if not findings and not any(message.role == "user" for message in messages):
        findings.append(f"{name}: no turn of the user")
    if findings:
        raise BadRow(*findings)
    return messages


def _with_history(row: Mapping[str, object], system: str, prompt: str, output: str | None) -> list[Message]:
    messages = [Message("system", system)] if system else []
    history = row.get("history", [])
    if not isinstance(history, list | tuple) or not all(_is_strings(turn) and len(turn) == 2 for turn in history):
        raise BadRow("history must be a list of [question, answer]")
    for question, answer in history:
        messages += [
            Message("user", _checked(question, "history")),
            Message("assistant", _checked(answer, "history")),
        ]
    messages.append(Message("user", prompt))
    if output is not None:
        messages.append(Message("assistant", output))
    return messages


def _parse_cells(row: Mapping[str, object]) -> dict[str, object]:
    parsed = {key: value for key, value in row.items() if value != "" or key not in (*_STRUCTURED, "output")}
    findings: list[str] = []
    hint = ""
    for name in _STRUCTURED:
        if not isinstance(cell := parsed.get(name), str):
            continue
        decoder = StrictDecoder()
        try:
            parsed[name] = decoder.whole(cell)
            findings += [f"{name}: {finding}" for finding in decoder.findings]
        except json.JSONDecodeError as error:
            findings.append(f"{name} must be JSON in a table: {error.msg} at character {error.pos + 1}")
            hint = _CLASSES if name in _SPANS else ""
            if cell.lstrip()[:1] in ("{", "[") and "'" in cell:
                hint = "Single quotes are Python's, not JSON's: write the column with json.dumps."
    if findings:
        raise BadRow(*findings, hint=hint)
    return parsed


def _refuse_misspelt(row: Mapping[str, object]) -> None:
    """A row without answer may have one under a misspelt name: that would be lost without a word."""
    for key in row:
        if key not in KNOWN and (close := difflib.get_close_matches(key.lower(), _ANSWERS, n=1, cutoff=0.8)):
            raise BadRow(f"unknown field '{key}' (did you mean '{close[0]}'?)")


def _string(row: Mapping[str, object], name: str) -> str:
    value = row.get(name, "")
    if isinstance(value, str):
        return _checked(value, name)
    hint = "For extraction, name the field labels." if name == "output" and isinstance(value, Mapping) else ""
    raise BadRow(f"{name} must be a string, found {kind(value)}", hint=hint)


def _is_strings(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _checked_labels(labels: Labels | None) -> Labels | None:
    for label, strings in (labels or {}).items():
        for string in (label, *strings):
            _checked(string, f"labels.{label}")
    return labels


def _checked(text: str, name: str) -> str:
    """`text`, if it can be written as UTF-8 and holds no NUL. Raises BadRow."""
    if "\0" in text:
        raise BadRow(f"{name} holds a NUL character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            code = ord(text[error.start])
            raise BadRow(
                f"{name} holds half a surrogate pair (\\u{code:04x}) at character {error.start + 1}"
            ) from None
    return text
