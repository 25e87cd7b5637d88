"""A run folder becomes something that answers: the saved prompt, the tuned model, parsed labels."""

from __future__ import annotations

import json
import shlex
import warnings
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from yuantune.data.bound import BoundTemplate
from yuantune.data.labels import parse
from yuantune.data.record import Labels, Prediction, Record, Source
from yuantune.data.template import Template
from yuantune.errors import DataError, ModelError, Problem, RunError, TemplateError, UserError
from yuantune.infer.constraint import Form, form_of
from yuantune.infer.engine import Answer, Edit, Question, answer
from yuantune.infer.schema import SchemaForm, schema_form
from yuantune.infer.windows import Window, merged, windows
from yuantune.models.probe import inner
from yuantune.models.stored import stored

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from yuantune.methods import LoadModel, Method
    from yuantune.methods.card import Card

    Attach = Callable[[Method, LoadModel, Path], PreTrainedModel]

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
        `error`. `edit` sees the logits (`yuantune.infer.engine`)."""
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


def load(
    run: str | Path,
    *,
    model: str | None = None,
    device_map: str | None = None,
    dtype: str | None = None,
    int8_products: str | None = None,
    merge: bool = True,
) -> Extractor:
    """The extractor of a run folder (or of an adapter or checkpoint folder in it).

    `model` names the base model where it is not found under its own name any more; the others go over the run's
    options of the model. Template and special tokens are the saved ones; base model and tokenizer must be those of
    the training. A model that was trained in full brings its own weights and tokenizer and needs no base. `merge`
    puts an adapter into the base's weights, in memory, where the method can and they are float32 or finer, never
    quantised: it answers faster, and the same up to rounding. Raises RunError for a folder that holds no trained
    model, ModelError where the base differs."""
    from yuantune.methods import METHODS

    folder = Path(run)
    tuned, template, card = open_run(
        folder, model=model, device_map=device_map, dtype=dtype, int8_products=int8_products
    )
    put = METHODS[card.method].merge
    if merge and not isinstance(put, str) and _holds_update(tuned, card):
        try:
            tuned = put(tuned)
        except ValueError as error:  # PEFT's, for an update that is no number.
            raise RunError(
                f"the trained weights of {folder} are no weights: {error}",
                hint=_other_weights(folder, folder / METHODS[card.method].FOLDER),
            ) from error
    return Extractor(tuned, template, **card.generate)


def open_run(
    folder: Path,
    *,
    model: str | None = None,
    device_map: str | None = None,
    dtype: str | None = None,
    int8_products: str | None = None,
    attach: Attach | None = None,
) -> tuple[PreTrainedModel, BoundTemplate, Card]:
    """What `load` makes an extractor of: the tuned model, the saved prompt, and the run's card. `attach` makes the
    tuned model otherwise than the method's own `load` does. Raises as `load`."""
    from safetensors import SafetensorError

    from yuantune.methods import METHODS
    from yuantune.methods.card import CARD_FILE, read_card
    from yuantune.models.load import check_identity, load_model, load_tokenizer

    card = read_card(folder)
    if card.method not in METHODS:
        raise RunError(f"{folder} was trained by the method {card.method}, which this version of yuantune lacks")
    method = METHODS[card.method]
    weights = folder / method.FOLDER if (folder / method.FOLDER).is_dir() else folder
    check_weights(folder, weights)
    base = model or card.base["name"]
    alone = not method.NEEDS_BASE and (weights / "tokenizer_config.json").is_file()
    if not alone:
        try:
            problems = check_identity(card.base, base)
        except ModelError as error:
            hint = "if the base model has moved, say where it is now: --model NAME (in Python: load(run, model=…))"
            raise ModelError(f"the base model of {folder}: {error.message}", hint=hint) from error
        if problems:
            raise ModelError(f"{base} is not the model that {folder} was trained on", problems=problems)
    others = {"device_map": device_map, "dtype": dtype, "int8_products": int8_products}
    options = {**card.model, **{option: value for option, value in others.items() if value}}
    options.pop("name")
    if dtype and card.model["dtype"] != "auto" and options.get("quantization") == "auto":
        options["quantization"] = "none"  # It was none in training, and trained weights may be the base's own.

    def load_base(tuned: Path | None) -> PreTrainedModel:
        return load_model(str(tuned or base), **options)

    tokenizer = load_tokenizer(weights if alone else base, revision=card.model["revision"])
    template = Template.from_dict(card.template, where=CARD_FILE).bind(tokenizer)
    template.check_framing(card.framing)
    try:
        tuned = method.load(load_base, weights) if attach is None else attach(method, load_base, weights)
    except UserError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise RunError(
            f"the trained weights in {weights} do not load, they are damaged or incomplete: {why}",
            hint=_other_weights(folder, weights),
        ) from error
    return tuned, template, card


def _holds_update(model: PreTrainedModel, card: Card) -> bool:
    """Whether the base's weights hold an update as finely as the adapter does, and for its layers alone: where the
    head is trained and is one weight with the embedding, the update would change both."""
    import torch

    base = inner(model)
    ends = [base.get_input_embeddings(), base.get_output_embeddings()]
    tuned = any(hasattr(each, "get_base_layer") for each in ends)
    first, last = (each.get_base_layer() if hasattr(each, "get_base_layer") else each for each in ends)
    if tuned and last is not None and first.weight is last.weight:
        return False
    return model.dtype in (torch.float32, torch.float64) and card.quantization == "none" and not stored(model)


def check_weights(folder: Path, weights: Path) -> None:
    """Raises RunError where there are none, or where a file of them is cut short."""
    from yuantune.models.folder import damage, weight_files

    files = sorted({*weights.glob("*.safetensors"), *weight_files(weights)})
    if not files:
        raise RunError(
            f"{folder} holds no trained weights yet",
            hint=f"`yuantune train {shlex.quote(str(folder))} --resume` finishes the training",
        )
    problems = [Problem(str(file), what) for file in files if (what := damage(file))]
    if problems:
        raise RunError(
            f"the trained weights in {weights} are damaged or incomplete",
            problems=problems,
            hint=_other_weights(folder, weights),
        )


def _other_weights(folder: Path, weights: Path) -> str:
    """What else a damaged result leaves to answer with."""
    home = folder if weights != folder else folder.parent
    steps = {int(path.name[11:]): path for path in home.glob("checkpoint-*") if path.name[11:].isdecimal()}
    others = [path for _, path in sorted(steps.items()) if path != weights]
    if not others:
        return "train again"
    return f"a checkpoint answers too: `yuantune generate {shlex.quote(str(others[-1]))} …`; or train again"
