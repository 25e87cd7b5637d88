"""The check before training: every row is whole in the examples, or named; and the totals are right."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import tiny_tokenizers as tiny
from yuantune.data.bound import BoundTemplate
from yuantune.data.check import CheckReport, overlap, prepare
from yuantune.data.check_report import KEPT
from yuantune.data.examples import Example
from yuantune.data.record import Labels, Message, Record, Source
from yuantune.data.template import Template, load_template
from yuantune.errors import DataError, Problem

TYPES = ["name", "job"]


def row(line: int, text: str = "", labels: Labels | None = None, output: str | None = None, **rest: Any) -> Record:
    return Record(Source("rows.jsonl", line), text, labels, output, **rest)


def yuan_like() -> Any:
    return tiny.byte_level(["<s>", "</s>", "<sep>", "<eod>"], eos_token="<eod>")


def extraction() -> BoundTemplate:
    return Template(name="mine", prompt="Find: {text}", labels=TYPES).bind(yuan_like())  # type: ignore[arg-type]


def plain() -> BoundTemplate:
    return load_template("plain").bind(yuan_like())


def kinds(report: CheckReport) -> list[tuple[str, str, str]]:
    return [(each.kind, each.severity, each.where) for each in report.findings]


GOOD = [row(1, "Ann is a nurse.", {"name": ["Ann"], "job": ["nurse"]}), row(2, "Nobody.", {})]


def test_good_rows_become_examples_and_totals() -> None:
    bound = extraction()
    examples, report = prepare(GOOD, bound, bound.schema, max_length=100)
    report.raise_for_errors()
    assert list(examples) == [bound.example(record) for record in GOOD]
    totals = [len(example.ids) for example in examples]
    found = report.to_dict()
    assert found["tokens"]["total"] == {
        "min": min(totals),
        "median": statistics.median(totals),
        "p95": max(totals),
        "max": max(totals),
        "sum": sum(totals),
    }
    assert (report.rows, report.examples, report.no_entity) == (2, 2, 1)
    assert report.supervised_tokens == sum(sum(example.supervised) for example in examples)
    assert report.shared_prefix == len("Find: ")
    # One token a byte, and <sep>.
    assert found["shared_share"] == round(2 * 6 / sum(len(f"Find: {record.text}") + 1 for record in GOOD), 4)
    assert found["characters_per_token"] == 1.0
    assert found["findings"] == [] and found["errors"] == 0
    json.dumps(found)
    assert "2 examples of 2 rows" in report.summary()


def test_every_kind_of_finding() -> None:
    bound = extraction()
    rows = [
        *GOOD,
        row(3, "Bo", {"nmae": ["Bo"]}),
        row(4, "Bo", {"nmae": ["Bo"]}),
        row(5, "Bo", {"name": []}),
        row(6, "Cy and Cy", {"name": ["Cy", "Cy", "Cy", "Di"]}),
        row(7, "  ", {}),
        row(8, "no answer"),
        row(9, "x", output="prose"),
        row(10, "y", output='{"job":["y"]}'),
        row(11, "z", {}, instruction="Find all."),
        row(12, "chat", messages=(Message("user", "a"), Message("assistant", "b"))),
    ]
    _, report = prepare(rows, bound, max_length=100)
    assert kinds(report) == [
        ("unknown-label", "error", "rows.jsonl:3"),
        ("duplicate", "warning", "rows.jsonl:4"),
        ("unknown-label", "error", "rows.jsonl:4"),
        ("conflict", "warning", "rows.jsonl:5"),
        ("not-in-text", "warning", "rows.jsonl:6"),
        ("not-in-text", "warning", "rows.jsonl:6"),
        ("empty-text", "warning", "rows.jsonl:7"),
        ("no-answer", "error", "rows.jsonl:8"),
        ("invalid-json", "error", "rows.jsonl:9"),
        ("not-canonical", "warning", "rows.jsonl:10"),
        ("unused-instruction", "warning", "rows.jsonl:11"),
        ("template", "error", "rows.jsonl:12"),
    ]
    details = {(each.kind, each.where): each.detail for each in report.findings}
    assert details["unknown-label", "rows.jsonl:3"] == "unknown label type 'nmae' (did you mean 'name'?)"
    assert details["duplicate", "rows.jsonl:4"] == "same as rows.jsonl:3"
    assert details["not-in-text", "rows.jsonl:6"] == "name: 'Di' does not occur in the text"
    assert "'prose'" in details["invalid-json", "rows.jsonl:9"]
    with pytest.raises(DataError) as caught:
        report.raise_for_errors()
    assert "5 problems in the training data" in caught.value.message
    assert [problem.where.rpartition(":")[2] for problem in caught.value.problems] == ["3", "4", "8", "9", "12"]
    for way_out in ("use template chat", "JSON object", "add it to the template's labels", "Give these rows"):
        assert way_out in caught.value.hint


def test_a_string_labelled_more_often_than_it_occurs_overlaps_counted() -> None:
    rows = [row(1, "aaa", {"name": ["aa", "aa"]}), row(2, "aab", {"name": ["aa", "aa"]})]
    _, report = prepare(rows, extraction(), max_length=100)
    assert [each.detail for each in report.findings] == ["name: 'aa' is labelled 2 times and occurs 1 times"]


def test_a_code_is_named_with_its_type() -> None:
    bound = load_template("resume-ner").bind(yuan_like())
    _, report = prepare([row(1, "张三", {"NAME": ["张三"]})], bound, max_length=2000)
    assert report.findings[0].detail == (
        "label type 'NAME' is the code of '姓名': `yuantune data convert … --template resume-ner` renames it"
    )


def test_half_a_surrogate_pair_is_an_error_of_its_row() -> None:
    rows = [row(1, "a\ud800", {}), *GOOD]
    _, report = prepare(rows, extraction(), max_length=100)
    assert [(each.where, each.kind) for each in report.findings] == [("rows.jsonl:1", "template")]
    assert "surrogate" in report.findings[0].detail


def test_rows_without_answers_are_left_out_of_evaluation() -> None:
    examples, report = prepare([*GOOD, row(3, "open")], extraction(), max_length=100, role="eval")
    report.raise_for_errors()
    assert (len(examples), report.dropped) == (2, 1)
    assert kinds(report) == [("no-answer", "warning", "rows.jsonl:3")]


def test_free_text_answers() -> None:
    rows = [row(1, "a", output="b"), row(2, "a", output=""), row(3, "c", output='{"k": ["c"]}')]
    _, report = prepare(rows, plain(), max_length=100)
    assert kinds(report) == [("conflict", "warning", "rows.jsonl:2"), ("empty-answer", "warning", "rows.jsonl:2")]
    rows = [row(i, str(i), output='{"k": ["v"]}') for i in range(3)] + [row(9, "x", output='{"k": ["v"]')]
    _, report = prepare(rows, plain(), max_length=100)
    assert kinds(report) == [("invalid-json", "warning", "rows.jsonl:9")]


def test_unreadable_rows_are_named_beside_the_rest() -> None:
    def reading() -> Iterator[Record]:
        yield row(1, "Bo", {"boss": ["Bo"]})
        raise DataError("2 problems", problems=[Problem("rows.jsonl:2", "broken JSON")], hint="Mend it.")

    _, report = prepare(reading(), extraction(), max_length=100)
    with pytest.raises(DataError) as caught:
        report.raise_for_errors()
    assert [problem.where for problem in caught.value.problems] == ["rows.jsonl:1", "rows.jsonl:2"]
    assert "Mend it." in caught.value.hint

    def missing() -> Iterator[Record]:
        raise DataError("no such file")
        yield

    with pytest.raises(DataError, match="no such file"):
        prepare(missing(), extraction(), max_length=100)


def test_no_rows_is_an_error() -> None:
    for rows, message in (([], "there are no rows"), ([row(1, "x" * 99, {})], "no row is left")):
        with pytest.raises(DataError, match=message):
            prepare(rows, extraction(), max_length=50, on_overflow="drop")[1].raise_for_errors()


def test_overlap_of_training_and_evaluation() -> None:
    train = prepare(GOOD, extraction(), max_length=100)[1]
    again = dataclasses.replace(GOOD[0], source=Source("eval.jsonl", 7), labels={})
    evaluation = prepare([again, row(8, "new", {})], extraction(), max_length=100, role="eval")[1]
    assert overlap(train, evaluation) == 1
    assert [str(Problem(each.where, each.detail)) for each in evaluation.findings] == [
        "eval.jsonl:7: also in training: rows.jsonl:1"
    ]


def test_findings_are_counted_beyond_those_kept() -> None:
    rows = [row(i, f"{i}", {"boss": [f"{i}"]}) for i in range(KEPT + 10)]
    _, report = prepare(rows, extraction(), max_length=100)
    assert report.to_dict()["counts"] == {"unknown-label": KEPT + 10}
    with pytest.raises(DataError) as caught:
        report.raise_for_errors()
    assert len(caught.value.problems) == KEPT + 1 and "and 10 more" in str(caught.value.problems[-1])


def test_weighted_rows_are_no_duplicates() -> None:
    _, report = prepare([GOOD[0], GOOD[0]], extraction(), max_length=100)
    assert report.findings == []


def test_bytes_and_unknown_tokens_of_the_text() -> None:
    bound = load_template("plain").bind(tiny.llama_like())
    _, report = prepare([row(1, "ab\né", output="c")], bound, max_length=100)
    # a b <0x0A> <0xC3> <0xA9>; a line break is always a byte, and no sign of a foreign script.
    assert (report.text_tokens, report.byte_tokens, report.unknown_tokens) == (5, 2, 0)


# ------------------------------------------------------------------------------------------------ length

texts = st.text(alphabet="ab汉 é<sep>", max_size=30)
strings = st.lists(st.text("ab汉", min_size=1, max_size=4))
records = st.builds(
    lambda line, text, labels, repeat: row(line, text * repeat, labels),
    st.integers(1, 9),
    texts,
    st.fixed_dictionaries({}, optional=dict.fromkeys(TYPES, strings)),
    st.integers(1, 3),
)


@settings(deadline=None)
@given(
    st.lists(records, min_size=1, max_size=5),
    st.integers(8, 90),
    st.sampled_from(["error", "drop", "shorten-input"]),
)
def test_no_answer_is_lost_without_a_word(rows: list[Record], max_length: int, on_overflow: Any) -> None:
    rows = [dataclasses.replace(record, source=Source("f", i)) for i, record in enumerate(rows, 1)]
    bound = _extraction()
    examples, report = prepare(rows, bound, max_length=max_length, on_overflow=on_overflow)
    whole = {str(record.source): bound.example(record) for record in rows}
    kept = {str(example.source): example for example in examples}
    named = {each.where: each for each in report.findings if each.kind in ("overflow", "shortened")}
    for where, example in whole.items():
        if len(example.ids) <= max_length:
            assert kept[where] == example and where not in named
        elif where in kept:
            assert on_overflow == "shorten-input" and named[where].kind == "shortened"
            _assert_shortened(bound, example, kept[where], max_length)
        else:
            assert named[where].severity == ("warning" if on_overflow == "drop" else "error")
    assert len(named) == sum(len(example.ids) > max_length for example in whole.values())
    assert report.shortened == sum(each.kind == "shortened" for each in named.values())


def _assert_shortened(bound: BoundTemplate, whole: Example, short: Example, max_length: int) -> None:
    def answer(example: Example) -> list[int]:
        return [token for token, supervised in zip(example.ids, example.supervised, strict=True) if supervised]

    assert answer(short) == answer(whole)
    prompts = [bound.decode_answer(e.ids[: e.supervised.index(True)]).removesuffix("<sep>") for e in (whole, short)]
    assert prompts[1].startswith("Find: ") and prompts[0].startswith(prompts[1])
    # As long as can be: one character more (at most four bytes, or a merge less) would not fit.
    assert max_length - 4 < len(short.ids) <= max_length


_BOUND: list[BoundTemplate] = []


def _extraction() -> BoundTemplate:
    if not _BOUND:
        _BOUND.append(extraction())
    return _BOUND[0]


def test_what_would_be_cut_is_said() -> None:
    record = row(1, "Ann", {"name": ["Ann"]})
    length = len(extraction().example(record).ids)
    _, report = prepare([record], extraction(), max_length=length - 1)
    with pytest.raises(DataError) as caught:
        report.raise_for_errors()
    answer = len('{"name": ["Ann"]}') + 1
    assert str(caught.value.problems[0]) == (
        f"rows.jsonl:1: {length} tokens, 1 more than max_length {length - 1}: "
        f"1 of {answer} answer tokens would be cut"
    )
    assert f"Raise data.max_length to {length}" in caught.value.hint and "shorten-input" in caught.value.hint


def test_shortening_says_which_labels_lost_their_string() -> None:
    record = row(1, "Ann is here, and so is Bob", {"name": ["Ann", "Bob"]})
    bound = extraction()
    examples, report = prepare(
        [record], bound, max_length=len(bound.example(record).ids) - 5, on_overflow="shorten-input"
    )
    report.raise_for_errors()
    assert [(each.kind, each.detail) for each in report.findings] == [
        ("shortened", "5 of 26 characters cut"),
        ("cut-away", "name: 'Bob' is no longer in the text"),
    ]
    assert bound.decode_answer(examples[0].ids) == 'Find: Ann is here, and so i<sep>{"name": ["Ann", "Bob"]}<eod>'
    assert report.text_characters == 21


def test_a_conversation_cannot_be_shortened() -> None:
    bound = load_template("chat").bind(yuan_like())
    record = row(1, "q" * 50, messages=(Message("user", "q" * 50), Message("assistant", "a")))
    _, report = prepare([record], bound, max_length=40, on_overflow="shorten-input")
    with pytest.raises(DataError, match="not for the length of its text"):
        report.raise_for_errors()
