"""A template bound to a tokenizer: the one thing that makes token ids, in training and at inference.

Prompt and answer are tokenised apart and then joined, as in the tutorial. So the prompt at inference has
exactly the ids that it had in training, and a SentencePiece answer begins with its own space (`▁{"`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from yuantune.data.examples import Example
from yuantune.data.framing import Part, Turn, choose_framing
from yuantune.data.labels import LabelSchema, canonical
from yuantune.data.record import Record
from yuantune.data.template import PLACEHOLDER, Template
from yuantune.errors import Problem, TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class PromptIds:
    """A prompt ready to be answered: its token ids, and the range of tokens that holds the record's own
    text."""

    ids: list[int]
    text_span: tuple[int, int]


class BoundTemplate:
    """A template with a tokenizer.

    Raises TemplateError where the tokenizer lacks a token, or the template its label types."""

    def __init__(self, template: Template, tokenizer: PreTrainedTokenizerBase) -> None:
        if not template.labels and not template.placeholders.isdisjoint({"labels", "schema"}):
            raise TemplateError(
                f"template {template.name} asks for label types, and there are none",
                hint="list them under labels in the template, or give training data with labels",
            )
        self.template = template
        self.tokenizer = tokenizer
        self.schema: LabelSchema = template.label_schema
        """The label types that answers may name."""
        self._framing = choose_framing(template, tokenizer)
        self._encoder = self._framing.encoder
        self.end_id: int = self._framing.end_id
        """The token that ends an answer."""
        ends = dict.fromkeys((self.end_id, tokenizer.eos_token_id))
        self.end_ids: tuple[int, ...] = tuple(i for i in ends if i is not None)
        """Tokens at which generation stops: the answer's end, and the tokenizer's end token."""

    # ------------------------------------------------------------------------------------- records to ids

    def prompt(self, record: Record) -> PromptIds:
        """The prompt alone; a conversation up to its last answer.

        Raises TemplateError where the record has no form under this template."""
        ids, _, span = self._join(self._framing.parts(self._prompt_turns(record), open_end=True))
        return PromptIds(ids, span)

    def example(self, record: Record) -> Example:
        """Prompt and answer. The record must have an answer (`record.has_answer`).

        Raises TemplateError where the record has no form under this template."""
        if record.messages:
            # A question without answer at the end teaches nothing.
            last = max(i for i, message in enumerate(record.messages) if message.role == "assistant")
            turns = self._turns(replace(record, messages=record.messages[: last + 1]))
        else:
            answer = self.answer(record)
            assert answer is not None
            turns = [*self._turns(record), Turn("assistant", self._encoder.hide(answer))]
        ids, supervised, span = self._join(self._framing.parts(turns, open_end=False))
        return Example(ids, supervised, span, record.source)

    def answer(self, record: Record) -> str | None:
        """The gold answer as it is learnt: canonical labels; the output, or the last assistant turn,
        verbatim."""
        if record.messages:
            return next((m.content for m in reversed(record.messages) if m.role == "assistant"), None)
        if record.labels is not None:
            return canonical(record.labels, record.text, self.schema)
        return record.output

    def answer_ids(self, answer: str) -> list[int]:
        """An answer's ids as they follow a prompt, without the end token."""
        return self._encoder.encode(self._encoder.hide(answer))

    def decode_answer(self, ids: Sequence[int]) -> str:
        """The text of generated ids (without the end token): the reverse of `answer_ids`."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def own_text(self, record: Record) -> str:
        """The text that `text_span` covers: the record's, or a conversation's last question."""
        if record.messages:
            return next((m.content for m in reversed(record.messages) if m.role == "user"), "")
        return record.text

    def preview(self, record: Record) -> str:
        """The prompt as text, up to where the answer begins."""
        ends: list[int | None] = [self._framing.begin_id]
        texts = [""]
        for part in self._framing.parts(self._prompt_turns(record), open_end=True):
            texts.append(self._encoder.show(part.text))
            ends.append(part.end)
        names = ["" if end is None else str(self.tokenizer.convert_ids_to_tokens(end)) for end in ends]
        return "".join(text + name for text, name in zip(texts, names, strict=True))

    def _join(self, parts: Iterable[Part]) -> tuple[list[int], list[bool], tuple[int, int]]:
        begin = self._framing.begin_id
        ids = [] if begin is None else [begin]
        supervised = [False] * len(ids)
        span = (0, 0)
        for part in parts:
            piece = self._encoder.encode(part.text)
            if part.span is not None:
                start, stop = self._token_span(part.text, part.span, piece)
                span = (start + len(ids), stop + len(ids))
            ids += piece if part.end is None else [*piece, part.end]
            supervised += [part.supervised] * (len(ids) - len(supervised))
        return ids, supervised, span

    def _token_span(self, text: str, span: tuple[int, int], ids: list[int]) -> tuple[int, int]:
        """Tokens that hold the characters of `span`: where `ids` differ from the head alone and the tail alone.

        SentencePiece gives no offsets, and this needs none; head and tail of a template are encoded once. How
        white space at a border is split depends on what stands behind it, hence the stand-ins for the text."""
        head, own, tail = text[: span[0]], text[span[0] : span[1]], text[span[1] :]
        encode = self._encoder.encode_again
        first = _common(ids, encode(head))
        if not own:
            return first, first
        first = max(first, _common(ids, encode(head + _other(own[0]))))
        back = ids[::-1]
        behind = max(_common(back, encode(tail)[::-1]), _common(back, encode(_other(own[-1]) + tail)[::-1]))
        return first, max(first, len(ids) - behind)

    # ------------------------------------------------------------------------------------- records to turns

    def _prompt_turns(self, record: Record) -> list[Turn]:
        if record.messages and record.messages[-1].role == "assistant":
            record = replace(record, messages=record.messages[:-1])
        return self._turns(record)

    def _turns(self, record: Record) -> list[Turn]:
        """The conversation, its last question marked; or the one question that the template makes."""
        hide = self._encoder.hide
        if not record.messages:
            turns = [self._fill(record)]
        elif "messages" not in self.template.placeholders:
            raise TemplateError(
                f"a conversation does not fit template {self.template.name}, which has no {{messages}}",
                hint="use template chat",
            )
        else:
            turns = [Turn(message.role, hide(message.content)) for message in record.messages]
            asked = [i for i, turn in enumerate(turns) if turn.role == "user"]
            if asked:
                last = turns[asked[-1]]
                turns[asked[-1]] = replace(last, span=(0, len(last.content)))
        if self.template.system and turns[0].role != "system":
            turns.insert(0, Turn("system", hide(self.template.system)))
        return turns

    def _fill(self, record: Record) -> Turn:
        """The user's turn: the prompt with its placeholders filled.

        Control tokens that the template itself writes stay in the open. All that stands between two of
        them is hidden as one text, so that none can arise where template and record meet."""
        if "messages" in self.template.placeholders:
            lines = "{instruction}\n{text}" if record.instruction else "{text}"
        else:
            lines = self.template.lines_for(record)
        values = self.template.values(record)
        hide = self._encoder.hide
        content, run, span = "", "", (0, 0)
        for i, piece in enumerate(PLACEHOLDER.split(lines)):
            if i % 2:
                start = len(content) + len(hide(run))
                run += values[piece]
                if piece == "text":
                    span = (start, len(content) + len(hide(run)))
                continue
            literal = self._encoder.split_control(piece)
            run += literal[0]
            for control, text in zip(literal[1::2], literal[2::2], strict=True):
                content += hide(run) + control
                run = text
        content += hide(run)
        return Turn("user", content, (min(span[0], span[1]), span[1]))

    # ------------------------------------------------------------------------------------- saved and enforced

    def framing(self) -> dict[str, Any]:
        """What has to be the same at inference, for `yuantune.json`."""
        return self._framing.describe()

    def check_framing(self, saved: Mapping[str, Any]) -> None:
        """Raises TemplateError where the framing of training was another than this tokenizer's."""
        now = self.framing()
        problems = [
            Problem(key, f"{saved.get(key)!r} in training, {now.get(key)!r} with this tokenizer")
            for key in sorted({*now, *saved})
            if now.get(key) != saved.get(key)
        ]
        if problems:
            raise TemplateError(
                "this tokenizer frames prompts otherwise than the one of training",
                problems=problems,
                hint="load the tokenizer of the base model that was trained",
            )


def _other(character: str) -> str:
    """A letter that `character` is not."""
    return "y" if character == "x" else "x"


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many items two sequences share from the start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
