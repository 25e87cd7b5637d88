"""Exercises to rows that pretraining reads: a question, and its answer in the product's canonical form.

A row is `{"input": prompt, "output": answer}` for the template `plain`, and gives exactly the tokens that training
with the question's own template would give."""

from __future__ import annotations

from random import Random

from recipes.yuan2_mini.segments import Exercise, Segment, labels_of, text_of
from recipes.yuan2_mini.wordings import ENGLISH, ENGLISH_WORDINGS, HINTS, LISTED, NAMES, PLAIN, SHORT, WITH_EXAMPLE

from yuantune.data.labels import canonical
from yuantune.data.record import Record, Source
from yuantune.data.template import Template, load_template

RESUME = "resume"
"""The kind of exercise whose types are the tags of `wordings.NAMES`."""
TAGS = tuple(NAMES)
TUTORIAL_SHARE = 0.25
"""Résumés asked about in the words of the product's résumé template: a third of a row's tokens, but the words that
fine-tuning will use."""
EXAMPLE_CHARACTERS = 60

_WAYS = ("short", "plain", "extract", "extract-en", "listed", "english", "coded", "example")
_WEIGHTS = (36, 26, 10, 3, 7, 5, 5, 8)
_SEPARATORS = ("、", "，", ",", ", ", "/", " ", "；", "|", "和")
_SEPARATOR_WEIGHTS = (40, 12, 14, 10, 5, 5, 4, 5, 5)
_BUILT_IN = {name: load_template(name) for name in ("resume-ner", "extract", "extract-en")}
_WHERE = Source("exercise", 1)


def resume_exercise(segments: list[Segment]) -> Exercise:
    """A tagged résumé as an exercise that asks for all eight types."""
    return Exercise(text_of(segments), labels_of(segments, TAGS), TAGS, RESUME)


def render(exercise: Exercise, draw: Random, *, example: Exercise | None = None) -> dict[str, str]:
    """One row for `exercise`. `example` is another exercise that the question may show, with its answer."""
    return as_row(*question(exercise, draw, example=example))


def as_row(template: Template, record: Record) -> dict[str, str]:
    """A record under a template as a row for the template `plain`."""
    assert record.labels is not None
    return {
        "input": template.render(record),
        "output": canonical(record.labels, record.text, template.label_schema),
    }


def question(exercise: Exercise, draw: Random, *, example: Exercise | None = None) -> tuple[Template, Record]:
    """Which types are asked for, what they are called, and how: the template and the labelled record of a row."""
    if exercise.kind == RESUME and draw.random() < TUTORIAL_SHARE:
        return _BUILT_IN["resume-ner"], _record(exercise, {tag: NAMES[tag][0] for tag in TAGS})
    way = draw.choices(_WAYS, _WEIGHTS)[0]
    asked = _asked(exercise, draw) if exercise.kind == RESUME else list(exercise.asked)
    names = _names(asked, draw, english=way in ("english", "extract-en") and exercise.kind == RESUME)
    return _template(way, names, draw, example), _record(exercise, names)


def _record(exercise: Exercise, names: dict[str, str]) -> Record:
    labels = {names[tag]: strings for tag, strings in exercise.labels.items() if tag in names}
    return Record(_WHERE, exercise.text, labels=labels)


def _asked(exercise: Exercise, draw: Random) -> list[str]:
    """Some of the types, more often such as occur, in the usual or in another order."""
    kind = draw.random()
    if kind < 0.3:
        asked = list(exercise.asked)
    else:
        count = 1 if kind < 0.38 else draw.choice((2, 3, 3, 4, 4, 5, 6, 7))
        eager = {tag: draw.random() + (0.5 if tag in exercise.labels else 0.0) for tag in exercise.asked}
        chosen = sorted(eager, key=lambda tag: -eager[tag])[:count]
        asked = [tag for tag in exercise.asked if tag in chosen]
    if draw.random() < 0.5:
        draw.shuffle(asked)
    return asked


def _names(asked: list[str], draw: Random, *, english: bool) -> dict[str, str]:
    """What each type is called in this question."""
    if not english and draw.random() < 0.06:
        return {tag: tag for tag in asked}
    known = ENGLISH if english else NAMES
    usual = 1.0 if draw.random() < 0.3 else 0.3
    names: dict[str, str] = {}
    for tag in asked:
        ways = [way for way in known.get(tag, (tag,)) if way not in names.values()]
        names[tag] = ways[0] if draw.random() < usual else draw.choice(ways)
    return names


def _template(way: str, names: dict[str, str], draw: Random, example: Exercise | None) -> Template:
    labels = list(names.values())
    if way.startswith("extract"):
        return _BUILT_IN[way].model_copy(update={"labels": dict.fromkeys(labels, ())})
    if way == "example" and example is not None and len(example.text) <= EXAMPLE_CHARACTERS:
        prompt = _with_example(draw.choice(WITH_EXAMPLE), example, names)
    elif way == "listed":
        prompt = draw.choice(LISTED).replace("{types}", _listed(names, draw))
    elif way == "coded" and names.keys() <= NAMES.keys():
        pair = draw.choice(("{1}({0})", "{0}:{1}", "{1}（{0}）", "{0}={1}"))
        coded = draw.choice(("、", "，", ", ", "\n")).join(pair.format(tag, name) for tag, name in names.items())
        prompt = draw.choice(PLAIN + SHORT[:5]).replace("{labels}", coded)
    else:
        prompt = draw.choice({"english": ENGLISH_WORDINGS, "plain": PLAIN}.get(way, SHORT))
    separator = ", " if way == "english" else draw.choices(_SEPARATORS, _SEPARATOR_WEIGHTS)[0]
    return Template.from_dict({"prompt": prompt, "labels": labels, "label_separator": separator})


def _with_example(wording: str, example: Exercise, names: dict[str, str]) -> str:
    """The wording with the example in it, answered for the types of this question."""
    shown = _record(example, names)
    answer = canonical(shown.labels or {}, shown.text, Template(labels=list(names.values())).label_schema)
    return wording.replace("{example}", shown.text).replace("{answer}", answer)


def _listed(names: dict[str, str], draw: Random) -> str:
    """One line a type: bare, numbered, or with what it means."""
    form = draw.choice(
        ("- {name}", "{at}. {name}", "{name}", "- {name}：{hint}", "{name}：{hint}", "* {name}({tag})")
    )
    lines = [
        form.format(at=at, tag=tag, name=name, hint=HINTS.get(tag, "原文中的" + name))
        for at, (tag, name) in enumerate(names.items(), 1)
    ]
    return "\n".join(lines)
