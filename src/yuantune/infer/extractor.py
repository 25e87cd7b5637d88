"""A run folder becomes something that answers: the saved prompt, the tuned model, parsed labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from yuantune.data.bound import BoundTemplate
from yuantune.data.labels import parse
from yuantune.data.record import Labels, Prediction, Record, Source
from yuantune.data.template import Template
from yuantune.errors import ModelError, RunError
from yuantune.infer.engine import answer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK = 1024
"""Records that are rendered and sorted by length at once: memory stays bounded on files of any size."""


class Extractor:
    """A model with the prompt it was trained on."""

    def __init__(
        self,
        model: PreTrainedModel,
        template: BoundTemplate,
        *,
        max_new_tokens: int = 512,
        batch_size: int = 16,
    ) -> None:
        self.model = model
        self.template = template
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size

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

    def predict(self, records: Iterable[Record]) -> Iterator[Prediction]:
        """Answer records, in their order. The records' own answers are not looked at."""
        chunk: list[Record] = []
        for record in records:
            chunk.append(record)
            if len(chunk) == CHUNK:
                yield from self._predict(chunk)
                chunk = []
        yield from self._predict(chunk)

    def _predict(self, records: Sequence[Record]) -> list[Prediction]:
        prompts = [self.template.prompt(record).ids for record in records]
        predictions: dict[int, Prediction] = {}
        answers = answer(
            self.model,
            prompts,
            end_ids=self.template.end_ids,
            pad_id=self.template.tokenizer.pad_token_id,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
        )
        for each in answers:
            raw = self.template.decode_answer(each.ids)
            record = records[each.index]
            predictions[each.index] = Prediction(
                source=record.source,
                text=record.text,
                raw=raw,
                labels=parse(raw),
                finished=each.finished,
                prompt_tokens=len(prompts[each.index]),
                answer_tokens=len(each.ids),
                seconds=each.seconds,
            )
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
    from yuantune.methods import METHODS
    from yuantune.methods.card import CARD_FILE, read_card
    from yuantune.models.load import check_identity, load_model, load_tokenizer

    folder = Path(run)
    card = read_card(folder)
    if card.method not in METHODS:
        raise RunError(f"{folder} was trained by the method {card.method}, which this version of yuantune lacks")
    method = METHODS[card.method]
    weights = folder / method.FOLDER if (folder / method.FOLDER).is_dir() else folder
    if not any(weights.glob("*.safetensors")):
        raise RunError(
            f"{folder} holds no trained weights yet",
            hint=f"`yuantune train {folder} --resume` finishes the training",
        )
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
    return Extractor(method.load(load_base, weights), template, **card.generate)
