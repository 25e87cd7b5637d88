"""The files of the recipe: what they are called, and how compressed text is read and written."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MANIFEST = "manifest.json"
TEXT, TEXT_EVAL = "text", "text-eval.txt.xz"
EXERCISES, EXERCISES_EVAL = "exercises.jsonl.xz", "exercises-eval.jsonl.xz"
_FAST = 1
"""The .xz preset: six times as quick as the usual one for a tenth more bytes."""


def read_lines(path: Path) -> Iterator[str]:
    """The lines of an .xz text."""
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.rstrip("\r\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object that a file holds."""
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


@dataclass(slots=True)
class Written:
    """What a file holds; the hash is of its text, since compressors differ."""

    lines: int = 0
    characters: int = 0
    sha256: str = ""


class XzFile:
    """An .xz file under way; `written` tells what is in it so far."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._held: list[str] = []
        self.written = Written()

    def add(self, line: str) -> None:
        """Append a line."""
        self._held.append(line)
        self.written.lines += 1
        self.written.characters += len(line)
        if len(self._held) >= 1000:
            self.flush()

    def flush(self) -> None:
        """Hand on what is held back."""
        content = "".join(line + "\n" for line in self._held).encode()
        self._held.clear()
        self._hash.update(content)
        self._file.write(content)
        self.written.sha256 = self._hash.hexdigest()


@contextmanager
def xz_file(path: Path) -> Iterator[XzFile]:
    """A file that is there when the block ends well, and not before."""
    temporary = path.with_name(f".{path.name}.tmp")
    with lzma.open(temporary, "wb", preset=_FAST) as file:
        lines = XzFile(file)
        yield lines
        lines.flush()
    os.replace(temporary, path)
