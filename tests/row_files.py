"""Files of rows for the tests of the readers, and what reading them says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from yuantune.data.readers import read
from yuantune.data.record import Record
from yuantune.errors import DataError, Problem

ROW = {"text": "张三,汉族,金融学硕士。", "labels": {"姓名": ["张三"], "种族": ["汉族"]}}
LINE = json.dumps(ROW, ensure_ascii=False)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def problems_of(path: Path, **options: Any) -> tuple[list[Record], list[Problem], str]:
    """Good rows, and the problems and hint of the error behind them."""
    good: list[Record] = []
    with pytest.raises(DataError) as caught:
        for record in read(path, **options):
            good.append(record)
    return good, list(caught.value.problems), caught.value.hint


def lines_of(problems: list[Problem]) -> list[int]:
    return [int(problem.where.rpartition(":")[2]) for problem in problems]
