"""Exercises as rows: the tokens of a row are those that training with the question's own template would give."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest
from recipes.yuan2_mini.render import RESUME, TAGS, as_row, question, render, resume_exercise
from recipes.yuan2_mini.segments import Exercise, Segment
from recipes.yuan2_mini.wordings import ENGLISH, ENGLISH_WORDINGS, HINTS, LISTED, NAMES, PLAIN, SHORT, WITH_EXAMPLE

from yuantune.data.labels import parse
from yuantune.data.record import Record, Source
from yuantune.data.template import load_template
from yuantune.models.load import load_tokenizer

SEGMENTS: list[Segment] = [
    ("张三", "NAME"),
    ("，", None),
    ("汉族", "RACE"),
    ("，", None),
    ("金融学", "PRO"),
    ("硕士", "EDU"),
    ("，历任", None),
    ("江州云陌公司", "ORG"),
    ("经理", "TITLE"),
    ("、", None),
    ("董事", "TITLE"),
    ("，现任", None),
    ("公司", "ORG"),
    ("董事", "TITLE"),
    ("。<sep>", None),
]
RESUME_ROW = resume_exercise(SEGMENTS)
FORM = Exercise("收件人：李四\n单号：A-17", {"单号": ["A-17"]}, ("单号", "寄件人"), "form")


def test_a_resume_asks_for_all_types_in_text_order() -> None:
    assert RESUME_ROW.kind == RESUME and RESUME_ROW.asked == TAGS and len(TAGS) == 8
    assert RESUME_ROW.labels["TITLE"] == ["经理", "董事", "董事"]
    assert RESUME_ROW.text == "张三，汉族，金融学硕士，历任江州云陌公司经理、董事，现任公司董事。<sep>"


@pytest.mark.parametrize("exercise", [RESUME_ROW, FORM], ids=lambda exercise: exercise.kind)
def test_a_row_has_the_tokens_of_its_own_template(exercise: Exercise) -> None:
    tokenizer = load_tokenizer("yuan2-mini")
    plain = load_template("plain").bind(tokenizer)
    draw = Random(0)
    for _ in range(150):
        template, record = question(exercise, draw, example=FORM)
        row = as_row(template, record)
        own = template.bind(tokenizer).example(record)
        read = plain.example(Record(Source("row", 1), row["input"], output=row["output"]))
        assert (read.ids, read.supervised) == (own.ids, own.supervised)


def test_answers_state_the_asked_labels() -> None:
    draw = Random(1)
    names = {name: tag for tag in TAGS for name in (*NAMES[tag], *ENGLISH[tag], tag)}
    asked_for: Counter[str] = Counter()
    for _ in range(400):
        row = render(RESUME_ROW, draw, example=FORM)
        labels = parse(row["output"])
        assert labels is not None and RESUME_ROW.text in row["input"]
        for name, strings in labels.items():
            assert strings == RESUME_ROW.labels[names[name]]
            assert name in row["input"]
        asked_for.update(list(labels))
    assert len(asked_for) > 30  # Names vary.


def test_the_tutorials_question_is_a_fourth_and_verbatim() -> None:
    template = load_template("resume-ner")
    draw = Random(2)
    rows = [render(RESUME_ROW, draw) for _ in range(1000)]
    prompt = template.render(Record(Source("row", 1), RESUME_ROW.text))
    verbatim = [row for row in rows if row["input"] == prompt]
    assert 200 < len(verbatim) < 300
    assert list(json.loads(verbatim[0]["output"])) == ["姓名", "种族", "职位", "教育背景", "专业", "组织名"]
    others = sorted(len(row["input"]) - len(RESUME_ROW.text) for row in rows if row["input"] != prompt)
    assert others[len(others) // 2] < 60  # Prompts cost time.


def test_other_exercises_keep_their_types_and_order() -> None:
    draw = Random(3)
    for _ in range(300):
        template, record = question(FORM, draw, example=RESUME_ROW)
        assert tuple(template.labels) == FORM.asked and record.labels == FORM.labels


def test_examples_are_answered_for_the_asked_types() -> None:
    draw = Random(4)
    short = resume_exercise([("李四", "NAME"), ("任", None), ("会计", "TITLE")])
    shown = [row for _ in range(600) if short.text in (row := render(RESUME_ROW, draw, example=short))["input"]]
    assert shown
    for row in shown:
        example = row["input"].split(short.text)[1]
        answer = parse(example[example.index("{") : example.index("}") + 1])
        assert answer is not None and {string for strings in answer.values() for string in strings} <= {
            "李四",
            "会计",
        }


def test_same_seed_same_rows() -> None:
    once, again = ([render(RESUME_ROW, draw) for _ in range(50)] for draw in (Random(5), Random(5)))
    assert once == again


def test_wordings() -> None:
    wordings = [*SHORT, *PLAIN, *ENGLISH_WORDINGS, *LISTED, *WITH_EXAMPLE]
    assert len(set(wordings)) == len(wordings) >= 40
    assert all(wording.count("{text}") == 1 for wording in wordings)
    assert all(len(set(names)) == len(names) >= 6 for names in NAMES.values())
    assert NAMES.keys() == ENGLISH.keys() == HINTS.keys()
    template = load_template("resume-ner")
    assert list(template.labels.items()) == [(names[0], (tag,)) for tag, names in NAMES.items()]
    every = [name for table in (NAMES, ENGLISH) for names in table.values() for name in names]
    assert len(set(every)) == len(every)
