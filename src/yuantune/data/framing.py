"""How prompt and answer are strung together for a tokenizer.

| the tokenizer has | prompt ends with | answer ends with |
| --- | --- | --- |
| `<sep>` as a control token (Yuan2) | `<sep>` | `<eod>` |
| else a chat template | its generation prompt | its end of turn |
| else | a newline | the tokenizer's end token |

Everything up to the prompt's end is masked, answer and end token are supervised. In a conversation that
repeats, so every assistant turn is learnt. Nothing else is added, with one exception: where neither
`<sep>` nor a chat template frames the text, a tokenizer that puts a begin token (BOS) before every text
(Llama's) puts it here too, as its model expects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from yuantune.data.encoding import TextEncoder
from yuantune.data.template import AUTO, Template
from yuantune.errors import Problem, TemplateError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NEWLINE = "\n"
SEPARATOR, END = "<sep>", "<eod>"


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn with its control tokens hidden; `span` is where the record's own text stands in `content`."""

    role: str
    content: str
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of text that is tokenised by itself, and a token put after it."""

    text: str
    supervised: bool = False
    end: int | None = None
    span: tuple[int, int] | None = None


class Framing(Protocol):
    """How turns are strung together. `begin_id` comes before everything, `end_id` ends an answer."""

    encoder: TextEncoder
    begin_id: int | None
    end_id: int

    def parts(self, turns: Sequence[Turn], *, open_end: bool) -> Iterator[Part]:
        """The parts of a conversation; with `open_end` the last is a prompt that waits for its answer."""

    def describe(self) -> dict[str, Any]:
        """What has to be the same at inference."""


def choose_framing(template: Template, tokenizer: PreTrainedTokenizerBase) -> Framing:
    """The framing of the table above, unless the template names its ends itself.

    Raises TemplateError where the tokenizer lacks a token."""
    encoder = TextEncoder(tokenizer)
    free = template.prompt_end == AUTO and template.answer_end == AUTO
    if free and SEPARATOR not in encoder.control and tokenizer.chat_template:
        return ChatFraming(encoder, template.chat_options)
    prompt_end = template.prompt_end
    if prompt_end == AUTO:
        prompt_end = SEPARATOR if SEPARATOR in encoder.control else NEWLINE
    answer_end = template.answer_end
    if answer_end == AUTO:
        answer_end = END if END in encoder.control else tokenizer.eos_token
    if answer_end is None:
        raise TemplateError("the tokenizer has no end token", hint="set answer_end in the template")
    ends = {"answer_end": answer_end}
    if prompt_end != NEWLINE:
        ends["prompt_end"] = prompt_end
    problems = [
        Problem(field, f"the tokenizer has no token {token!r}{nearest(token, encoder.control)}")
        for field, token in ends.items()
        if encoder.token_id(token) is None
    ]
    if problems:
        raise TemplateError(
            f"template {template.name} needs tokens that the tokenizer lacks",
            problems=problems,
            hint=f"its control tokens: {', '.join(encoder.control) or 'none'}",
        )
    encoder = TextEncoder(tokenizer, extra=ends.values())
    begin = None if prompt_end == SEPARATOR else begin_token(encoder)
    return TokenFraming(encoder, prompt_end, answer_end, begin)


def begin_token(encoder: TextEncoder) -> str | None:
    """The token that the tokenizer puts before every text by itself, if it does."""
    tokenizer = encoder.tokenizer
    alone = tokenizer.encode("a", add_special_tokens=False)
    added = tokenizer.encode("a", add_special_tokens=True)
    starts = added[:1] == [tokenizer.bos_token_id] and added[1 : 1 + len(alone)] == alone
    begin: str | None = tokenizer.bos_token
    return begin if starts and begin in encoder.control else None


class TokenFraming:
    """Prompt, its end, answer, its end, and again. A system turn is the first line of the prompt."""

    def __init__(self, encoder: TextEncoder, prompt_end: str, answer_end: str, begin: str | None) -> None:
        self.encoder = encoder
        self.begin_id = encoder.control[begin] if begin else None
        self.end_id = encoder.control[answer_end]
        self._newline = NEWLINE if prompt_end == NEWLINE else ""
        self._prompt_end_id = None if self._newline else encoder.control[prompt_end]
        self._names = {"prompt_end": prompt_end, "answer_end": answer_end, "begin": begin}

    def parts(self, turns: Sequence[Turn], *, open_end: bool) -> Iterator[Part]:
        """As in `Framing`."""
        waiting: list[Turn] = []
        for turn in turns:
            if turn.role == "assistant":
                yield self._prompt(waiting)
                yield Part(turn.content, supervised=True, end=self.end_id)
                waiting = []
            else:
                waiting.append(turn)
        if open_end:
            yield self._prompt(waiting)

    def describe(self) -> dict[str, Any]:
        """As in `Framing`."""
        return {"kind": "tokens", **self._names}

    def _prompt(self, turns: Sequence[Turn]) -> Part:
        text, span = "", None
        for i, turn in enumerate(turns):
            text += NEWLINE if i else ""
            if turn.span:
                span = (turn.span[0] + len(text), turn.span[1] + len(text))
            text += turn.content
        return Part(text + self._newline, end=self._prompt_end_id, span=span)


class ChatFraming:
    """The model's own chat template.

    The end of a turn is the first control token behind an answer; what the template writes after it
    belongs to the next prompt. Raises TemplateError where the template refuses a conversation, or rewrites
    its earlier turns."""

    def __init__(self, encoder: TextEncoder, options: Mapping[str, Any]) -> None:
        self._tokenizer = encoder.tokenizer
        self._options = dict(options)
        self._content_start = lru_cache(maxsize=64)(self._find_content)
        # A conversation of our own shows where a turn ends, and which tokens the template writes.
        question, answer = Turn("user", "question"), Turn("assistant", "answer")
        before = self._render([question], True)
        after = self._render([question, answer], False)
        rest = _continuation(before, after)
        # A token that the template writes is a control token, also where the tokenizer does not call it
        # special.
        written = [name for name in self._tokenizer.get_added_vocab() if name in after and not name.isspace()]
        self.encoder = TextEncoder(self._tokenizer, extra=written)
        behind = self.encoder.split_control(rest[rest.find(answer.content) + len(answer.content) :])
        self._end_written = len(behind) > 1
        end = behind[1] if self._end_written else self._tokenizer.eos_token
        if end is None:
            raise TemplateError(
                "the model's chat template ends a turn with no token, and the tokenizer has no end token",
                hint="set answer_end in the template",
            )
        self._end: str = end
        self.begin_id: int | None = None  # The chat template writes it.
        self.end_id = int(self._tokenizer.convert_tokens_to_ids(end))

    def parts(self, turns: Sequence[Turn], *, open_end: bool) -> Iterator[Part]:
        """As in `Framing`."""
        shown = ""  # The rendering so far: every later one must begin with it.
        used = 0  # Characters of it that have been yielded.
        for i, turn in enumerate(turns):
            if turn.role != "assistant":
                continue
            before = self._render(turns[:i], True)
            _continuation(shown, before)
            yield self._prompt(turns[:i], before, used)
            shown = self._render(turns[: i + 1], False)
            answer = _continuation(before, shown)
            cut = answer.rfind(self._end) if self._end_written else -1
            if cut < 0:
                yield Part(answer, supervised=True, end=self.end_id)
                used = len(shown)
            else:
                cut += len(self._end)
                yield Part(answer[:cut], supervised=True)
                used = len(before) + cut
        if open_end:
            before = self._render(turns, True)
            _continuation(shown, before)
            yield self._prompt(turns, before, used)

    def describe(self) -> dict[str, Any]:
        """As in `Framing`."""
        digest = hashlib.sha256(self._tokenizer.get_chat_template().encode()).hexdigest()
        return {"kind": "chat", "chat_template_sha256": digest, "answer_end": self._end}

    def _render(self, turns: Sequence[Turn], generation: bool) -> str:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=generation, **self._options
            )
        except Exception as error:  # A chat template is a program: it may raise anything.
            raise TemplateError(
                f"the model's chat template refuses the conversation: {error}",
                hint="some take no system turn, some want user and assistant to alternate",
            ) from None
        return text

    def _prompt(self, turns: Sequence[Turn], text: str, used: int) -> Part:
        """The rendering from `used` on, and where the last turn's own text stands in it."""
        part = Part(text[used:])
        if not turns or turns[-1].span is None:
            return part
        content, span = turns[-1].content, turns[-1].span
        at = self._content_start(tuple(turns[:-1]), turns[-1].role) - used
        if at >= 0 and part.text.startswith(content, at):
            return replace(part, span=(at + span[0], at + span[1]))
        stripped = content.strip()  # As some templates do.
        if at >= 0 and part.text.startswith(stripped, at):
            cut = len(content) - len(content.lstrip())
            start, stop = (min(max(end - cut, 0), len(stripped)) for end in span)
            return replace(part, span=(at + start, at + stop))
        return replace(part, span=(0, len(part.text)))

    def _find_content(self, before: tuple[Turn, ...], role: str) -> int:
        """Where the content of a turn begins in the rendering, -1 if it is not shown."""
        probe = "\ufdd1"
        return self._render([*before, Turn(role, probe)], True).find(probe)


def _continuation(before: str, after: str) -> str:
    """What `after` adds to `before`."""
    if not after.startswith(before):
        raise TemplateError(
            "the model's chat template rewrites earlier turns when a later one comes, so the turns of one "
            "conversation cannot all be learnt from one text",
            hint="make each assistant turn the end of a record of its own, or set prompt_end and answer_end",
        )
    return after[len(before) :]
