"""The check before training: every record becomes an example or a finding, in one pass over the data.

Nothing is cut silently: a row whose answer or end token would not fit into `max_length` is an error, or dropped and
counted, or loses part of its own text, as `on_overflow` says; template and answer stay whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from yuantune.data.bound import BoundTemplate
from yuantune.data.check_report import KEPT, CheckReport, Finding
from yuantune.data.examples import Example, ExampleSet
from yuantune.data.labels import LabelSchema, canonical, parse
from yuantune.data.record import Labels, Record, Source
from yuantune.errors import DataError, TemplateError, nearest

__all__ = ["CheckReport", "Finding", "OnOverflow", "overlap", "prepare"]

OnOverflow = Literal["error", "drop", "shorten-input"]

# SentencePiece writes a character without a piece of its own as bytes; line breaks are always so.
_BYTES = [f"<0x{byte:02X}>" for byte in range(256) if byte not in b"\t\n\r"]


def prepare(
    records: Iterable[Record],
    bound: BoundTemplate,
    schema: LabelSchema | None = None,
    *,
    max_length: int,
    on_overflow: OnOverflow = "error",
    role: Literal["train", "eval"] = "train",
) -> tuple[ExampleSet, CheckReport]:
    """Examples of `records`, and what was found on the way. `schema` defaults to the template's label types.

    Errors are findings, raised by `CheckReport.raise_for_errors`, so that all are named at once; rows that a
    reader could not read are among them. A DataError without rows (no such file) goes through."""
    check = _Check(bound, schema or bound.schema, max_length, on_overflow, role)
    try:
        for record in records:
            check.add(record)
    except DataError as error:
        if not error.problems:
            raise
        for problem in error.problems:
            check.report.add("unreadable", "error", problem.where, problem.what)
        check.report.hints += [error.hint] if error.hint else []
    check.finish()
    return check.examples, check.report


def overlap(train: CheckReport, evaluation: CheckReport) -> int:
    """How many evaluation rows ask what a training row asks; each becomes a warning of `evaluation`.

    Both reports are of this process. A text that occurs several times within `evaluation` counts once."""
    common = [key for key in evaluation.seen if key in train.seen]
    for key in common:
        evaluation.add("overlap", "warning", evaluation.seen[key][1], f"also in training: {train.seen[key][1]}")
    return len(common)


class _Check:
    """One pass over one data set."""

    def __init__(
        self,
        bound: BoundTemplate,
        schema: LabelSchema,
        max_length: int,
        on_overflow: OnOverflow,
        role: Literal["train", "eval"],
    ) -> None:
        self.report = CheckReport(role, bound.template.name, max_length)
        self.examples = ExampleSet()
        self._bound = bound
        self._schema = schema
        self._types = frozenset(schema.types)
        self._max_length = max_length
        self._on_overflow = on_overflow
        self._prefix: list[int] | None = None
        self._unknown = bound.tokenizer.unk_token_id
        self._bytes = _byte_ids(bound)
        # Free-text answers that are labels as JSON, and where those are that are not: told apart at the end.
        self._json = self._prose = 0
        self._prose_at: list[Source] = []

    def add(self, record: Record) -> None:
        """Check one record and, if it can be learnt, make it an example."""
        report = self.report
        report.rows += 1
        if not record.has_answer:
            severity: Literal["error", "warning"] = "error" if report.role == "train" else "warning"
            report.add("no-answer", severity, record.source, "no answer")
            report.dropped += 1
            return
        try:
            self._check_text(record)
            self._check_answer(record)
            example = self._bound.example(record)
        except (TemplateError, DataError) as error:
            report.add("template", "error", record.source, error.message)
            report.hints += [error.hint] if error.hint and error.hint not in report.hints else []
            return
        if len(example.ids) > self._max_length:
            fitting = self._fit(record, example)
            if fitting is None:
                report.dropped += 1
                return
            record, example = fitting
        self._measure(record, example)
        if len(example.ids) <= self._max_length:
            self.examples.append(example)

    def finish(self) -> None:
        """What can be said only at the end."""
        report = self.report
        report.examples = len(self.examples)
        report.shared_prefix = len(self._prefix or ())
        if self._json > self._prose:
            for where in self._prose_at:
                report.add("invalid-json", "warning", where, "the answer is not labels as JSON, unlike most")
        if not self.examples and not report.number("error"):
            detail = "no row is left to learn from" if report.rows else "there are no rows"
            report.add("empty", "error", "", detail)

    # ----------------------------------------------------------------------------------- text and answer

    def _check_text(self, record: Record) -> None:
        report, where = self.report, record.source
        if not record.text.strip() and not record.instruction.strip():
            report.add("empty-text", "warning", where, "the text is empty")
        used = self._bound.template.placeholders
        if record.instruction and used.isdisjoint({"instruction", "messages"}):
            detail = f"template {self._bound.template.name} leaves the instruction out"
            report.add("unused-instruction", "warning", where, detail)
        question: object = record.messages[:-1] if record.messages else (record.instruction, record.text)
        key, answer = hash(question), hash(self._bound.answer(record))
        first = report.seen.setdefault(key, (answer, where))
        if first[1] is where:
            return
        if first[0] == answer:
            report.add("duplicate", "warning", where, f"same as {first[1]}")
        else:
            report.add("conflict", "warning", where, f"same text as {first[1]}, different answer")

    def _check_answer(self, record: Record) -> None:
        report, where = self.report, record.source
        if record.messages:
            if any(m.role == "assistant" and not m.content.strip() for m in record.messages):
                report.add("empty-answer", "warning", where, "a turn of the assistant is empty")
            return
        labels = record.labels
        if labels is None:
            output = record.output or ""
            labels = parse(output)
            if not self._bound.template.extraction:
                self._free_text(record, output, labels)
                return
            if labels is None:
                shown = output if len(output) <= 60 else output[:60] + "…"
                report.add("invalid-json", "error", where, f"the answer is not labels as JSON: {shown!r}")
                return
            if canonical(labels, record.text, self._schema) != output:
                detail = "the answer is not in canonical form (order, separators or escapes)"
                report.add("not-canonical", "warning", where, detail)
        report.no_entity += not any(labels.values())
        self._check_labels(labels, record)

    def _free_text(self, record: Record, output: str, labels: Labels | None) -> None:
        if not output.strip():
            self.report.add("empty-answer", "warning", record.source, "the answer is empty")
        elif labels is not None:
            self._json += 1
        else:
            self._prose += 1
            if len(self._prose_at) < KEPT:
                self._prose_at.append(record.source)

    def _check_labels(self, labels: Labels, record: Record) -> None:
        report, where, text = self.report, record.source, record.text
        for name, strings in labels.items():
            if name not in self._types:
                report.add("unknown-label", "error", where, self._unknown_label(name))
            for string in dict.fromkeys(strings):
                labelled, occurs = strings.count(string), text.count(string) if string else 0
                if not occurs:
                    report.add("not-in-text", "warning", where, f"{name}: {string!r} does not occur in the text")
                elif labelled > occurs and labelled > _overlapping(string, text):
                    detail = f"{name}: {string!r} is labelled {labelled} times and occurs {occurs} times"
                    report.add("not-in-text", "warning", where, detail)

    def _unknown_label(self, name: str) -> str:
        if name in self._schema.codes:
            template = self._bound.template.name
            return (
                f"label type {name!r} is the code of {self._schema.codes[name]!r}: "
                f"`yuantune data convert … --template {template}` renames it"
            )
        known = f" (types: {', '.join(self._schema.types)})" if self._types else " (there are no types)"
        return f"unknown label type {name!r}{nearest(name, self._types) or known}"

    # ----------------------------------------------------------------------------------- length

    def _fit(self, record: Record, example: Example) -> tuple[Record, Example] | None:
        """What becomes of a row that is too long: shortened, as it is (an error), or None (dropped)."""
        report, where, limit = self.report, record.source, self._max_length
        lost = sum(example.supervised[limit:])
        too_long = f"{len(example.ids)} tokens, {len(example.ids) - limit} more than max_length {limit}"
        cut = f"{too_long}: {lost} of {sum(example.supervised)} answer tokens would be cut"
        if self._on_overflow == "drop":
            report.add("overflow", "warning", where, f"{too_long}: dropped")
            return None
        if self._on_overflow == "error":
            report.add("overflow", "error", where, cut)
            return record, example
        shorter = self._shortened(record)
        if shorter is None:
            report.add("overflow", "error", where, f"{too_long}, and not for the length of its text")
            return record, example
        short = shorter[0]
        report.shortened += 1
        removed = len(record.text) - len(short.text)
        report.add("shortened", "warning", where, f"{removed} of {len(record.text)} characters cut")
        for name, strings in (record.labels or {}).items():
            for string in dict.fromkeys(strings):
                if string in record.text and string not in short.text:
                    report.add("cut-away", "warning", where, f"{name}: {string!r} is no longer in the text")
        return shorter

    def _shortened(self, record: Record) -> tuple[Record, Example] | None:
        """The record with as much of its text as fits, at least one character; the answer is that of the whole."""
        if record.messages or not record.text:
            return None
        whole = replace(record, labels=None, output=self._bound.answer(record))
        best = None
        # Bisect for the longest start that fits; lengths in tokens grow with it, if not strictly.
        low, high = 1, len(record.text) - 1
        while low <= high:
            middle = (low + high) // 2
            short = replace(whole, text=record.text[:middle])
            example = self._bound.example(short)
            if len(example.ids) <= self._max_length:
                best = short, example
                low = middle + 1
            else:
                high = middle - 1
        return best

    def _measure(self, record: Record, example: Example) -> None:
        report = self.report
        answer = sum(example.supervised)
        report.total_lengths.append(len(example.ids))
        report.answer_lengths.append(answer)
        report.prompt_lengths.append(len(example.ids) - answer)
        prompt = example.ids[: example.supervised.index(True)] if answer else example.ids
        if self._prefix is None:
            self._prefix = prompt
        elif prompt[: len(self._prefix)] != self._prefix:
            pairs = enumerate(zip(self._prefix, prompt, strict=False))
            shared = next((i for i, (ours, theirs) in pairs if ours != theirs), len(prompt))
            self._prefix = self._prefix[:shared]
        own = example.ids[slice(*example.text_span)]
        report.text_tokens += len(own)
        report.text_characters += len(self._bound.own_text(record))
        report.unknown_tokens += own.count(self._unknown) if self._unknown is not None else 0
        report.byte_tokens += sum(token in self._bytes for token in own)


def _byte_ids(bound: BoundTemplate) -> frozenset[int]:
    """Ids of the pieces that stand for one byte, where the tokenizer has such."""
    tokenizer = bound.tokenizer
    ids = tokenizer.convert_tokens_to_ids(_BYTES)
    return frozenset(i for i in ids if i is not None and i != tokenizer.unk_token_id)


def _overlapping(string: str, text: str) -> int:
    """How often `string` occurs, overlaps included."""
    return sum(text.startswith(string, at) for at in range(len(text)))
