"""Made-up forms as data, read from lexicon/forms.txt.

A form there is a block: `# name`, then of each field its key, the makers of its values and the names of its type,
then, after `> `, sentences that hold fields."""

from __future__ import annotations

from dataclasses import dataclass

from recipes.yuan2_mini.wordlists import words


@dataclass(frozen=True, slots=True)
class FormKind:
    """A kind of record: what it has, and how a sentence tells it."""

    name: str
    makers: dict[str, tuple[str, ...]]
    """Field to the makers (of `passages_values`) that its value may come from."""
    names: dict[str, tuple[str, ...]]
    """Field to the names of its type, which also stand before the value or over the column."""
    sentences: tuple[str, ...]


def _kinds(table: str) -> tuple[FormKind, ...]:
    kinds = []
    for block in table.strip().split("\n\n"):
        head, *rows = block.splitlines()
        fields = [row.split() for row in rows if not row.startswith("> ")]
        kinds.append(
            FormKind(
                head.removeprefix("# "),
                {key: tuple(makers.split("|")) for key, makers, _ in fields},
                {key: tuple(names.split("/")) for key, _, names in fields},
                tuple(row[2:] for row in rows if row.startswith("> ")),
            )
        )
    return tuple(kinds)


FORM_KINDS = _kinds("\n".join(words("forms")))
