"""Ollama's Modelfile of a run: the training prompt around what a person types, greedy decoding, and where it ends.

Ollama puts the prompt into TEMPLATE, a Go template, and gives the whole to llama.cpp, which finds control tokens in
it by their names. It does so in what a person types as well; yuantune hides them there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from yuantune.data.bound import BoundTemplate
from yuantune.data.record import Record, Source
from yuantune.errors import TemplateError
from yuantune.train.gguf.file import GGUF_FILE
from yuantune.train.gguf.tokenizer import Vocabulary

MODELFILE = "Modelfile"

_MARK = "\ufdd2"
"""Stands for the text; Unicode keeps it for a program's own use, so that no template has it."""
# What would end the value or the template in it, and what an editor would not keep.
_GUARDED = re.compile(r'"{3,}|^"+|"+$|\{\{|\}\}|[\x00-\x08\x0b-\x1f\x7f]')
_ESCAPES = {'"': '\\"', "{": "{", "}": "}", "\r": "\\r"}


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text before and behind what a person types, and whether the bos token comes before both."""

    before: str
    after: str
    begins: bool
    starts_with_control: bool


def prompt_of(template: BoundTemplate) -> Prompt:
    """The training prompt around a text.

    Raises TemplateError where the prompt is more than one text and what is around it."""
    whole = template.template.prompt
    if "instruction" in template.template.placeholders and whole.strip() != "{instruction}\n{text}":
        raise TemplateError(
            f"template {template.template.name} puts the instruction and the text in different places, and Ollama "
            "has one prompt",
            hint="train with a template that has {text} alone",
        )
    shown = template.preview(Record(Source("prompt", 1), _MARK))
    if shown.count(_MARK) != 1:
        raise TemplateError(
            f"the prompt shows the text {shown.count(_MARK)} times, and Ollama's template has it once"
        )
    before, after = shown.split(_MARK)
    bos = template.tokenizer.bos_token
    begins = bool(bos) and before.startswith(bos)
    before = before.removeprefix(bos) if begins else before
    control = [token.content for token in template.tokenizer.added_tokens_decoder.values()]
    return Prompt(before, after, begins, before.startswith(tuple(control)))


def typed(record: Record) -> str | None:
    """What a person would type for a record; None for a conversation of several turns."""
    if record.messages:
        asked = [message for message in record.messages if message.role != "assistant"]
        one = len(asked) == 1 and record.messages[0].role == "user"
        return asked[0].content if one else None
    return "\n".join(each for each in (record.instruction, record.text) if each)


def same_prompts(
    template: BoundTemplate, prompt: Prompt, vocabulary: Vocabulary, records: Sequence[Record]
) -> tuple[int, int]:
    """Of how many records llama.cpp reads the ids of training, and of how many it could be told.

    Raises TemplateError where it is none."""
    told = [(record, text) for record in records if (text := typed(record)) is not None]
    same = 0
    for record, text in told:
        asked = record.messages[:1] if record.messages else ()
        expected = template.prompt(Record(record.source, record.text, None, None, record.instruction, asked)).ids
        same += vocabulary.ids(prompt.before + text + prompt.after) == expected
    if told and not same:
        raise TemplateError(
            f"llama.cpp would read other tokens than those of training, in each of {len(told)} rows",
            hint="`yuantune export RUN --merge` writes a folder that `yuantune generate` answers with",
        )
    return same, len(told)


def modelfile(prompt: Prompt, stops: Sequence[str], *, context: int, answer: int, head: str) -> str:
    """The text of the Modelfile. `context` and `answer` count tokens; `head` is its first line, a comment."""
    lines = [
        f"# {head}",
        f"FROM ./{GGUF_FILE}",
        f'TEMPLATE """{guarded(prompt.before)}{{{{ .Prompt }}}}{guarded(prompt.after)}"""',
        "PARAMETER temperature 0",
        "PARAMETER repeat_penalty 1",
        f"PARAMETER num_ctx {context}",
        f"PARAMETER num_predict {answer}",
        *(f'PARAMETER stop "{stop}"' for stop in stops if '"' not in stop),
    ]
    return "\n".join(lines) + "\n"


def guarded(text: str) -> str:
    """`text` in a Go template within three quotation marks."""
    return _GUARDED.sub(lambda match: '{{"' + "".join(map(_escape, match[0])) + '"}}', text)


def _escape(character: str) -> str:
    return _ESCAPES.get(character) or f"\\x{ord(character):02x}"
