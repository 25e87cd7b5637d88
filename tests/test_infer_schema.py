"""Held to a schema: against a validator written here, one row at a time, and what the model writes by itself."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_infer_held import NEW, TEXTS, built
from tests.tiny_tokenizers import byte_level, llama_like
from yuantune.data.bound import BoundTemplate
from yuantune.data.readers import read_all
from yuantune.data.record import Record, Source
from yuantune.data.template import Template, load_template
from yuantune.errors import ConfigError, ModelError, UserError
from yuantune.infer import engine
from yuantune.infer.engine import answer
from yuantune.infer.extractor import Extractor
from yuantune.infer.question import Question
from yuantune.infer.schema import SchemaConstraint, SchemaForm, schema_form
from yuantune.models.load import load_model, load_tokenizer
from yuantune.train.quickstart import SAMPLE

pytest.importorskip("xgrammar", reason="needs xgrammar (make test installs it)")

STRING: dict[str, Any] = {"type": "string"}
LIST: dict[str, Any] = {"type": "array", "items": STRING}
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "姓名": LIST,
        "age": {"type": ["integer", "null"]},
        'a"\\': STRING,
        "firm": {"$ref": "#/$defs/f"},
    },
    "required": ["姓名", "firm"],
    "$defs": {"f": {"type": "object", "properties": {"name": STRING, "sites": LIST}, "required": ["sites"]}},
}
SCHEMAS: dict[str, dict[str, Any]] = {
    "person": PERSON,
    "list": {"type": "array", "items": {"anyOf": [STRING, {"type": "boolean"}]}, "minItems": 1, "maxItems": 3},
    "open": {"type": "object", "additionalProperties": STRING},
    "any": {},
    "number": {"type": "integer", "minimum": 0, "maximum": 99999},
    "string": STRING,
}
CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {"sex": {"enum": ["男", "女"]}, "year": {"type": "string", "pattern": "^\\d{4}年$"}},
    "required": ["sex"],
}


def bound(kind: str) -> BoundTemplate:
    template = Template(prompt="{labels}: {text}", labels={"name": (), "firm": ()})
    if kind == "yuan":
        return load_template("resume-ner").bind(load_tokenizer("yuan2-mini"))
    return template.bind({"byte_level": byte_level, "llama": llama_like}[kind]())


@cache
def form(kind: str, name: str) -> SchemaForm:
    return schema_form({**SCHEMAS, "closed": CLOSED}[name], bound(kind))


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether a value is valid, of the keywords that these tests use, with its keys in the schema's order."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "enum" in schema:
        return value in schema["enum"]
    if "anyOf" in schema:
        return any(fits(value, each, root) for each in schema["anyOf"])
    kinds = {"string": str, "integer": int, "boolean": bool, "null": type(None), "array": list, "object": dict}
    types = schema["type"] if isinstance(schema.get("type"), list) else [schema["type"]] if "type" in schema else []
    if types and not any(type(value) is kinds[each] for each in types):
        return False
    if isinstance(value, dict) and types:
        known = schema.get("properties", {})
        more = schema.get("additionalProperties", False)
        if [name for name in known if name in value] != [name for name in value if name in known]:
            return False
        if any(name not in value for name in schema.get("required", ())):
            return False
        allowed = bool(more) or value.keys() <= known.keys()
        return allowed and all(fits(each, known.get(key, more), root) for key, each in value.items())
    if isinstance(value, list) and types:
        size = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 99)
        return size and all(fits(each, schema["items"], root) for each in value)
    return not isinstance(value, int) or schema.get("minimum", value) <= value <= schema.get("maximum", value)


def strings_of(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [string for each in inside for string in strings_of(each)]


def check(raw: str, name: str, text: str | None) -> Any:
    """The oracle: canonical JSON, valid, its strings from the text."""
    value = json.loads(raw)
    if name != "any":  # Floats may be written in several ways.
        assert json.dumps(value, ensure_ascii=False) == raw
    assert fits(value, {**SCHEMAS, "closed": CLOSED}[name], {**SCHEMAS, "closed": CLOSED}[name])
    assert text is None or all(string in text for string in strings_of(value))
    return value


pieces = st.sampled_from(["张三", "a", "<sep>", '"', "\\", "\n", " ", "é", "😀", "", "x y"])


def values(schema: dict[str, Any], root: dict[str, Any], strings: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Valid values, keys in order."""
    if "$ref" in schema:
        return values(root["$defs"]["f"], root, strings)
    if "anyOf" in schema:
        return st.one_of([values(each, root, strings) for each in schema["anyOf"]])
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        some = {name: values(each, root, strings) for name, each in schema["properties"].items()}
        every = st.fixed_dictionaries(some)
        kept = st.sets(st.sampled_from(list(some)))
        needed = set(schema["required"])
        return st.builds(lambda all_, keep: {k: all_[k] for k in some if k in keep | needed}, every, kept)
    if kind == "object":
        return st.dictionaries(strings, strings, max_size=3)
    if kind == "array":
        low, high = schema.get("minItems", 0), schema.get("maxItems", 3)
        return st.lists(values(schema["items"], root, strings), min_size=low, max_size=high)
    if kind is None:
        return st.recursive(
            strings | st.none() | st.booleans(), lambda inner: st.lists(inner, max_size=2), max_leaves=3
        )
    scalars: dict[str, st.SearchStrategy[Any]] = {
        "string": strings,
        "boolean": st.booleans(),
        "integer": st.integers(0, 99999),
    }
    return scalars[kind] if isinstance(kind, str) else scalars["integer"] | st.none()


@pytest.mark.parametrize("kind", ["byte_level", "llama", "yuan"])
@settings(max_examples=30)
@given(st.data(), st.sampled_from(sorted(SCHEMAS)), st.booleans())
def test_the_greedy_answer_is_the_free_one_where_that_is_valid(
    kind: str, data: st.DataObject, name: str, grounded: bool
) -> None:
    """A model that writes a valid answer by itself writes the same when it is held; what is forced is right."""
    this = form(kind, name)
    value = data.draw(values(SCHEMAS[name], SCHEMAS[name], pieces))
    raw = json.dumps(value, ensure_ascii=False)
    free = [*this.encode(raw), this.end_ids[0]]
    if kind == "yuan" and b"".join(this.bytes_of[i] or b"" for i in free).removeprefix(b" ").decode() != raw:
        return  # A character that this tokenizer replaces.
    held = this.hold("".join(strings_of(value)) if grounded else None)
    while not held.ended and len(held.ids) < len(free):
        logits_V = torch.zeros(len(this.bytes_of))
        wanted = free[len(held.ids)]
        logits_V[wanted] = 1.0
        assert held.choose(logits_V, wanted) == wanted
        held.forced()
        assert held.ids == free[: len(held.ids)]
    assert held.ended and not held.failure and held.closed == raw and held.ids == free[:-1]


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from(sorted(SCHEMAS)), st.booleans())
def test_what_is_written_is_valid(seed: int, name: str, grounded: bool) -> None:
    """A model that knows nothing writes by its logits, until it ends or is cut."""
    draw, this, text = random.Random(seed), form("byte_level", name), 'Tom "x" \\ 李四 <s>\n'
    held = this.hold(text if grounded else None)
    limit = draw.choice((5, 20, 60, 200))
    while not held.ended and len(held.ids) < limit:
        logits_V = torch.tensor([draw.random() for _ in this.bytes_of])
        for byte in b'"]}':
            logits_V[this.bytes_of.index(bytes([byte]))] += draw.choice((0.0, 0.5))
        held.choose(logits_V, int(logits_V.argmax()))
        if draw.random() < 0.5:
            held.forced()
    raw = held.closed
    if held.failure:
        assert "cut short" in held.failure and name in ("list", "number", "string")
        return
    check(raw, name, text if grounded else None)


@settings(max_examples=30)
@given(st.data(), st.sampled_from(["person", "list", "open", "any"]))
def test_an_answer_cut_short_is_closed_behind_its_last_value(data: st.DataObject, name: str) -> None:
    value = data.draw(values(SCHEMAS[name], SCHEMAS[name], pieces))
    this = form("byte_level", name)
    ids = this.encode(json.dumps(value, ensure_ascii=False))
    cut = data.draw(st.integers(0, len(ids) - 1))
    held = this.hold(None)
    for token in ids[:cut]:
        assert held.accept(token)
    raw = held.closed
    if name == "list" and held.failure:
        return
    assert not held.failure
    mine = strings_of(check(raw, name, None))
    assert mine == strings_of(value)[: len(mine)]  # Nothing is invented.


def test_what_cannot_be_closed_says_so() -> None:
    held = form("byte_level", "closed").hold(None)
    for token in form("byte_level", "closed").encode('{"sex'):
        assert held.accept(token)
    assert held.closed == '{"sex' and "cut short" in held.failure
    number = form("byte_level", "number").hold(None)
    assert number.accept(form("byte_level", "number").encode("12")[0])
    assert number.closed == "1" and number.failure  # It might have gone on.


def logits_for(this: SchemaForm, *tokens: int) -> torch.Tensor:
    """The first of them the likeliest."""
    logits_V = torch.zeros(len(this.bytes_of))
    for number, token in enumerate(tokens):
        logits_V[token] = 9.0 - number
    return logits_V


@pytest.mark.parametrize("kind", ["byte_level", "llama", "yuan"])
def test_control_tokens_stay_out_and_the_end_comes_last(kind: str) -> None:
    template = bound(kind)
    special = template.tokenizer.all_special_ids
    this = schema_form({"type": "object", "properties": {"a": STRING, "n": {"type": "integer"}}}, template)
    for begun in ("", '{"a": "', '{"a": "x', '{"n": 1', "{"):
        held = this.hold(None)
        for token in this.encode(begun) if begun else []:
            assert held.accept(token)
        token = held.choose(logits_for(this, *special, *this.end_ids), special[0])
        assert token not in special and this.bytes_of[token] and not held.ended
    number = schema_form({"type": "integer"}, template)
    held, ids = number.hold(None), number.encode("12")
    assert held.choose(logits_for(number, number.end_ids[0], ids[0]), number.end_ids[0]) == ids[0]
    for token in ids[1:]:
        assert held.choose(logits_for(number, token), token) == token and not held.ended
    assert held.choose(logits_for(number, number.end_ids[0]), number.end_ids[0]) == number.end_ids[0]
    assert held.ended and held.closed == "12"


def test_an_answer_begins_as_in_training() -> None:
    this = form("yuan", "person")
    held = this.hold(None)
    tokenizer = bound("yuan").tokenizer
    assert this.lead == b" " and held.forced()
    assert tokenizer.convert_ids_to_tokens(held.ids)[0] == '▁{"'


def test_a_key_stands_once_and_escapes_are_needed() -> None:
    this = form("byte_level", "open")
    held = this.hold(None)
    for token in this.encode('{"ab": "x", "ab'):
        assert held.accept(token)
    assert not held.accept(this.encode('"')[0]) and held.accept(this.encode("c")[0])
    for wrong in ('{"\\u5f20', '{"a": "\\/', '{"a": "\\ud800'):
        held = this.hold(None)
        assert not all(held.accept(token) for token in this.encode(wrong))


def test_where_nothing_can_follow_the_row_says_so() -> None:
    this = form("byte_level", "closed")
    held = this.hold("an empty text")  # Not grounded by an extractor, which refuses this schema.
    for _ in range(60):
        if held.ended:
            break
        held.choose(logits_for(this), 0)
    assert held.ended and "nothing that the schema allows can follow" in held.failure


def test_grounding_is_refused_for_strings_that_the_schema_describes() -> None:
    with pytest.raises(ConfigError, match="need not stand in the text") as caught:
        form("byte_level", "closed").check_grounding()
    assert "schema.properties.sex: names the strings" in str(caught.value) and "--no-grounded" in caught.value.hint
    form("byte_level", "person").check_grounding()


@pytest.mark.parametrize(
    "schema",
    [{"type": "object", "properties": []}, {"$ref": "#/nowhere"}, {**STRING, "pattern": "("}, {"enum": []},
     {"type": "integer", "minimum": 3, "maximum": 2}],
)  # fmt: skip
def test_what_xgrammar_cannot_compile_is_one_message(schema: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="the schema cannot be compiled: ") as caught:
        schema_form(schema, bound("byte_level"))
    assert "project/cpp" not in str(caught.value) and "\n" not in str(caught.value)


def test_without_xgrammar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "xgrammar", None)
    with pytest.raises(UserError, match="needs the package xgrammar") as caught:
        schema_form(STRING, bound("byte_level"))
    assert "yuantune[schema]" in caught.value.hint and not isinstance(caught.value, ConfigError | ModelError)


# ------------------------------------------------------------------------------------------ engine and extractor


def alone(model: Any, prompt: Sequence[int], held: SchemaConstraint) -> list[int]:
    """The allowed token of the highest logit, each token asked for by itself, everything computed anew."""
    while not held.ended and len(held.ids) < NEW:
        with torch.no_grad():
            logits_V = model(input_ids=torch.tensor([[*prompt, *held.ids]]), use_cache=False).logits[0, -1]
        allowed = [
            token for token, data in enumerate(held.form.bytes_of)
            if data and held._position.behind(data, held._text) and held._matcher.fork().accept_token(token)
        ]  # fmt: skip
        if held._matcher.is_completed():
            allowed += held.form.end_ids
        best = max(allowed, key=lambda token: float(logits_V[token]))
        if best in held.form.end_ids:
            break
        assert held.accept(best)
        held.forced()
    return held.ids[:NEW]


@pytest.mark.parametrize("kind", ["llama", "yuan"])
@pytest.mark.parametrize("drafts", [0, 99])
@pytest.mark.parametrize(
    ("name", "grounded"), [("person", True), ("person", False), ("any", True), ("open", False)]
)
def test_answers_are_those_of_one_row_at_a_time(
    kind: str, drafts: int, name: str, grounded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "DRAFT_TOKENS", drafts)
    model, this, tokenizer = built(kind), form("byte_level", name), byte_level()
    prompts = [tokenizer.encode(f"{name}: {text}\n", add_special_tokens=False) for text in TEXTS]
    held = [this.hold(text if grounded else None) for text in TEXTS]
    questions = [
        Question(prompt, each, tokenizer.encode(text, add_special_tokens=False))
        for prompt, each, text in zip(prompts, held, TEXTS, strict=True)
    ]
    found = answer(model, questions, end_ids=this.end_ids, pad_id=0, max_new_tokens=NEW, batch_size=3)
    for each in sorted(found, key=lambda one: one.index):
        text = TEXTS[each.index] if grounded else None
        assert each.ids == alone(model, prompts[each.index], this.hold(text))
        raw = held[each.index].closed
        if name == "person" or not held[each.index].failure:
            check(raw, name, text)


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    template = load_template("resume-ner").bind(load_tokenizer("yuan2-mini"))
    return Extractor(load_model("yuan2-mini", dtype="float32", device_map="cpu"), template, max_new_tokens=96)


@pytest.fixture(scope="module")
def rows() -> list[Record]:
    return read_all(SAMPLE / "test.jsonl")[:6]


def labels_schema(types: Sequence[str]) -> dict[str, Any]:
    strings = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
    return {"type": "object", "properties": dict.fromkeys(types, strings)}


@pytest.fixture
def schema(extractor: Extractor) -> Any:
    """Sets one, and takes it off again."""

    def put(value: dict[str, Any] | None, **options: Any) -> None:
        extractor.set(**options)
        extractor.schema = value

    yield put
    extractor.schema = None
    extractor.set(grounded=True, max_new_tokens=96)


@pytest.mark.parametrize("way", ["slots", "generate"])
def test_the_models_answers(
    extractor: Extractor, rows: list[Record], schema: Callable[..., None], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held to the labels' form written as a schema, they are those of that form; free ones that are valid stay."""
    if way == "generate":
        monkeypatch.setattr(engine, "_slots_serve", lambda model: False)
    types = extractor.template.schema.types
    by_form = [each.raw for each in extractor.predict(rows)]
    extractor.constrain = False
    free = [each.raw for each in extractor.predict(rows)]
    extractor.constrain = True
    schema(labels_schema(types))
    by_schema = list(extractor.predict(rows))
    assert [each.raw for each in by_schema] == by_form
    assert [each.value for each in by_schema] == [json.loads(raw) for raw in by_form]
    schema(labels_schema(types), grounded=False)
    freely = [each.raw for each in extractor.predict(rows)]
    compared = 0
    for mine, theirs in zip(freely, free, strict=True):
        try:
            value = json.loads(theirs)
        except json.JSONDecodeError:
            continue
        order = [name for name in types if name in value]
        if list(value) == order and all(value.values()) and json.dumps(value, ensure_ascii=False) == theirs:
            compared += 1
            assert mine == theirs
    assert compared >= 2


def test_rows_that_fail_do_not_stop_the_others(
    extractor: Extractor, rows: list[Record], schema: Callable[..., None]
) -> None:
    needed = {
        "type": "object",
        "properties": {"name": STRING, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
        "required": ["name", "age"],
    }
    schema(needed, max_new_tokens=8)
    found = list(extractor.predict(rows, keep_going=True))
    failed = [each for each in found if each.error]
    assert failed and all("cut short" in each.error and each.value is None and not each.finished for each in failed)
    schema(needed, max_new_tokens=60)
    found = list(extractor.predict(rows[:4]))
    for record, each in zip(rows, found, strict=False):
        assert not each.error and list(each.value) == ["name", "age"] and each.value["name"] in record.text
    assert extractor.extract([rows[0].text]) == [found[0].value]


def test_a_schema_that_describes_strings_needs_no_grounded(
    extractor: Extractor, schema: Callable[..., None]
) -> None:
    with pytest.raises(ConfigError, match="both cannot be promised"):
        schema(CLOSED)
    schema(CLOSED, grounded=False)
    value: Any = extractor.extract("李四，女，1990年生。")
    assert fits(value, CLOSED, CLOSED)
    extractor.grounded = True
    with pytest.raises(ConfigError, match="both cannot be promised"):
        next(extractor.predict([Record(source=Source("t", 1), text="a")]))
