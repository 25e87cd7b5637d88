"""A user's schema: what answers cannot be held to is refused, all at once, before anything is compiled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from yuantune.errors import ConfigError
from yuantune.infer.json_schema import check_schema, property_names, read_schema, ungrounded

STRING: dict[str, Any] = {"type": "string"}
PERSON: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Person",
    "type": "object",
    "properties": {
        "name": {**STRING, "description": "as it stands", "minLength": 1},
        "age": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 150}, {"type": "null"}], "default": None},
        "sex": {"enum": ["男", "女"]},
        "born": {**STRING, "pattern": "^\\d{4}年$"},
        "since": {"type": ["string", "null"], "format": "date"},
        "firms": {"type": "array", "items": {"$ref": "#/$defs/firm"}, "maxItems": 9},
        "pair": {"type": "array", "prefixItems": [STRING, {"type": "number"}], "items": False},
        "kind": {"const": "person", "type": "string"},
        "rest": {"type": "object", "additionalProperties": True},
        "free": {},
    },
    "required": ["name", "firms"],
    "additionalProperties": False,
    "$defs": {"firm": {"type": "object", "properties": {"firm": STRING, "in": {"allOf": [STRING]}}}},
}


def test_what_is_held_to_passes() -> None:
    check_schema(PERSON)
    assert property_names(PERSON) == [*PERSON["properties"], "firm", "in"]


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "array", "items": STRING, "uniqueItems": True}, "uniqueItems is not held to"),
        ({"oneOf": [STRING]}, "oneOf is not held to: say anyOf"),
        ({"not": STRING}, "not is not held to"),
        ({"type": "object", "patternProperties": {"^a": STRING}}, "patternProperties is not held to"),
        ({"type": "object", "propertys": {}}, "propertys is not held to (did you mean 'properties'?)"),
        ({"type": "text"}, "type 'text' is none of object, array, string"),
        ({"minLength": 2}, "minLength needs type string"),
        ({"type": "integer", "pattern": "a"}, "pattern needs type string"),
        ({"minimum": 2}, "minimum needs type integer or number"),
        ({"allOf": [STRING, STRING]}, "one member only"),
        ({"anyOf": []}, "anyOf is no list of schemas"),
        ({"type": "object", "anyOf": [STRING]}, "type beside anyOf would be passed over"),
        ({"anyOf": [STRING], "required": ["a"]}, "required beside anyOf would be passed over"),
        ({"$ref": "https://example.org/x"}, "$ref leads out of the schema"),
        ({"$ref": "#/$defs/x", "maxLength": 2, "$defs": {"x": STRING}}, "maxLength beside $ref"),
        ({"enum": [{"a": 1}]}, "enum names a list or an object"),
        ({"type": "string", "enum": ["a", 1]}, "enum names 1, which is not of its type"),
        ({"type": "integer", "const": True}, "const names true"),
        ({**STRING, "format": "iban"}, "format 'iban' is not held to"),
        ({**STRING, "pattern": "a", "maxLength": 2}, "maxLength beside pattern"),
        ({**STRING, "pattern": '"a"'}, "pattern has '\"' at 0"),
        ({**STRING, "pattern": "a\\nb"}, "which is not held to"),
        ({**STRING, "pattern": "^(?=a)b$"}, "pattern has '(?='"),
        ({**STRING, "pattern": "^a$|^b$"}, "pattern has '$' at 2"),
        ({**STRING, "pattern": 3}, "pattern is no string"),
        ({"type": "array", "items": [STRING]}, "items is a list: say prefixItems"),
        ({"type": "object", "properties": {"a": 3}}, "schema.properties.a: 3 is no schema"),
        ({"type": "object", "properties": {"a": STRING}, "required": ["b"]}, "required names 'b'"),
        ({"type": "array", "items": {"not": {}}}, "schema.items: not is not held to"),
    ],
)
def test_what_is_not_held_to_is_refused(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match="answers cannot be held to this schema") as caught:
        check_schema(schema)
    assert said in str(caught.value)


def test_all_problems_are_said_at_once() -> None:
    schema = {"type": "object", "properties": {"a": {"oneOf": []}, "b": {"type": "x"}}, "if": {}, "$defs": {"c": 1}}
    with pytest.raises(ConfigError) as caught:
        check_schema(schema)
    places = [problem.where for problem in caught.value.problems]
    assert places == ["schema", "schema.properties.a", "schema.properties.b", "schema.$defs.c"]


@pytest.mark.parametrize(
    "pattern", ["^\\d{4}-\\d{2}$", "^[^x]+$", "[\\^a]", "^.*年$", "^a\\$$", "[\u4e00-\u9fa5]{2,3}"]
)
def test_plain_patterns_pass(pattern: str) -> None:
    check_schema({**STRING, "pattern": pattern})


def test_strings_that_a_text_may_lack() -> None:
    found = {problem.where.rpartition(".")[2]: problem.what for problem in ungrounded(PERSON)}
    assert found == {
        "sex": "names the strings",
        "born": "pattern describes the string",
        "since": "format describes the string",
        "kind": "names the strings",
    }
    assert [problem.what for problem in ungrounded({**STRING, "minLength": 2})] == ["minLength 2"]
    assert ungrounded({"type": "object", "properties": {"a": STRING, "n": {"enum": [1, None]}, "x": {}}}) == []


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text("\ufeff" + json.dumps(PERSON, ensure_ascii=False), encoding="utf-8")
    assert read_schema(path) == PERSON
    for text, said in (("{", "is not JSON"), ("[]", "not a JSON object"), ('"a"', "not a JSON object")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=said):
            read_schema(path)
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_schema(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_schema(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="directory"):
        read_schema(tmp_path)
