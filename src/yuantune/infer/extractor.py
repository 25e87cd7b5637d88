"""A run folder becomes something that answers: the saved prompt, the tuned model, parsed labels."""

from __future__ import annotations

import shlex
import warnings
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload

from yuantune.data.bound import BoundTemplate
from yuantune.data.labels import parse
from yuantune.data.record import Labels, Prediction, Record, Source
from yuantune.data.template import Template
from yuantune.errors import DataError, ModelError, Problem, RunError, TemplateError, UserError
from yuantune.infer.constraint import Constraint, Form, form_of
from yuantune.infer.engine import Question, answer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK = 1024
"""Records that are rendered and sorted by length at once: memory stays bounded on files of any size."""


class _Prompt(NamedTuple):
    """Ids, four bytes a token, since a list of any length may stay in memory beside its records; and where among
    them the record's text stands."""

    ids: array[int]
    text_span: tuple[int, int]


class Extractor:
    """A model with the prompt it was trained on."""

    def __init__(
        self,
        model: PreTrainedModel,
        template: BoundTemplate,
        *,
        max_new_tokens: int = 512,
        batch_size: int = 32,
        constrain: bool = True,
        grounded: bool = True,
    ) -> None:
        self.model = model
        self.template = template
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        self.constrain = constrain
        self.grounded = grounded

    @overload
    def extract(self, text: str) -> Labels: ...
    @overload
    def extract(self, text: list[str]) -> list[Labels]: ...
    def extract(self, text: str | list[str]) -> Labels | list[Labels]:
        """The labels of one text, or of each of a list; `{}` where the answer was no valid labels."""
        texts = [text] if isinstance(text, str) else text
        found = [prediction.labels or {} for prediction in self.predict(_as_records(texts))]
        return found[0] if isinstance(text, str) else found

    def generate(self, text: str) -> str:
        """The raw answer to one text."""
        return next(self.predict(_as_records([text]))).raw

    def predict(
        self, records: Iterable[Record], *, on_answer: Callable[[Prediction], None] | None = None
    ) -> Iterator[Prediction]:
        """Answer records, in their order. The records' own answers are not looked at.

        `on_answer` gets every prediction as soon as it is there, which is by length, not in order. Raises DataError
        with every record that has no prompt, or one too long for the model: of a list, before the first answer."""
        if isinstance(records, Sequence):
            prompts = self._prompts(records)
            for start in range(0, len(records), CHUNK):
                chunk = slice(start, start + CHUNK)
                yield from self._predict(records[chunk], prompts[chunk], on_answer)
            return
        rows = iter(records)
        while some := list(islice(rows, CHUNK)):
            yield from self._predict(some, self._prompts(some), on_answer)

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

    def _question(self, record: Record, prompt: _Prompt) -> Question:
        form = self._form if self.constrain else None
        constraint = None if form is None else Constraint(form, record.text if self.grounded else None)
        start, stop = prompt.text_span
        return Question(prompt.ids, constraint, prompt.ids[start:stop])

    def _prompts(self, records: Sequence[Record]) -> list[_Prompt]:
        from yuantune.models.load import positions_of

        prompts: list[_Prompt] = []
        problems: list[Problem] = []
        longest = positions_of(self.model)
        for record in records:
            try:
                prompt = self.template.prompt(record)
            except TemplateError as error:
                problems.append(Problem(str(record.source), error.message))
                continue
            if longest is not None and len(prompt.ids) >= longest:
                count, more = len(prompt.ids), len(prompt.ids) - longest + 1
                what = f"{count} tokens, {more} more than leave the model room for an answer: it reads {longest}"
                problems.append(Problem(str(record.source), what))
            prompts.append(_Prompt(array("i", prompt.ids), prompt.text_span))
        if problems:
            raise DataError(
                f"{len(problems)} of {len(records)} rows cannot be answered",
                problems=problems,
                hint="shorten these texts, answer them in parts, or leave them out",
            )
        return prompts

    def _predict(
        self,
        records: Sequence[Record],
        prompts: Sequence[_Prompt],
        on_answer: Callable[[Prediction], None] | None,
    ) -> list[Prediction]:
        predictions: dict[int, Prediction] = {}
        questions = [self._question(record, prompt) for record, prompt in zip(records, prompts, strict=True)]
        answers = answer(
            self.model,
            questions,
            end_ids=self.template.end_ids,
            pad_id=self.template.tokenizer.pad_token_id,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
        )
        for each in answers:
            constraint = questions[each.index].constraint
            raw = self.template.decode_answer(each.ids) if constraint is None else constraint.closed
            record = records[each.index]
            predictions[each.index] = Prediction(
                source=record.source,
                text=record.text,
                raw=raw,
                labels=parse(raw),
                finished=each.finished,
                prompt_tokens=len(prompts[each.index].ids),
                answer_tokens=len(each.ids),
                seconds=each.seconds,
            )
            if on_answer is not None:
                on_answer(predictions[each.index])
        return [predictions[index] for index in range(len(records))]


def _as_records(texts: Sequence[str]) -> list[Record]:
    return [Record(source=Source("text", number), text=text) for number, text in enumerate(texts, 1)]


def load(
    run: str | Path, *, model: str | None = None, device_map: str | None = None, dtype: str | None = None
) -> Extractor:
    """The extractor of a run folder (or of an adapter or checkpoint folder in it).

    `model` names the base model where it is not found under its own name any more. Template and special tokens are
    the saved ones; base model and tokenizer must be those of the training. A model
    that was trained in full brings its own weights and tokenizer and needs no base. Raises RunError for a folder
    that holds no trained model, ModelError where the base differs."""
    from safetensors import SafetensorError

    from yuantune.methods import METHODS
    from yuantune.methods.card import CARD_FILE, read_card
    from yuantune.models.load import check_identity, load_model, load_tokenizer

    folder = Path(run)
    card = read_card(folder)
    if card.method not in METHODS:
        raise RunError(f"{folder} was trained by the method {card.method}, which this version of yuantune lacks")
    method = METHODS[card.method]
    weights = folder / method.FOLDER if (folder / method.FOLDER).is_dir() else folder
    _check_weights(folder, weights)
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
    options = {
        **card.model,
        **({"device_map": device_map} if device_map else {}),
        **({"dtype": dtype} if dtype else {}),
    }
    options.pop("name")

    def load_base(tuned: Path | None) -> PreTrainedModel:
        return load_model(str(tuned or base), **options)

    tokenizer = load_tokenizer(weights if alone else base, revision=card.model["revision"])
    template = Template.from_dict(card.template, where=CARD_FILE).bind(tokenizer)
    template.check_framing(card.framing)
    try:
        tuned = method.load(load_base, weights)
    except UserError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise RunError(
            f"the trained weights in {weights} do not load, they are damaged or incomplete: {why}",
            hint=_other_weights(folder, weights),
        ) from error
    return Extractor(tuned, template, **card.generate)


def _check_weights(folder: Path, weights: Path) -> None:
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
