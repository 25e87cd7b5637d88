"""The tuned model and its prompt become something that answers: records in, parsed labels out."""

from __future__ import annotations

import json
import warnings
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from yuantune.data.bound import BoundTemplate
from yuantune.data.labels import parse
from yuantune.data.record import Labels, Prediction, Record, Source
from yuantune.errors import DataError, ModelError, Problem, TemplateError
from yuantune.infer.constraint import Form, form_of
from yuantune.infer.engine import answer
from yuantune.infer.question import Answer, Edit, Question
from yuantune.infer.schema import SchemaForm, schema_form
from yuantune.infer.windows import Window, merged, windows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK = 1024
"""Records that are rendered and sorted by length at once: memory stays bounded on files of any size."""
_ROOM = 4
"""A text is cut into windows where less than one position in so many is left for the answer."""


class _Prompt(NamedTuple):
    """Ids, four bytes a token, since a list of any length may stay in memory beside its records; and where among
    them the text stands."""

    ids: array[int]
    text_span: tuple[int, int]
    text: str


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a record is asked: one prompt, one for each of its windows, or none, and why."""

    prompts: tuple[_Prompt, ...] = ()
    windows: tuple[Window, ...] = ()
    error: str = ""


class Extractor:
    """A model with the prompt it was trained on.

    `constrain` and `grounded` hold answers of extraction to the labels' JSON, and their strings to the text. A
    `schema` (JSON Schema, see `yuantune.infer.schema`) holds answers of any run to itself instead; it raises
    ConfigError where they cannot be."""

    def __init__(
        self,
        model: PreTrainedModel,
        template: BoundTemplate,
        *,
        max_new_tokens: int = 512,
        batch_size: int = 32,
        constrain: bool = True,
        grounded: bool = True,
        slots: bool = True,
        schema: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.template = template
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        self.constrain = constrain
        self.grounded = grounded
        self.slots = slots
        self.schema = schema

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """The JSON Schema that answers are held to; None: the form of the run's labels."""
        return None if self._schema_form is None else self._schema_form.schema

    @schema.setter
    def schema(self, schema: Mapping[str, Any] | None) -> None:
        self._schema_form: SchemaForm | None = None if schema is None else schema_form(schema, self.template)
        self._check_grounding()

    def set(self, **options: Any) -> None:
        """Other options than those of the run; None leaves one as it is."""
        for name, value in options.items():
            if value is not None:
                setattr(self, name, value)

    @overload
    def extract(self, text: str) -> Labels: ...
    @overload
    def extract(self, text: list[str]) -> list[Labels]: ...
    def extract(self, text: str | list[str]) -> Labels | list[Labels]:
        """The labels of one text, or of each of a list; `{}` where the answer was no valid labels. Under a schema,
        what it describes, None where there is no such answer."""
        texts = [text] if isinstance(text, str) else text
        predictions = self.predict(_as_records(texts))
        found = [each.value if self.schema is not None else each.labels or {} for each in predictions]
        return found[0] if isinstance(text, str) else found

    def generate(self, text: str) -> str:
        """The raw answer to one text."""
        return next(self.predict(_as_records([text]))).raw

    def predict(
        self,
        records: Iterable[Record],
        *,
        on_answer: Callable[[Prediction], None] | None = None,
        keep_going: bool = False,
        chunk: int = CHUNK,
        edit: Edit | None = None,
    ) -> Iterator[Prediction]:
        """Answer records, in their order. The records' own answers are not looked at. Labels of a text longer than
        the model reads are found in windows of it.

        `chunk` records are sorted by length and answered side by side; `on_answer` gets every prediction as soon as
        it is there, not in order. Raises DataError with every record that has no prompt, or one too long for the
        model: of a list, before the first answer. With `keep_going` such a record's prediction says so in its
        `error`. `edit` sees the logits (`yuantune.infer.question`)."""
        self._check_grounding()
        if isinstance(records, Sequence):
            parts = self._parts(records, keep_going)
            for start in range(0, len(records), chunk):
                some = slice(start, start + chunk)
                yield from self._predict(records[some], parts[some], on_answer, edit)
            return
        for some_records in chunks(iter(records), chunk):
            yield from self._predict(some_records, self._parts(some_records, keep_going), on_answer, edit)

    @cached_property
    def _form(self) -> Form | None:
        """The form of answers that are labels; None for other answers, and where the tokenizer does not tell."""
        if not self.template.template.extraction:
            return None
        try:
            return form_of(self.template)
        except ModelError as error:
            warnings.warn(f"answers are not held to the labels' JSON: {error.message}", stacklevel=2)
            return None

    @property
    def _grounds(self) -> bool:
        """Whether strings are held to the text."""
        return self.grounded and self.template.template.extraction

    def _check_grounding(self) -> None:
        if self._schema_form is not None and self._grounds:
            self._schema_form.check_grounding()

    def _parts(self, records: Sequence[Record], keep_going: bool) -> list[_Parts]:
        """Each record's prompts. Raises DataError with those that have none, unless `keep_going`."""
        found, problems = [], []
        for record in records:
            parts = self._parts_of(record)
            found.append(parts)
            if parts.error:
                problems.append(Problem(str(record.source), parts.error))
        if problems and not keep_going:
            raise DataError(
                f"{len(problems)} of {len(records)} rows cannot be answered",
                problems=problems,
                hint="shorten these texts, answer them in parts, or leave them out",
            )
        return found

    def _parts_of(self, record: Record) -> _Parts:
        """The prompt of a record; of one that is too long, those of its windows, if its labels are asked for."""
        from yuantune.models.load import positions_of

        positions = positions_of(self.model)
        try:
            whole = self._prompt(record)
            if positions is None or len(whole.ids) + self._room(positions) <= positions:
                return _Parts((whole,))
            if self.template.template.extraction and not record.messages and self.schema is None:
                cut = windows(record.text, lambda text: self._fits(record, text, positions))
                if len(cut) > 1:
                    texts = (record.text[start:stop] for start, stop in cut)
                    return _Parts(tuple(self._prompt(replace(record, text=text)) for text in texts), tuple(cut))
        except TemplateError as error:
            return _Parts(error=error.message)
        if len(whole.ids) < positions:
            return _Parts((whole,))
        count, more = len(whole.ids), len(whole.ids) - positions + 1
        what = f"{count} tokens, {more} more than leave the model room for an answer: it reads {positions}"
        return _Parts(error=what)

    def _room(self, positions: int) -> int:
        """Tokens that are left for an answer before a text is cut into windows."""
        return max(min(self.max_new_tokens, positions // _ROOM), 1)

    def _fits(self, record: Record, text: str, positions: int) -> bool:
        return len(self.template.prompt(replace(record, text=text)).ids) + self._room(positions) <= positions

    def _prompt(self, record: Record) -> _Prompt:
        prompt = self.template.prompt(record)
        return _Prompt(array("i", prompt.ids), prompt.text_span, record.text)

    def _question(self, prompt: _Prompt) -> Question:
        form = self._schema_form or (self._form if self.constrain else None)
        constraint = None if form is None else form.hold(prompt.text if self._grounds else None)
        start, stop = prompt.text_span
        return Question(prompt.ids, constraint, prompt.ids[start:stop])

    def _predict(
        self,
        records: Sequence[Record],
        parts: list[_Parts],
        on_answer: Callable[[Prediction], None] | None,
        edit: Edit | None,
    ) -> list[Prediction]:
        predictions: dict[int, Prediction] = {}

        def answered(index: int, some: list[tuple[str, Answer]]) -> None:
            predictions[index] = self._prediction(records[index], parts[index], some)
            if on_answer is not None:
                on_answer(predictions[index])

        owners = [index for index, each in enumerate(parts) for _ in each.prompts]
        firsts = list(accumulate((len(each.prompts) for each in parts), initial=0))
        questions = [self._question(prompt) for each in parts for prompt in each.prompts]
        for index, each in enumerate(parts):
            if not each.prompts:
                answered(index, [])
        answers = answer(
            self.model,
            questions,
            end_ids=self.template.end_ids,
            pad_id=self.template.tokenizer.pad_token_id,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
            slots=self.slots,
            edit=edit,
        )
        found: dict[int, dict[int, tuple[str, Answer]]] = defaultdict(dict)
        for each_answer in answers:
            number = each_answer.index
            constraint, index = questions[number].constraint, owners[number]
            raw = self.template.decode_answer(each_answer.ids) if constraint is None else constraint.closed
            if constraint is not None and constraint.failure:
                parts[index] = replace(parts[index], error=constraint.failure)
            found[index][number - firsts[index]] = (raw, each_answer)
            if len(found[index]) == len(parts[index].prompts):
                answered(index, [some for _, some in sorted(found.pop(index).items())])
        return [predictions[index] for index in range(len(records))]

    def _prediction(self, record: Record, parts: _Parts, answers: Sequence[tuple[str, Answer]]) -> Prediction:
        raw = answers[0][0] if answers else ""
        labels = parse(raw) if answers else None
        value = json.loads(raw) if self.schema is not None and not parts.error else None
        if parts.windows:
            schema = self.template.schema
            some = [(window, parse(text) or {}) for window, (text, _) in zip(parts.windows, answers, strict=True)]
            labels = merged(record.text, some, schema)
            raw = json.dumps(labels, ensure_ascii=False)
        return Prediction(
            source=record.source,
            text=record.text,
            raw=raw,
            labels=labels,
            finished=bool(answers) and all(each.finished for _, each in answers) and not parts.error,
            prompt_tokens=sum(len(prompt.ids) for prompt in parts.prompts),
            answer_tokens=sum(len(each.ids) for _, each in answers),
            seconds=sum(each.seconds for _, each in answers),
            windows=max(len(parts.prompts), 1),
            error=parts.error,
            value=value,
        )


def chunks(records: Iterator[Record], size: int) -> Iterator[list[Record]]:
    """Lists of `size` records; what reading raises comes behind those that were read."""
    unread: DataError | None = None
    some: list[Record] = []
    while unread is None:
        try:
            some.extend(islice(records, size))
        except DataError as error:
            unread = error
        if not some:
            break
        yield some
        some = []
    if unread is not None:
        raise unread


def _as_records(texts: Sequence[str]) -> list[Record]:
    return [Record(source=Source("text", number), text=text) for number, text in enumerate(texts, 1)]
