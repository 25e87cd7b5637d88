"""A JSON Schema of the user's own: read, and searched for what answers could not be held to.

xgrammar passes over what it does not know: `uniqueItems` or `not` would be promised and not kept, so such keywords
are refused, all at once. What is known of it (0.2.8): a pattern describes the whole string; objects have the
properties that are named, others only where `additionalProperties` says so; keys come in the schema's order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from yuantune.errors import ConfigError, Problem, nearest

_NOTES = frozenset(
    {"title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated", "readOnly"}
    | {"writeOnly", "$defs", "definitions"}
)
"""Keywords that say nothing about what is valid, and where definitions stand."""
_NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_OF_TYPE: dict[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties", "minProperties", "maxProperties"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "string": frozenset({"pattern", "format", "minLength", "maxLength"}),
    "integer": _NUMBERS,
    "number": _NUMBERS,
    "boolean": frozenset(),
    "null": frozenset(),
}
_ALONE = ("$ref", "enum", "const", "anyOf", "allOf")
"""What stands beside one of these is passed over, its type aside."""
_KNOWN = frozenset({"type", *_ALONE}).union(*_OF_TYPE.values())
_FORMATS = frozenset(
    {"email", "date", "time", "date-time", "duration", "ipv4", "ipv6", "hostname", "uri", "uri-reference"}
    | {"uri-template", "json-pointer", "relative-json-pointer", "uuid"}
)
_PASSED_OVER = dict.fromkeys(
    ("uniqueItems", "contains", "minContains", "maxContains", "multipleOf", "patternProperties", "propertyNames"),
    "",
) | {
    **dict.fromkeys(("not", "if", "then", "else", "dependentRequired", "dependentSchemas"), ""),
    **dict.fromkeys(("unevaluatedProperties", "unevaluatedItems"), ""),
    "oneOf": ": say anyOf",
    "nullable": ': say "type": ["string", "null"]',
    "additionalItems": ": say prefixItems and items",
}
"""Keywords of JSON Schema that are not held to, and what to say instead."""
_NOT_IN_A_PATTERN = re.compile(r'"|\\[\\ntrfvx0cb]|\\u00[01]|\(\?[=!<]|(?<!^)(?<![\[\\])\^|(?<!\\)\$(?!$)')
"""Quotes and control characters, which JSON escapes; looking ahead or behind; anchors within."""


def read_schema(path: Path) -> dict[str, Any]:
    """The schema in a file. Raises ConfigError where it cannot be read, is no JSON, or is not about anything."""
    try:
        schema = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8", hint="a schema is JSON in UTF-8") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON: {error}", hint="a schema is one JSON object") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply") from error
    if not isinstance(schema, dict):
        raise ConfigError(f"{path} is no JSON Schema: it is not a JSON object")
    return schema


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raises ConfigError with everything in a schema that answers could not be held to."""
    problems = [Problem(where, what) for where, each in subschemas(schema) for what in _problems(each)]
    if problems:
        raise ConfigError("answers cannot be held to this schema", problems=problems)


def ungrounded(schema: Mapping[str, Any]) -> list[Problem]:
    """The strings of a schema that need not be pieces of a text, so that none may be left to write."""
    found = []
    for where, each in subschemas(schema):
        if not isinstance(each, Mapping):
            continue
        values = [*each.get("enum", ()), *([each["const"]] if "const" in each else [])]
        if any(isinstance(value, str) for value in values):
            found.append(Problem(where, "names the strings"))
        for key in ("pattern", "format"):
            if key in each:
                found.append(Problem(where, f"{key} describes the string"))
        if each.get("minLength", 0) > 1:
            found.append(Problem(where, f"minLength {each['minLength']}"))
    return found


def property_names(schema: Mapping[str, Any]) -> list[str]:
    """The names of all properties, anywhere in a schema."""
    names = (
        name for _, each in subschemas(schema) if isinstance(each, Mapping) for name in each.get("properties", {})
    )
    return list(dict.fromkeys(names))


def subschemas(schema: Any, where: str = "schema") -> Iterator[tuple[str, Any]]:
    """A schema and all that stand in it, each with where it stands."""
    yield where, schema
    if not isinstance(schema, Mapping):
        return
    for key in ("properties", "$defs", "definitions"):
        if isinstance(schema.get(key), Mapping):
            for name, each in schema[key].items():
                yield from subschemas(each, f"{where}.{key}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from subschemas(schema[key], f"{where}.{key}")
    for key in ("prefixItems", "anyOf", "allOf"):
        if isinstance(schema.get(key), list):
            for number, each in enumerate(schema[key]):
                yield from subschemas(each, f"{where}.{key}[{number}]")


def _problems(schema: Any) -> Iterator[str]:
    """What is wrong with one schema, those within it aside."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        yield f"{json.dumps(schema, ensure_ascii=False)} is no schema"
        return
    keys = [key for key in schema if key not in _NOTES]
    for key in keys:
        if key not in _KNOWN:
            yield f"{key} is not held to" + _PASSED_OVER.get(key, nearest(key, _KNOWN))
    if alone := [key for key in keys if key in _ALONE]:
        beside = [key for key in keys if key != alone[0] and key in _KNOWN and key != "type"]
        if beside:
            yield f"{', '.join(beside)} beside {alone[0]} would be passed over"
        yield from _alone(alone[0], schema)
    else:
        yield from _of_types(schema, keys)


def _alone(key: str, schema: Mapping[str, Any]) -> Iterator[str]:
    value = schema[key]
    if key == "$ref" and not (isinstance(value, str) and value.startswith("#")):
        yield f"$ref leads out of the schema: {value!r}"
    elif key == "$ref" and "type" in schema:
        yield "type beside $ref would be passed over"
    elif key in ("anyOf", "allOf") and not (isinstance(value, list) and value):
        yield f"{key} is no list of schemas"
    elif key == "allOf" and len(value) > 1:
        yield "allOf is held to with one member only: write its members as one schema"
    elif key in ("anyOf", "allOf") and "type" in schema:
        yield f"type beside {key} would be passed over"
    elif key in ("enum", "const"):
        values = value if key == "enum" and isinstance(value, list) else [value]
        if any(isinstance(each, list | dict) for each in values):
            yield f"{key} names a list or an object"
        if wrong := [each for each in values if not _is_of(each, schema.get("type"))]:
            yield f"{key} names {json.dumps(wrong[0], ensure_ascii=False)}, which is not of its type"


def _of_types(schema: Mapping[str, Any], keys: list[str]) -> Iterator[str]:
    named = schema.get("type")
    types = named if isinstance(named, list) else [] if named is None else [named]
    if unknown := [each for each in types if each not in _OF_TYPE]:
        yield f"type {unknown[0]!r} is none of {', '.join(_OF_TYPE)}"
        return
    allowed = {"type"}.union(*(_OF_TYPE[each] for each in types))
    for key in keys:
        if key in _KNOWN and key not in allowed:
            owner = " or ".join(name for name, its in _OF_TYPE.items() if key in its)
            yield f"{key} needs type {owner}"
    if "pattern" in schema:
        yield from _pattern(schema)
    if schema.get("format", "date") not in _FORMATS:
        yield f"format {schema['format']!r} is not held to: it is none of {', '.join(sorted(_FORMATS))}"
    if isinstance(schema.get("items"), list):
        yield "items is a list: say prefixItems"
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if isinstance(properties, Mapping) and isinstance(required, list):
        for name in required:
            if name not in properties:
                yield f"required names {name!r}, which is no property"


def _pattern(schema: Mapping[str, Any]) -> Iterator[str]:
    pattern = schema["pattern"]
    if beside := [key for key in ("minLength", "maxLength", "format") if key in schema]:
        yield f"{', '.join(beside)} beside pattern would be passed over: say it in the pattern"
    if not isinstance(pattern, str):
        yield "pattern is no string"
    elif found := _NOT_IN_A_PATTERN.search(pattern):
        yield f"pattern has {found[0]!r} at {found.start()}, which is not held to"


def _is_of(value: Any, named: Any) -> bool:
    """Whether a value has a type, or one of several."""
    types = named if isinstance(named, list) else [named]
    kind: dict[type, tuple[str, ...]] = {
        bool: ("boolean",),
        int: ("integer", "number"),
        float: ("number",),
        str: ("string",),
        type(None): ("null",),
    }
    return named is None or any(each in kind.get(type(value), ("array", "object")) for each in types)
