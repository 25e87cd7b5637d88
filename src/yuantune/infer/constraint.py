"""Answers that cannot be wrong in form: the canonical JSON of the run's label types, its strings from the text.

A grammar of that form is a few forks (which type comes next, does its list go on) with free strings between
them, so an answer's state is a fork and what was written of it, or the string so far. A token is allowed where its
bytes go on from there; grounded, a string must stay a piece of the text. Greedy decoding only asks whether the
likeliest token is allowed; where it is not, for the likeliest that is. The form is that of `yuantune.data.labels`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from yuantune.errors import ModelError
from yuantune.infer.strings import Written, read_on
from yuantune.infer.vocabulary import token_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from yuantune.data.bound import BoundTemplate

_PROBES = ("甲", "a")
"""What a string may begin with, to see how what stands before it is split into tokens."""
_FIRST = 32
"""Likeliest tokens that are looked at before all are sorted."""


class Fork(NamedTuple):
    """At a fork: `written` of it so far. Of each fork, the options are known (`Form.options`)."""

    number: int
    written: bytes


class Value(NamedTuple):
    """Within a string of the type `kind`: its bytes so far, and those of an escape that has begun."""

    kind: int
    value: bytes
    escape: bytes


class End(NamedTuple):
    """Behind the closing brace."""


State = Fork | Value | End
BEGIN = Fork(0, b"")


@dataclass(frozen=True)
class Form:
    """The canonical form of answers with these label types, for one tokenizer.

    `bytes_of` is what each token writes, `lead` what the tokenizer puts before an answer (a space, or nothing),
    `encode` gives an answer's ids as they are learnt, `end_ids` end one."""

    types: tuple[str, ...]
    bytes_of: Sequence[bytes | None]
    lead: bytes
    encode: Callable[[str], list[int]]
    end_ids: tuple[int, ...]

    def hold(self, text: str | None) -> Constraint:
        """A new answer's constraint."""
        return Constraint(self, text)

    @cached_property
    def options(self) -> list[list[tuple[bytes, State]]]:
        """Of each fork, what may be written and the state behind it. Fork 0 begins the answer, fork i + 1 follows a
        string of type i."""
        names = [json.dumps(name, ensure_ascii=False) for name in self.types]
        opened = [(f"{name}: [".encode() + b'"', Value(kind, b"", b"")) for kind, name in enumerate(names)]
        begin: list[tuple[bytes, State]] = [(self.lead + b"{}", End())]
        begin += [(self.lead + b"{" + text, state) for text, state in opened]
        forks = [begin]
        for kind in range(len(names)):
            after: list[tuple[bytes, State]] = [(b', "', Value(kind, b"", b"")), (b"]}", End())]
            forks.append(after + [(b"], " + text, state) for text, state in opened[kind + 1 :]])
        return forks

    @cached_property
    def _known(self) -> dict[tuple[Fork, int], tuple[State | None, bool]]:
        return {}

    @cached_property
    def _forced(self) -> dict[tuple[Fork, tuple[int, ...]], tuple[int, ...]]:
        return {}

    def after(self, state: State, token: int, text: bytes | None) -> State | None:
        """The state behind `token`, None where it is not allowed. Strings are pieces of `text`, if it is given."""
        data = self.bytes_of[token] if token < len(self.bytes_of) else None
        if not data:
            return None
        if not isinstance(state, Fork):
            return self._after(state, data, text)
        key = (state, token)
        if key not in self._known:
            # With no text there is no string: what is allowed then writes none, and is so whatever the text is.
            self._known[key] = self._after(state, data, b""), self._after(state, data, None) is not None
        found, possible = self._known[key]
        return self._after(state, data, text) if found is None and possible else found

    def _after(self, state: State, data: bytes, text: bytes | None) -> State | None:
        at = 0
        following: State | None = state
        while at < len(data) and following is not None:
            if isinstance(following, Fork):
                following, at = self._on_fork(following, data, at)
            elif isinstance(following, Value):
                following, at = _within_value(following, data, at, text)
            else:
                return None
        return following

    def _on_fork(self, fork: Fork, data: bytes, at: int) -> tuple[State | None, int]:
        rest = data[at:]
        for option, behind in self.options[fork.number]:
            if not option.startswith(fork.written):
                continue
            missing = option[len(fork.written) :]
            if rest.startswith(missing):
                return behind, at + len(missing)
            if missing.startswith(rest):
                return Fork(fork.number, fork.written + rest), len(data)
        return None, at

    def forced(self, state: State, ids: Sequence[int], answer: bytes) -> tuple[int, ...]:
        """The tokens that follow whatever the model says, as answers are split into tokens when they are learnt;
        `ids` and `answer` are what is written so far."""
        if not isinstance(state, Fork):
            return ()
        key = (state, tuple(ids[-3:]))
        if key not in self._forced:
            self._forced[key] = tuple(self._common(state, list(ids), answer))
        return self._forced[key]

    def _common(self, fork: Fork, ids: list[int], answer: bytes) -> list[int]:
        """The tokens that all ways on from a fork begin with."""
        ways = [
            (answer + option[len(fork.written) :])[len(self.lead) :] + probe.encode()
            for option, behind in self.options[fork.number]
            if option.startswith(fork.written)
            for probe in (_PROBES if isinstance(behind, Value) else ("",))
        ]
        split = []
        for way in ways:
            try:
                whole = self.encode(way.decode())
            except UnicodeDecodeError:  # Within a character.
                return []
            if whole[: len(ids)] != ids:
                return []
            split.append(whole[len(ids) :])
        same = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*split, strict=False))
        return [tokens[0] for tokens in same]


def _within_value(state: Value, data: bytes, at: int, text: bytes | None) -> tuple[State | None, int]:
    """One stretch of a string."""
    string, at = read_on(Written(state.value, state.escape), data, at, text)
    if string is None:
        return None, at
    if string.closed:
        return (Fork(state.kind + 1, b"") if string.value else None), at
    return Value(state.kind, string.value, string.escape), at


def form_of(template: BoundTemplate) -> Form:
    """The form of a template's answers.

    Raises ModelError where it cannot be told what the tokenizer's tokens write."""
    table = token_bytes(template.tokenizer)
    known = json.dumps({name: ["x"] for name in template.schema.types}, ensure_ascii=False)
    lead_of(template, table, known)
    return Form(template.schema.types, table, lead_of(template, table, "{}"), template.answer_ids, template.end_ids)


def lead_of(template: BoundTemplate, table: Sequence[bytes | None], answer: str) -> bytes:
    """What the tokenizer puts before an answer. `table` is what each token writes.

    Raises ModelError where the answer itself is not what its tokens write."""
    written = b"".join(table[index] or b"" for index in template.answer_ids(answer))
    if not written.endswith(answer.encode()):
        raise ModelError(
            f"the tokenizer writes {written.decode(errors='replace')!r} where the answer is {answer!r}"
        )
    return written[: len(written) - len(answer.encode())]


class Constraint:
    """One answer as it is written. `text`: what its strings are pieces of; None: they are free."""

    failure = ""
    """Why there can be no answer: a form of labels always has one."""

    def __init__(self, form: Form, text: str | None) -> None:
        self.form = form
        self._text = None if text is None else text.encode("utf-8", "surrogatepass")
        self._state: State = BEGIN
        self.ids: list[int] = []
        self._answer = b""

    @property
    def ended(self) -> bool:
        """Whether the answer is whole: nothing but an end token may follow."""
        return isinstance(self._state, End)

    @property
    def in_string(self) -> bool:
        """Whether a string is being written, and has begun."""
        return isinstance(self._state, Value) and bool(self._state.value)

    def accept(self, token: int) -> bool:
        """Write `token`, if it is allowed."""
        following = self.form.after(self._state, token, self._text)
        if following is None:
            return False
        self._state = following
        self.ids.append(token)
        self._answer += self.form.bytes_of[token] or b""
        return True

    def choose(self, logits_V: Tensor, likeliest: int) -> int:
        """Write the likeliest token, or, where it is not allowed, the likeliest that is; its id."""
        if self.accept(likeliest):
            return likeliest
        token = self.best(logits_V)
        self.accept(token)
        return token

    def best(self, logits_V: Tensor) -> int:
        """The allowed token of the highest logit. Not written yet.

        Raises ModelError where the tokenizer has none that could go on."""
        for token in falling(logits_V):
            if self.form.after(self._state, token, self._text) is not None:
                return token
        raise ModelError(f"no token can go on from {self._answer.decode(errors='replace')!r}")

    def forced(self) -> tuple[int, ...]:
        """Write what must follow, and give it."""
        tokens = self.form.forced(self._state, self.ids, self._answer)
        for token in tokens:
            accepted = self.accept(token)
            assert accepted
        return tokens

    @property
    def closed(self) -> str:
        """The answer, cut short at its last whole string where it has not ended."""
        answer = self._answer[len(self.form.lead) :].decode(errors="replace")
        if self.ended:
            return answer
        return _closed(answer)


def _closed(answer: str) -> str:
    """A canonical answer that broke off, closed behind its last whole string."""
    at = answer.rfind('"')
    while at >= 0:
        try:
            json.loads(closed := answer[: at + 1] + "]}")
        except json.JSONDecodeError:  # The quote opens a string, stands in one, or ends the name of a type.
            at = answer.rfind('"', 0, at)
        else:
            return closed
    return "{}"


def falling(logits_V: Tensor) -> Iterator[int]:
    """Tokens by falling logit, the lower id first where two are equal."""
    first = logits_V.topk(min(_FIRST, len(logits_V))).indices.tolist()
    first.sort(key=lambda token: (-float(logits_V[token]), token))
    yield from first
    seen = set(first)
    yield from (token for token in logits_V.argsort(descending=True, stable=True).tolist() if token not in seen)
