"""A merged model becomes a GGUF file and a Modelfile in a folder; what it costs is told by the export around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from yuantune.data.bound import BoundTemplate
from yuantune.data.record import Record
from yuantune.data.writing import write_text
from yuantune.methods.card import Card
from yuantune.train.gguf import file as files
from yuantune.train.gguf.architecture import Layout, layout
from yuantune.train.gguf.file import GGUF_FILE, Plan
from yuantune.train.gguf.modelfile import MODELFILE, Prompt, modelfile, prompt_of, same_prompts
from yuantune.train.gguf.tokenizer import Vocabulary, vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Written:
    """A GGUF file: the format of its weights, bytes, tensors (`otherwise`: those in another format), tokens of
    context, and of `told` rows the number whose prompt llama.cpp reads with the ids of training."""

    file: str
    type: str
    bytes: int
    tensors: int
    otherwise: dict[str, int]
    context: int
    same_prompts: int
    told: int


class Exporter:
    """Everything about a GGUF file that can be refused is, before anything is written.

    Raises ModelError where llama.cpp would compute something else than the model, TemplateError where it would read
    another prompt, WorkFailed where the disk has no room."""

    def __init__(
        self,
        model: PreTrainedModel,
        template: BoundTemplate,
        records: Sequence[Record],
        card: Card,
        quantize: str,
        folder: Path,
    ) -> None:
        of = str(card.base["name"])
        self._layout: Layout = layout(model, of)
        self._prompt: Prompt = prompt_of(template)
        self._vocabulary: Vocabulary = vocabulary(
            template.tokenizer,
            model.get_input_embeddings().weight.shape[0],
            of,
            end_id=template.end_id,
            begin=self._prompt.begins,
            starts_with_control=self._prompt.starts_with_control,
        )
        self._same = same_prompts(template, self._prompt, self._vocabulary, records)
        self._plans: list[Plan] = files.plan(model, self._layout, quantize)
        files.check_room(folder, self._plans, self._vocabulary)
        self._quantize = quantize
        self._card = card
        self._stops = [str(template.tokenizer.convert_ids_to_tokens(end)) for end in template.end_ids]

    def write(
        self, folder: Path, model: PreTrainedModel, run: Path, on_tensor: Callable[[int, int], None]
    ) -> Written:
        """Write both files into `folder`, which is there. `on_tensor` gets how many tensors of how many there are.
        Raises OSError where the disk refuses."""
        answer = int(self._card.generate.get("max_new_tokens", 512))
        context = min(self._layout.context, self._card.max_length + answer)
        name = run.resolve().name
        text = modelfile(
            self._prompt,
            self._stops,
            context=context,
            answer=answer,
            head=f"Written by yuantune from the run {name}.",
        )
        write_text(folder / MODELFILE, text)
        path = folder / GGUF_FILE
        files.write(
            path,
            model,
            self._layout,
            self._vocabulary,
            self._plans,
            self._quantize,
            name,
            on_tensor=lambda number: on_tensor(number, len(self._plans)),
        )
        kinds = [plan.type.name.lower() for plan in self._plans]
        otherwise = {kind: kinds.count(kind) for kind in sorted(set(kinds)) if kind != self._quantize}
        size = path.stat().st_size
        same, told = self._same
        return Written(GGUF_FILE, self._quantize, size, len(kinds), otherwise, self._layout.context, same, told)

    def read_into(self, folder: Path, model: PreTrainedModel) -> PreTrainedModel:
        """`model` with the weights of the file in `folder` in the place of its own."""
        files.read_into(folder / GGUF_FILE, model, self._layout)
        return model
