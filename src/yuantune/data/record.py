"""The typed units at both ends: a `Record` is one source line, a `Prediction` what a model answered to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Labels = dict[str, list[str]]
"""Entities of one text: type to strings, a string as often as it is labelled."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a record came from: the file as the user named it, and its 1-based line.

    `row` is the row's 1-based number where the line does not tell rows apart (a JSON array on one line), else 0.
    Of a table in binary form (Parquet) and of a hub's data set, `line` is the row."""

    file: str
    line: int
    row: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" + (f", row {self.row}" if self.row else "")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Record:
    """One validated source line.

    `text` is the record's own text (a résumé; a whole prompt where the file gives whole prompts). The gold
    answer is `labels` (extraction), `output` (free text), the assistant turns of `messages` (chat), or absent
    (rows to be answered)."""

    source: Source
    text: str
    labels: Labels | None = None
    output: str | None = None
    instruction: str = ""
    messages: tuple[Message, ...] = ()
    adapter: str = ""
    """Which of several adapters on one base is asked; only `yuantune.infer.adapters` looks at it."""

    @property
    def has_answer(self) -> bool:
        """Whether there is anything to learn from."""
        return (
            self.labels is not None
            or self.output is not None
            or any(message.role == "assistant" for message in self.messages)
        )


def row_of(record: Record) -> dict[str, Any]:
    """A record as a row that reads back as the same record."""
    if record.messages:
        return {"messages": [{"role": each.role, "content": each.content} for each in record.messages]}
    if record.labels is not None:
        return {"text": record.text, "labels": record.labels}
    row = {"instruction": record.instruction} if record.instruction else {}
    return {**row, "input": record.text} | ({} if record.output is None else {"output": record.output})


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model answered to one record.

    `labels` is the parsed answer, None where it is not a JSON object of string lists; `finished` is False where
    the answer reached `max_new_tokens` before its end token; `seconds` is the record's share of its batch. A text
    longer than the model reads was answered in so many `windows`. `error` says why there is no answer. `value` is
    the parsed answer where it was held to a schema of the user's own. `adapter` is the one that answered, where
    several share a base."""

    source: Source
    text: str
    raw: str
    labels: Labels | None
    finished: bool
    prompt_tokens: int
    answer_tokens: int
    seconds: float
    windows: int = 1
    error: str = ""
    value: Any = None
    adapter: str = ""
