"""JSON as its standard has it: no key twice, no NaN or Infinity, every failure with its position.

Python's `json` keeps the last of two equal keys and accepts NaN; both lose or spoil data silently."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """`json.loads` for files of our own. Raises ValueError also for nesting deeper than Python takes."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


_SPACE = re.compile(r"[ \t\n\r]*")


class StrictDecoder:
    """Decodes one value after another, collecting what parses but must not be.

    `findings` holds these for the value decoded last; a value with findings should not be used."""

    def __init__(self) -> None:
        self.findings: list[str] = []
        self.end = 0
        self._decoder = json.JSONDecoder(object_pairs_hook=self._pairs, parse_constant=self._constant)

    def value(self, text: str, start: int = 0) -> tuple[object, int]:
        """The value that begins at `start`, and the position behind it.

        Raises json.JSONDecodeError, also for nesting deeper and numbers longer than Python takes."""
        self.findings = []
        try:
            return self._decoder.raw_decode(text, start)
        except json.JSONDecodeError:
            raise
        except RecursionError:
            raise json.JSONDecodeError("nested too deeply", text, start) from None
        except ValueError:
            raise json.JSONDecodeError("a number with too many digits", text, start) from None

    def whole(self, text: str) -> object:
        """The one value that `text` holds. Raises json.JSONDecodeError, also where something follows it."""
        value, end = self.value(text, _skip(text, 0))
        end = _skip(text, end)
        if end != len(text):
            raise json.JSONDecodeError("something follows the value", text, end)
        return value

    def elements(self, text: str, start: int) -> Iterator[tuple[int, object]]:
        """Position and value of every element of the array whose bracket is at `start`.

        `findings` belong to the element yielded last. Returns (to `yield from`) nothing; `end` is set."""
        at = _skip(text, start + 1)
        if text[at : at + 1] == "]":
            self.end = at + 1
            return
        while True:
            value, end = self.value(text, at)
            yield at, value
            end = _skip(text, end)
            if text[end : end + 1] == "]":
                self.end = end + 1
                return
            if text[end : end + 1] != ",":
                raise json.JSONDecodeError("expected a comma or a closing bracket", text, end)
            at = _skip(text, end + 1)

    def _pairs(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        made = dict(pairs)
        if len(made) < len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    self.findings.append(f"the key {key!r} occurs twice")
                seen.add(key)
        return made

    def _constant(self, name: str) -> float:
        self.findings.append(f"{name} is not a JSON value (use null, or leave the field out)")
        return 0.0


def document_rows(decoder: StrictDecoder, text: str) -> Iterator[tuple[int, object]]:
    """Position and value of every row of a JSON document.

    The rows are the elements of an array, those of an object's "data" array, or the object itself.
    Raises json.JSONDecodeError where the text is broken; the rows before that have been yielded."""
    start = _skip(text, 0)
    if text[start : start + 1] == "[":
        yield from decoder.elements(text, start)
        if (end := _skip(text, decoder.end)) != len(text):
            raise json.JSONDecodeError("something follows the last row", text, end)
        return
    wrapped = False
    at = _skip(text, start + 1) if text[start : start + 1] == "{" else len(text)
    while text[at : at + 1] == '"':
        key, end = decoder.value(text, at)
        at = _skip(text, end)
        if text[at : at + 1] != ":":
            break
        at = _skip(text, at + 1)
        if key == "data" and not wrapped and text[at : at + 1] == "[":
            wrapped = True
            yield from decoder.elements(text, at)
            end = decoder.end
        else:
            end = decoder.value(text, at)[1]
        at = _skip(text, end)
        if text[at : at + 1] != ",":
            break
        at = _skip(text, at + 1)
    if not wrapped:
        yield start, decoder.whole(text)
    elif text[at : at + 1] != "}" or _skip(text, at + 1) != len(text):
        decoder.whole(text)  # Finds the position and words for what is broken behind the rows.


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
