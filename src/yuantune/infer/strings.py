"""A JSON string as it is written, byte by byte: UTF-8, needless escapes left out, perhaps a piece of a text."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

_ESCAPES = {json.dumps(char)[1:-1].encode(): char.encode() for char in ('"', "\\", *map(chr, range(32)))}
"""What JSON writes for the characters that may not stand in a string as they are."""
_BEGUN = {escape[:size] for escape in _ESCAPES for size in range(1, len(escape))}
_SPECIAL = re.compile(rb'["\\\x00-\x1f]')


class Written(NamedTuple):
    """A string so far: its bytes, those of an escape that has begun, and whether its closing quote is there."""

    value: bytes = b""
    escape: bytes = b""
    closed: bool = False


def read_on(string: Written, data: bytes, at: int, text: bytes | None) -> tuple[Written | None, int]:
    """One stretch of `data` from `at`: up to the string's end, an escape, or the end of `data`; and where it ends.

    None where the string cannot go on so. It is a piece of `text`, if that is given."""
    value, escape, _ = string
    if escape:
        escape += data[at : at + 1]
        if escape in _ESCAPES:
            value += _ESCAPES[escape]
            return (Written(value) if _is_piece(value, text) else None), at + 1
        return (Written(value, escape) if _may_become(escape, value, text) else None), at + 1
    special = _SPECIAL.search(data, at)
    stop = special.start() if special else len(data)
    if stop > at:
        value += data[at:stop]
        if not _is_piece(value, text):
            return None, stop
    if special is None:
        return Written(value), stop
    if special[0] == b'"':
        return (Written(value, closed=True) if _is_whole(value) else None), stop + 1
    if special[0] == b"\\" and _is_whole(value) and _may_become(b"\\", value, text):
        return Written(value, b"\\"), stop + 1
    return None, stop


def _is_piece(value: bytes, text: bytes | None) -> bool:
    """Whether a string may begin so: as a piece of the text; without one, as UTF-8."""
    if text is not None:
        return value in text and not 0x80 <= value[0] < 0xC0
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


def _is_whole(value: bytes) -> bool:
    """Whether it ends with a whole character."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _may_become(escape: bytes, value: bytes, text: bytes | None) -> bool:
    """Whether an escape that has begun can end well."""
    if escape not in _BEGUN:
        return False
    return text is None or any(
        whole.startswith(escape) and value + char in text for whole, char in _ESCAPES.items()
    )
