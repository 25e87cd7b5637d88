"""Row shapes: which fields make which record, and what is said about rows that make none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.row_files import LINE, ROW, lines_of, problems_of, write
from yuantune.data.readers import read_all
from yuantune.data.record import Message, Record


def record_of(tmp_path: Path, row: object) -> Record:
    return read_all(write(tmp_path, "x.jsonl", json.dumps(row, ensure_ascii=False)))[0]


SPANS = [[7, 10, "PRO"], [0, 2, "NAME"], [3, 5, "RACE"], [3, 4, "RACE"]]
SPAN_LABELS = {"NAME": ["张三"], "RACE": ["汉", "汉族"], "PRO": ["融学硕"]}


@pytest.mark.parametrize("field", ["labels", "label", "entities", "spans"])
@pytest.mark.parametrize(
    "keys", [None, ("start", "end", "label"), ("start_offset", "end_offset", "label"), ("start", "end", "type")]
)
def test_spans(tmp_path: Path, field: str, keys: tuple[str, ...] | None) -> None:
    spans = SPANS if keys is None else [dict(zip(keys, span, strict=True)) for span in SPANS]
    record = record_of(tmp_path, {"id": 7, "text": ROW["text"], field: spans, "relations": [], "Comments": []})
    assert record.labels == SPAN_LABELS
    assert list(record.labels) == list(SPAN_LABELS)


@pytest.mark.parametrize(
    ("span", "what"),
    [
        ([0, 99, "A"], "0–99 is not a span of a text of 3 characters"),
        ([-1, 2, "A"], "-1–2 is not a span"),
        ([1, 1, "A"], "1–1 is not a span"),
        ([True, 2, "A"], "expected [start, end, label]"),
        ([0, 2], "expected [start, end, label]"),
        ([0, 2, ""], "expected [start, end, label]"),
        ("positive", "expected [start, end, label]"),
        ({"start": 0, "end": 1, "label": "A", "text": "ab"}, "0–1 marks 'a', its text says 'ab' (ends are ex"),
        ({"start": 0, "end": 1}, "expected [start, end, label]"),
    ],
)  # fmt: skip
def test_bad_spans(tmp_path: Path, span: object, what: str) -> None:
    row = {"text": "abc", "entities": [[0, 1, "A"], span, [0, 50, "A"]]}
    _, problems, _ = problems_of(write(tmp_path, "x.jsonl", json.dumps(row)))
    assert len(problems) == 2
    assert problems[0].what.startswith(f"entities, entry 2: {what}")
    assert problems[1].what.startswith("entities, entry 3: 0–50")


def studio(text: str, annotations: list[list[dict[str, Any]]], **data: Any) -> dict[str, Any]:
    results = [
        [{"type": "labels", "from_name": "label", "to_name": "text", "value": value} for value in values]
        for values in annotations
    ]
    return {"id": 1, "data": data or {"text": text}, "annotations": [{"result": result} for result in results]}


def test_label_studio(tmp_path: Path) -> None:
    values = [
        {"start": 3, "end": 5, "text": "汉族", "labels": ["RACE", "WORD"]},
        {"start": 0, "end": 2, "text": "张三", "labels": ["NAME"]},
        {"choices": ["good"]},
    ]
    task = studio(str(ROW["text"]), [values])
    labels = {"NAME": ["张三"], "RACE": ["汉族"], "WORD": ["汉族"]}
    assert record_of(tmp_path, task).labels == labels
    other = studio("", [values], note="一条", resume=ROW["text"])
    assert (record_of(tmp_path, other).text, record_of(tmp_path, other).labels) == (ROW["text"], labels)
    task["annotations"] += [{"result": [], "was_cancelled": True}]
    assert record_of(tmp_path, task).labels == labels
    task["annotations"] += [{"result": []}]
    _, problems, hint = problems_of(write(tmp_path, "x.json", json.dumps([task])))
    assert problems[0].what == "2 annotations that disagree"
    assert "ground truth" in hint
    task["annotations"][2]["ground_truth"] = True
    assert record_of(tmp_path, task).labels == {}
    assert record_of(tmp_path, {"data": {"text": "a"}, "annotations": []}).labels is None
    # The smaller export.
    row = {"id": 1, "text": "张三", "label": [{"start": 0, "end": 2, "text": "张三", "labels": ["NAME"]}]}
    assert record_of(tmp_path, row).labels == {"NAME": ["张三"]}


def test_offsets_in_utf16_units_are_known_by_the_text_they_mark(tmp_path: Path) -> None:
    task = studio("𠮷田和𠮷野", [[{"start": 4, "end": 7, "text": "𠮷野", "labels": ["NAME"]}]])
    assert record_of(tmp_path, task).labels == {"NAME": ["𠮷野"]}


def test_instructions(tmp_path: Path) -> None:
    record = record_of(tmp_path, {"instruction": "Translate.", "input": "你好", "output": "hello"})
    assert (record.instruction, record.text, record.output) == ("Translate.", "你好", "hello")
    # Without an input the instruction is the whole prompt.
    record = record_of(tmp_path, {"instruction": "Say hello.", "input": "", "output": "hello"})
    assert (record.instruction, record.text, record.output) == ("", "Say hello.", "hello")
    # Such files may repeat the whole prompt as text.
    row = {"instruction": "Translate.", "input": "你好", "output": "hello", "text": "Translate. 你好 hello"}
    assert record_of(tmp_path, row).text == "你好"
    row = {"instruction": "c", "input": "d", "output": "e", "system": "s", "history": [["a", "b"]]}
    assert record_of(tmp_path, row).messages == (
        Message("system", "s"),
        Message("user", "a"),
        Message("assistant", "b"),
        Message("user", "c\nd"),
        Message("assistant", "e"),
    )


@pytest.mark.parametrize(
    ("name", "role", "content", "roles"),
    [
        ("messages", "role", "content", ("user", "assistant")),
        ("conversations", "from", "value", ("human", "gpt")),
    ],
)
def test_chats(tmp_path: Path, name: str, role: str, content: str, roles: tuple[str, str]) -> None:
    said = [("system", "s"), (roles[0], "a"), (roles[1], "b"), (roles[0], "c"), (roles[1], "d")]
    record = record_of(tmp_path, {name: [{role: who, content: what} for who, what in said]})
    assert [message.content for message in record.messages] == list("sabcd")
    assert [message.role for message in record.messages] == ["system", *["user", "assistant"] * 2]
    assert record.text == "a\nc"
    assert record.has_answer
    assert not record_of(tmp_path, {name: [{role: roles[0], content: "a"}]}).has_answer


@pytest.mark.parametrize("row", [{"text": "a"}, {"input": "a"}, {"text": "a", "labels": None}, {"data": "a"}])
def test_rows_to_be_answered(tmp_path: Path, row: dict[str, object]) -> None:
    record = record_of(tmp_path, row)
    assert record.text == "a"
    assert not record.has_answer


# --------------------------------------------------------------------------------------- what can be wrong


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("[1]", "a row must be an object with fields, found a list"),
        ('{"txt": "a", "labels": {}}', "no text; fields found: txt, labels (did you mean 'text'?)"),
        ("{}", "no text; fields found: none"),
        ('{"text": 1}', "text must be a string, found a number"),
        ('{"text": "a", "lables": {}}', "unknown field 'lables' (did you mean 'labels'?)"),
        ('{"input": "a", "Output": "b"}', "unknown field 'Output' (did you mean 'output'?)"),
        ('{"text": "a", "labels": {"A": "x"}}', "labels.A must be a list of strings, found a string"),
        ('{"text": "a", "labels": {"A": ["x", 1]}}', "labels.A must list strings, found a number"),
        ('{"text": "a", "labels": {"A": [null]}}', "labels.A must list strings, found null"),
        ('{"text": "a", "labels": {"A": [""]}}', "labels.A must list strings, found an empty string"),
        ('{"text": "a", "labels": {"": ["x"]}}', "labels: a type must be a name, found ''"),
        ('{"text": "a", "labels": "x"}', "labels must be an object of lists of strings, or a list of spans"),
        ('{"text": "a", "labels": {}, "output": "b"}', "several answers: labels and output"),
        ('{"input": "a", "output": {"A": ["x"]}}', "output must be a string, found an object"),
        ('{"text": "a", "text": "b"}', "the key 'text' occurs twice"),
        ('{"text": "a", "score": NaN}', "NaN is not a JSON value"),
        ('{"text": "a", "score": -Infinity}', "-Infinity is not a JSON value"),
        ('{"text": "a\\ud83d"}', "text holds half a surrogate pair (\\ud83d) at character 2"),
        ('{"text": "a", "labels": {"\\udc00": ["a"]}}', "labels.\\udc00 holds half a surrogate pair"),
        ('{"text": "a\\u0000"}', "text holds a NUL character"),
        ('{"text": "a"', "broken JSON at column 13"),
        ('{"text": "a",}', "broken JSON at column"),
        ('{"text": "a"} {"text": "b"}', "broken JSON at column 15: something follows the value"),
        ("{'text': 'a'}", "broken JSON at column 2"),
        ('{"text": ' + "9" * 5000 + "}", "broken JSON at column 1: a number with too many digits"),
        ("[" * 100_000, "broken JSON at column 1: nested too deeply"),
        ('{"messages": []}', "messages: no turn of the user"),
        ('{"messages": "a"}', "messages must be a list of turns, found a string"),
        ('{"messages": [{"role": "tool", "content": "a"}]}', "messages, turn 1: unknown role 'tool'"),
        ('{"messages": [{"role": "user", "content": [1]}]}', "messages, turn 1: content must be a string"),
        ('{"messages": [{"content": "a"}]}', "messages, turn 1: expected role and content"),
        ('{"instruction": "a", "output": "b", "history": [["a"]]}', "history must be a list of [question, answer]"),
        ('{"tokens": ["a"]}', "tokens without tags"),
        ('{"data": {"a": "x", "b": "y"}}', "which field of data holds the text? found: a, b"),
    ],
)  # fmt: skip
def test_bad_rows(tmp_path: Path, row: str, what: str) -> None:
    good, problems, _ = problems_of(write(tmp_path, "x.jsonl", f"{LINE}\n{row}\n{LINE}\n"), format="jsonl")
    assert [record.source.line for record in good] == [1, 3]
    assert lines_of(problems) == [2]
    assert problems[0].what.startswith(what)
    str(problems[0]).encode()
