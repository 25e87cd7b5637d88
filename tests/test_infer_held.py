"""Constrained answers: engine against one row at a time, and against what the model would write by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tests.tiny_tokenizers import byte_level
from yuantune.data.labels import canonical, parse
from yuantune.data.readers import read_all
from yuantune.data.record import Prediction, Record, Source
from yuantune.data.template import Template, load_template
from yuantune.infer import engine
from yuantune.infer.constraint import Constraint, Form, form_of
from yuantune.infer.engine import answer
from yuantune.infer.extractor import Extractor
from yuantune.infer.question import Question
from yuantune.models.load import load_model, load_tokenizer
from yuantune.models.yuan2.config import YuanConfig
from yuantune.models.yuan2.model import YuanForCausalLM
from yuantune.train.quickstart import SAMPLE

SHAPE = {"vocab_size": 300, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2}
TEXTS = ["Tom works at Acme", 'a "quoted" word \\ here', "xyxyxyxyxy", "Zoé met 李四 in Köln"]
NEW = 60


def built(kind: str) -> PreTrainedModel:
    torch.manual_seed(5)
    if kind == "llama":
        model: Any = LlamaForCausalLM(LlamaConfig(**SHAPE, num_attention_heads=2))
    else:
        ids = {f"{name}_token_id": 1 for name in ("bos", "eos", "pad", "eod")}
        model = YuanForCausalLM(YuanConfig(**SHAPE, **ids, num_attention_heads=2, max_position_embeddings=512))
    for parameter in model.parameters():
        parameter.data.mul_(6)  # Else all tokens are about as likely, and none is copied twice.
    return model.double().eval()


def form() -> Form:
    template = Template(prompt="{labels}: {text}", labels={"name": (), "firm": (), "na": ()})
    return form_of(template.bind(byte_level()))


def alone(model: PreTrainedModel, prompt: Sequence[int], constraint: Constraint) -> list[int]:
    """The allowed token of the highest logit, one after the other, everything computed anew; what must follow is
    written as it is learnt."""
    while not constraint.ended and len(constraint.ids) < NEW:
        ids = torch.tensor([[*prompt, *constraint.ids]])
        with torch.no_grad():
            logits_V = model(input_ids=ids, use_cache=False).logits[0, -1]
        allowed = [
            token for token in range(len(logits_V))
            if constraint.form.after(constraint._state, token, constraint._text) is not None
        ]  # fmt: skip
        assert constraint.accept(max(allowed, key=lambda token: float(logits_V[token])))
        if not constraint.ended:
            constraint.forced()
    return constraint.ids[:NEW]


@pytest.mark.parametrize("kind", ["llama", "yuan"])
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("drafts", [0, 99])
@pytest.mark.parametrize("grounded", [False, True])
def test_answers_are_those_of_one_row_at_a_time(
    kind: str, batch_size: int, drafts: int, grounded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "DRAFT_TOKENS", drafts)
    model, this, tokenizer = built(kind), form(), byte_level()
    prompts = [tokenizer.encode(f"name, firm: {text}\n", add_special_tokens=False) for text in TEXTS]
    held = [Constraint(this, text if grounded else None) for text in TEXTS]
    questions = [
        Question(prompt, each, tokenizer.encode(text, add_special_tokens=False))
        for prompt, each, text in zip(prompts, held, TEXTS, strict=True)
    ]
    found = answer(model, questions, end_ids=[1], pad_id=0, max_new_tokens=NEW, batch_size=batch_size)
    for each in sorted(found, key=lambda one: one.index):
        text = TEXTS[each.index]
        expected = alone(model, prompts[each.index], Constraint(this, text if grounded else None))
        assert each.ids == expected
        assert each.finished == (held[each.index].ended and len(held[each.index].ids) <= NEW)
        labels = parse(held[each.index].closed)
        assert labels is not None and set(labels) <= {"name", "firm", "na"}
        if grounded:
            assert all(string in text for strings in labels.values() for string in strings)


@pytest.fixture(scope="module")
def rows() -> list[Record]:
    return read_all(SAMPLE / "test.jsonl")[:16]


@pytest.fixture(scope="module")
def answers(rows: list[Record]) -> dict[str, list[Prediction]]:
    """The built-in model's answers, by the engine and by `generate`, free and held."""
    name = "yuan2-mini"
    template = load_template("resume-ner").bind(load_tokenizer(name))
    extractor = Extractor(load_model(name, dtype="float32", device_map="cpu"), template, max_new_tokens=96)
    found: dict[str, list[Prediction]] = {}
    with pytest.MonkeyPatch.context() as patch:
        for way in ("slots", "generate"):
            if way == "generate":
                patch.setattr(engine, "_slots_serve", lambda model: False)
            for constrain in (False, True):
                extractor.constrain = constrain
                found[f"{way}, {'held' if constrain else 'free'}"] = list(extractor.predict(rows))
    return found


@pytest.mark.parametrize("how", ["free", "held"])
def test_the_engine_answers_as_generate(answers: dict[str, list[Prediction]], how: str) -> None:
    mine, theirs = ([each.raw for each in answers[f"{way}, {how}"]] for way in ("slots", "generate"))
    assert mine == theirs


def test_held_answers_are_the_free_ones_wherever_those_are_valid(
    rows: list[Record], answers: dict[str, list[Prediction]]
) -> None:
    schema = load_template("resume-ner").label_schema
    compared = 0
    for record, free, held in zip(rows, answers["slots, free"], answers["slots, held"], strict=True):
        labels = free.labels
        if labels is None or not free.finished or not set(labels) <= set(schema.types):
            continue
        in_order = {name: labels[name] for name in schema.types if name in labels}
        if json.dumps(in_order, ensure_ascii=False) != free.raw:
            continue
        if all(string and string in record.text for strings in labels.values() for string in strings):
            compared += 1
            assert held.raw == free.raw
    assert compared >= 3


def test_held_answers_are_valid_and_from_the_text(rows: list[Record], answers: dict[str, list[Prediction]]) -> None:
    schema = load_template("resume-ner").label_schema
    for record, held in zip(rows, answers["slots, held"], strict=True):
        assert held.labels is not None
        assert list(held.labels) == [name for name in schema.types if name in held.labels]
        assert json.dumps(held.labels, ensure_ascii=False) == held.raw
        assert all(string in record.text for strings in held.labels.values() for string in strings)


def test_an_answer_cut_short_is_valid_and_says_so(rows: list[Record]) -> None:
    name = "yuan2-mini"
    template = load_template("resume-ner").bind(load_tokenizer(name))
    extractor = Extractor(load_model(name, dtype="float32", device_map="cpu"), template, max_new_tokens=12)
    cut = [each for each in extractor.predict(rows) if not each.finished]
    assert cut
    for each in cut:
        assert each.labels is not None
        assert all(string in each.text for strings in each.labels.values() for string in strings)


def test_the_text_proposes_how_a_copy_goes_on(rows: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answers in fewer steps."""
    name = "yuan2-mini"
    template = load_template("resume-ner").bind(load_tokenizer(name))
    extractor = Extractor(load_model(name, dtype="float32", device_map="cpu"), template, max_new_tokens=48)
    steps: dict[int, int] = {}
    raws = []
    step = engine._step
    for drafts in (0, 32):
        monkeypatch.setattr(engine, "DRAFT_TOKENS", drafts)
        steps[drafts] = 0

        def counted(*args: Any, drafts: int = drafts) -> None:
            steps[drafts] += 1
            step(*args)

        monkeypatch.setattr(engine, "_step", counted)
        raws.append([each.raw for each in extractor.predict(rows[:4])])
    assert raws[0] == raws[1]
    assert steps[32] < 0.8 * steps[0]


def test_where_a_text_goes_on() -> None:
    lookup = engine._Lookup([5, 6, 7, 8, 6, 7, 9, 6])
    assert lookup.draft([3, 6], 2) == [7, 8]
    assert lookup.draft([6, 7], 2) == [8, 6]  # Behind the place that was used last: the copy goes on there.
    assert lookup.draft([6, 7], 9) == [9, 6]
    assert lookup.draft([8, 6, 7], 1) == [9]
    assert lookup.draft([4], 3) == lookup.draft([], 3) == lookup.draft([6], 0) == []
    assert engine._Lookup([5, 6]).draft([6], 3) == []


def test_other_tasks_are_not_held_to_labels() -> None:
    name = "yuan2-mini"
    template = load_template("plain").bind(load_tokenizer(name))
    extractor = Extractor(load_model(name, dtype="float32", device_map="cpu"), template, max_new_tokens=3)
    assert extractor._form is None
    record = Record(source=Source("t", 1), text="你好", labels=None)
    assert next(extractor.predict([record])).answer_tokens <= 3
    assert canonical({"a": ["b"]}, "b", template.schema) == '{"a": ["b"]}'
