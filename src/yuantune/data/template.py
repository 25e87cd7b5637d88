"""Templates: the one object that says how a record becomes a prompt, in training and at inference alike.

A template is text with placeholders, the label types, and how prompt and answer end. Built-in ones are
YAML files in `resources/templates`. `Template.bind` joins it to a tokenizer (`yuantune.data.bound`).
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from yuantune.data.labels import LabelSchema, infer_schema, parse
from yuantune.data.record import Record, Source
from yuantune.errors import Problem, TemplateError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from yuantune.data.bound import BoundTemplate

AUTO = "auto"
"""As `template`: by the shape of the records. As an end: by the tokenizer."""
PLACEHOLDERS = ("text", "instruction", "labels", "schema", "messages")
PLACEHOLDER = re.compile("{(" + "|".join(PLACEHOLDERS) + ")}")
SAMPLE = 100
"""Records that decide which built-in template `auto` takes."""

_WORD = re.compile(r"{([A-Za-z_][A-Za-z0-9_]*)}")
_OFTEN_MEANT = {
    **dict.fromkeys(("input", "input_str", "query", "question", "content", "document", "sentence"), "text"),
    **dict.fromkeys(("types", "label", "entities", "categories"), "labels"),
    **dict.fromkeys(("conversation", "chat", "history"), "messages"),
}
_CJK = re.compile("[\u3400-\u9fff]")


def _as_codes(value: Any) -> Any:
    """`[姓名]`, `{姓名: NAME}` and `{姓名: [NAME, PER]}` mean the same kind of thing: type to codes."""
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        if len(set(value)) < len(value):
            raise ValueError("a type is listed twice")
        return {name: () for name in value}
    if isinstance(value, dict):
        return {name: (codes,) if isinstance(codes, str) else codes or () for name, codes in value.items()}
    return value


class Template(BaseModel):
    """How a record becomes a prompt, and how prompt and answer end."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)

    name: str = "inline"
    """What messages and `yuantune.json` call it."""
    description: str = ""
    """One line for people."""
    prompt: str = "{text}"
    """The prompt. Replaced, and nothing else is: `{text}` the record's own text, `{instruction}` its
    instruction, `{labels}` the types joined by label_separator, `{schema}` a JSON object of every type
    with an empty list. In a prompt with `{instruction}`, a line that is one placeholder goes where the
    record has nothing for it. `{messages}`, alone, is the conversation as it is (a record without one is a
    single user turn)."""
    labels: Annotated[dict[str, tuple[str, ...]], BeforeValidator(_as_codes)] = Field(default_factory=dict)
    """The label types in the order of answers: a list, or a mapping to the codes that tagged files use
    (`姓名: NAME`). Empty: taken from the training data."""
    label_separator: str = ", "
    """What stands between types in `{labels}`."""
    prompt_end: str = AUTO
    """How the prompt ends: a token of the tokenizer, a newline, or auto: `<sep>` where the tokenizer has
    it as a control token, else the model's chat template, else a newline."""
    answer_end: str = AUTO
    """How the answer ends: a token of the tokenizer, or auto: `<eod>` where the tokenizer has it as a
    control token, else the chat template's end of turn, else the tokenizer's end token."""
    system: str = ""
    """System prompt for models with a chat template; for others it stands as a first line."""
    chat_options: dict[str, Any] = Field(default_factory=lambda: {"enable_thinking": False})
    """Variables for the model's chat template."""

    @field_validator("prompt")
    @classmethod
    def _placeholders(cls, prompt: str) -> str:
        words = dict.fromkeys(word for word in _WORD.findall(prompt) if word not in PLACEHOLDERS)
        # A brace may be JSON or code; only what looks like one of ours, misspelt, is refused.
        meant = {word: _meant(word) for word in words}
        wrong = [f"{{{word}}} (did you mean {{{name}}}?)" for word, name in meant.items() if name]
        if wrong:
            raise ValueError(f"unknown placeholder {', '.join(wrong)}")
        found = PLACEHOLDER.findall(prompt)
        if "messages" in found:
            if prompt.strip() != "{messages}":
                raise ValueError("{messages} stands alone: the conversation is the whole prompt")
        elif found.count("text") != 1:
            raise ValueError(f"a prompt has {{text}} once, not {found.count('text')} times")
        return prompt

    @field_validator("labels")
    @classmethod
    def _codes(cls, labels: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        codes = [code for several in labels.values() for code in several]
        if "" in labels or "" in codes:
            raise ValueError("a type or code is empty")
        twice = sorted({code for code in codes if codes.count(code) > 1})
        if twice:
            raise ValueError(f"code {', '.join(twice)} stands for two types")
        return labels

    @field_validator("prompt_end", "answer_end")
    @classmethod
    def _end(cls, end: str) -> str:
        if not end:
            raise ValueError("empty; write auto, a token, or a newline")
        return end

    # ------------------------------------------------------------------------------------------ what it knows

    @property
    def label_schema(self) -> LabelSchema:
        """The label types and their codes."""
        codes = {code: name for name, several in self.labels.items() for code in several}
        return LabelSchema(tuple(self.labels), codes)

    @property
    def placeholders(self) -> frozenset[str]:
        """Which placeholders the prompt uses."""
        return frozenset(PLACEHOLDER.findall(self.prompt))

    @property
    def extraction(self) -> bool:
        """Whether answers are labels as JSON."""
        return bool(self.labels) or not self.placeholders.isdisjoint({"labels", "schema"})

    def with_labels(self, schema: LabelSchema) -> Template:
        """The same template for other label types."""
        codes: dict[str, tuple[str, ...]] = {name: () for name in schema.types}
        for code, name in schema.codes.items():
            codes[name] = (*codes[name], code)
        return self.model_copy(update={"labels": codes})

    def values(self, record: Record) -> dict[str, str]:
        """What stands for each placeholder."""
        return {
            "text": record.text,
            "instruction": record.instruction,
            "labels": self.label_separator.join(self.labels),
            "schema": json.dumps({name: [] for name in self.labels}, ensure_ascii=False),
        }

    def lines_for(self, record: Record) -> str:
        """The prompt, still with its placeholders, without the lines that `record` leaves empty."""
        if "instruction" not in self.placeholders:
            return self.prompt
        empty = {"{instruction}"} if not record.instruction else {"{text}"} if not record.text else set()
        return "\n".join(line for line in self.prompt.split("\n") if line.strip() not in empty)

    def render(self, record: Record) -> str:
        """The prompt as text, as a file of whole prompts has it (`{messages}`: the record's own text)."""
        values = {**self.values(record), "messages": record.text}
        return PLACEHOLDER.sub(lambda match: values[match[1]], self.lines_for(record))

    def bind(self, tokenizer: PreTrainedTokenizerBase) -> BoundTemplate:
        """This template with a tokenizer: from here on records become token ids.

        Raises TemplateError where the tokenizer lacks a token, or the template its label types."""
        from yuantune.data.bound import BoundTemplate

        return BoundTemplate(self, tokenizer)

    def to_dict(self) -> dict[str, Any]:
        """For `yuantune.json`. The order of `labels` is the order of answers: keep it."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], *, where: str = "inline template") -> Template:
        """A template from its fields. Raises TemplateError with every problem."""
        try:
            return cls.model_validate(dict(value))
        except ValidationError as error:
            problems = [_problem(item, where) for item in error.errors()]
            raise TemplateError(
                f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the template",
                problems=problems,
            ) from None


def _meant(word: str) -> str:
    """The placeholder that a misspelt one means, or an empty string."""
    close = difflib.get_close_matches(word.lower(), PLACEHOLDERS, n=1, cutoff=0.7)
    return close[0] if close else _OFTEN_MEANT.get(word.lower(), "")


def _problem(item: Any, where: str) -> Problem:
    """One of pydantic's findings in our words."""
    field = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return Problem(where, f"unknown field {field}{nearest(field, Template.model_fields)}")
    what = str(item["ctx"]["error"]) if item["type"] == "value_error" else item["msg"]
    return Problem(where, f"{field}: {what[0].lower()}{what[1:]}")


# ------------------------------------------------------------------------------------------------- loading


def builtin_names() -> list[str]:
    """Names of the templates that ship."""
    folder = resources.files("yuantune") / "resources" / "templates"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


@lru_cache
def _builtin(name: str) -> Template:
    file = resources.files("yuantune") / "resources" / "templates" / f"{name}.yaml"
    return Template.from_dict(yaml.safe_load(file.read_text(encoding="utf-8")), where=name)


def load_template(
    template: str | Mapping[str, Any] | Path | Template, records: Iterable[Record] | None = None
) -> Template:
    """A built-in by name, a YAML file by path, an inline template, or `auto`: by the shape of `records`.

    Only the first records are looked at. Raises TemplateError for an unknown name (with the nearest), a
    file that cannot be read, wrong fields."""
    if isinstance(template, Template):
        return template
    if isinstance(template, Mapping):
        return Template.from_dict(template)
    name = str(template)
    if name == AUTO:
        if records is None:
            raise TemplateError("template auto needs records to look at", hint=_known())
        return _builtin(_by_shape(list(islice(records, SAMPLE))))
    if name in builtin_names():
        return _builtin(name)
    if Path(name).suffix in {".yaml", ".yml"} or "/" in name or Path(name).is_file():
        return _from_file(Path(name))
    raise TemplateError(f"unknown template {name!r}{nearest(name, builtin_names())}", hint=_known())


def choose_template(
    template: str | Mapping[str, Any] | Path | Template, records: Iterable[Record]
) -> tuple[Template, LabelSchema]:
    """`load_template`, its label types taken from `records` where it has none and they have; and its types.

    `records` is walked once for the choice (its start) and once for the types: a list, or any object that can
    be iterated again. Raises TemplateError where auto would have to give rows with labels and other rows one
    prompt: those with labels would lose their task, or the others their answer."""
    chosen = load_template(template, records)
    if not chosen.labels:
        kinds: dict[str, list[Source]] = {}
        found = infer_schema(_sorted_out(records, kinds) if template == AUTO else records)
        if _LABELLED in kinds and len(kinds) > 1:
            raise _mixed(kinds)
        chosen = chosen.with_labels(found) if found.types else chosen
    return chosen, chosen.label_schema


_LABELLED = "rows with labels"


def _sorted_out(records: Iterable[Record], kinds: dict[str, list[Source]]) -> Iterator[Record]:
    """The records, on their way through noted under the kind of answer that they have: the first of a file."""
    files: set[tuple[str, str]] = set()
    for record in records:
        # An output that is labels as JSON is an extraction row too.
        if record.messages or (record.output is not None and parse(record.output) is None):
            kind = "conversations" if record.messages else "rows with a text as their answer"
        else:
            kind = _LABELLED if record.labels is not None else ""
        if kind and (kind, record.source.file) not in files:
            files.add((kind, record.source.file))
            kinds.setdefault(kind, []).append(record.source)
        yield record


def _mixed(kinds: Mapping[str, Sequence[Source]]) -> TemplateError:
    labelled = shlex.quote(kinds[_LABELLED][0].file)
    return TemplateError(
        "template auto has one prompt for all rows, and these are of different kinds",
        problems=[Problem(str(places[0]), kind) for kind, places in kinds.items()],
        hint="train on one kind alone; or write the task into the rows with labels, `yuantune data convert "
        f"{labelled} with-task.jsonl --as tutorial --template extract`, and train on these and the others together",
    )


def _by_shape(records: list[Record]) -> str:
    if any(record.messages for record in records):
        return "chat"
    labelled = [record for record in records if record.labels is not None]
    if labelled:
        types = {name for record in labelled for name in record.labels or ()}
        chinese = sum(_CJK.search(record.text) is not None for record in labelled)
        return "extract" if _CJK.search("".join(types)) or 2 * chinese >= len(labelled) else "extract-en"
    return "instruction" if any(record.instruction for record in records) else "plain"


def _from_file(path: Path) -> Template:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TemplateError(f"no template file {path}", hint=_known()) from None
    except UnicodeDecodeError as error:
        raise TemplateError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise TemplateError(f"{path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        what = getattr(error, "problem", None) or str(error)
        raise TemplateError("the template is not valid YAML", problems=[Problem(where, what)]) from None
    except RecursionError:
        raise TemplateError(f"{path} is nested too deeply, or within itself") from None
    except ValueError as error:  # What looks like a date and is none.
        raise TemplateError(
            f"{path} holds a value that YAML cannot read: {error}", hint="put it in quotes"
        ) from None
    if not isinstance(value, dict):
        raise TemplateError(f"{path} holds no fields with values", hint="a template has at least `prompt:`")
    return Template.from_dict({"name": path.stem, **value}, where=str(path))


def _known() -> str:
    return f"built-in templates: {', '.join(builtin_names())}; or a YAML file, or an inline template"
