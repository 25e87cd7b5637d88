"""Answers held to a JSON Schema of the user's own, compiled by xgrammar.

The form is that of all answers: separators `", "` and `": "`, no other white space, no needless escapes, and the
first token as answers begin in training. xgrammar knows where in the schema an answer is; where in its JSON,
`Position` knows, which keeps strings in canonical form and, grounded, to pieces of the text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from yuantune.errors import ConfigError, UserError
from yuantune.infer.constraint import falling, lead_of
from yuantune.infer.json_schema import check_schema, property_names, ungrounded
from yuantune.infer.strings import Written, read_on
from yuantune.infer.vocabulary import token_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from yuantune.data.bound import BoundTemplate

_PROBES = (*map(chr, range(32, 127)), "甲", "é", "あ")
"""What may follow a stretch, to see how its end is split into tokens."""
_MOST_CLOSED = 500
"""Ways to close an answer that are tried behind each of its values."""
_OPEN, _CLOSE, _COMMA, _QUOTE = b"{[", b"}]", ord(","), ord('"')


class Position(NamedTuple):
    """Where in its JSON an answer is: `stack` has an entry for each open object (its keys so far) and array (None),
    `key` says whether a string that begins now is a key, `string` is the one that is being written."""

    stack: tuple[frozenset[bytes] | None, ...] = ()
    key: bool = False
    string: Written | None = None

    def behind(self, data: bytes, text: bytes | None) -> Position | None:
        """Behind some more bytes; None where a string cannot go on so, or a key stands a second time. Strings other
        than keys are pieces of `text`, if it is given."""
        at, here = 0, self
        while at < len(data):
            if here.string is not None:
                written, at = read_on(here.string, data, at, None if here.key else text)
                following = None if written is None else here._in_string(written)
                if following is None:
                    return None
                here = following
            else:
                here = here._outside(data[at])
                at += 1
        return here

    def _in_string(self, written: Written) -> Position | None:
        if not written.closed:
            return self._replace(string=written)
        if not self.key:
            return self._replace(string=None)
        keys = self.stack[-1] or frozenset()
        return None if written.value in keys else Position((*self.stack[:-1], keys | {written.value}))

    def _outside(self, byte: int) -> Position:
        if byte == _QUOTE:
            return self._replace(string=Written())
        if byte in _OPEN:
            is_object = byte == _OPEN[0]
            return Position((*self.stack, frozenset() if is_object else None), is_object)
        if byte in _CLOSE:
            return Position(self.stack[:-1])
        return self._replace(key=self.stack[-1] is not None) if byte == _COMMA and self.stack else self


@dataclass(frozen=True)
class SchemaForm:
    """A schema compiled for one tokenizer. `bytes_of` is what each token writes, `lead` what the tokenizer puts
    before an answer, `encode` gives an answer's ids as they are learnt, `end_ids` end one."""

    schema: Mapping[str, Any]
    bytes_of: Sequence[bytes | None]
    lead: bytes
    encode: Callable[[str], list[int]]
    end_ids: tuple[int, ...]
    compiled: Any
    _forced: dict[tuple[tuple[int, ...], str, tuple[str, ...]], tuple[int, ...]] = field(default_factory=dict)

    def hold(self, text: str | None) -> SchemaConstraint:
        """A new answer's constraint. `text`: what its strings are pieces of; None: they are free."""
        return SchemaConstraint(self, text)

    def matcher(self) -> Any:
        """xgrammar's, at the beginning of an answer."""
        from xgrammar import GrammarMatcher

        return GrammarMatcher(self.compiled)

    @cached_property
    def fillers(self) -> list[bytes]:
        """What closes an answer, or states in it that nothing was found."""
        keys = [json.dumps(name, ensure_ascii=False) + ": " for name in property_names(self.schema)]
        return [each.encode() for each in ("]", "}", "[]", "null", "{", *keys, *(f", {key}" for key in keys))]

    def check_grounding(self) -> None:
        """Raises ConfigError where the schema describes strings that a text may lack."""
        if problems := ungrounded(self.schema):
            raise ConfigError(
                "strings that the schema describes need not stand in the text, so both cannot be promised",
                problems=problems,
                hint="--no-grounded (in Python: grounded=False) holds answers to the schema alone",
            )

    def forced(self, ids: Sequence[int], answer: bytes, jump: str, matcher: Any) -> tuple[int, ...]:
        """The tokens of `jump`, which must follow `answer`, as far as they are the same whatever follows it."""
        behind = matcher.fork()
        if not behind.accept_string(jump):
            return ()
        probes = self._probes(behind, jump.encode()[-1])
        key = (tuple(ids[-3:]), jump, probes)
        if key not in self._forced:
            try:
                whole = answer.decode() + jump
            except UnicodeDecodeError:  # Within a character.
                return ()
            ways = [self.encode(whole[len(self.lead) :] + probe) for probe in probes]
            self._forced[key] = tuple(self._common(ways, list(ids), len(whole.encode())))
        return self._forced[key]

    def _probes(self, matcher: Any, last: int) -> tuple[str, ...]:
        """What may follow the byte `last`: all that some token joins with it, and one of the others."""
        probes = ["" for _ in range(matcher.is_completed())]
        apart = False
        for probe in _PROBES:
            joined = (last, probe.encode()[0]) in self._pairs
            if (joined or not apart) and matcher.fork().accept_string(probe):
                probes.append(probe)
                apart = apart or not joined
        return tuple(probes)

    @cached_property
    def _pairs(self) -> set[tuple[int, int]]:
        """The bytes that stand side by side in a token."""
        return {pair for each in self.bytes_of if each for pair in pairwise(each)}

    def _common(self, ways: Sequence[Sequence[int]], ids: list[int], size: int) -> Iterator[int]:
        """What all ways begin with behind `ids`, within their first `size` bytes."""
        if not ways or any(way[: len(ids)] != ids for way in ways):
            return
        written = 0
        for number, tokens in enumerate(zip(*ways, strict=False)):
            written += len(self.bytes_of[tokens[0]] or b"")
            if len(set(tokens)) > 1 or written > size:
                return
            if number >= len(ids):
                yield tokens[0]


class SchemaConstraint:
    """One answer as it is written (a `yuantune.infer.question.Held`)."""

    def __init__(self, form: SchemaForm, text: str | None) -> None:
        self.form = form
        self._text = None if text is None else text.encode("utf-8", "surrogatepass")
        self._matcher = form.matcher()
        self._position = Position()
        self._answer = b""
        self.ids: list[int] = []
        self.ended = False
        self.failure = ""
        """Why there is no answer."""

    @property
    def in_string(self) -> bool:
        """Whether a string is being written that the schema leaves open."""
        string = self._position.string
        return string is not None and bool(string.value) and not self._jump

    @property
    def _jump(self) -> str:
        """What must follow, if anything."""
        try:
            jump: str = "" if self.ended else self._matcher.find_jump_forward_string()
        except UnicodeDecodeError:  # It begins or ends within a character.
            return ""
        return jump

    def accept(self, token: int) -> bool:
        """Write `token`, if it is allowed."""
        data = self.form.bytes_of[token] if token < len(self.form.bytes_of) else None
        if not data or self.ended:
            return False
        position = self._position.behind(data, self._text)
        if position is None or not self._matcher.accept_token(token):
            return False
        self._position = position
        self._answer += data
        self.ids.append(token)
        # A number may go on; it is the end token that ends it.
        self.ended = self._matcher.is_completed() and not position.stack and data[-1] in (*_CLOSE, _QUOTE)
        return True

    def choose(self, logits_V: Tensor, likeliest: int) -> int:
        """Write the likeliest token, or, where it is not allowed, the likeliest that is; its id. An end token where
        the answer is whole, or where none can go on (`failure`)."""
        if self._takes(likeliest):
            return likeliest
        size = min(len(logits_V), len(self.form.bytes_of))
        allowed_V = self._allowed(size).to(logits_V.device)
        for token in falling(logits_V[:size].masked_fill(~allowed_V, -torch.inf)):
            if not allowed_V[token]:
                break
            if self._takes(token):
                return token
        self.ended = True
        self.failure = f"nothing that the schema allows can follow {self._written!r}"
        return self.form.end_ids[0]

    def _takes(self, token: int) -> bool:
        if token in self.form.end_ids:
            self.ended = self._matcher.is_completed()
            return self.ended
        return self.accept(token)

    def _allowed(self, size: int) -> Tensor:
        """Which of the first `size` tokens the schema allows, the end tokens of a whole answer among them."""
        from xgrammar import allocate_token_bitmask

        bits = allocate_token_bitmask(1, len(self.form.bytes_of))
        self._matcher.fill_next_token_bitmask(bits)
        return (bits[0][:, None] >> torch.arange(32, dtype=torch.int32) & 1).bool().flatten()[:size]

    def forced(self) -> tuple[int, ...]:
        """Write what must follow, and give it."""
        if not (jump := self._jump):
            return ()
        tokens = self.form.forced(self.ids, self._answer, jump, self._matcher)
        return tuple(takewhile(self.accept, tokens))

    @property
    def _written(self) -> str:
        return self._answer[len(self.form.lead) :].decode(errors="replace")

    @property
    def closed(self) -> str:
        """The answer; one cut short ends behind its last value that lets it: brackets are closed, and of what is
        required, lists, objects and nulls are left empty. Where nothing else will do, it stays as it is, and
        `failure` says so."""
        if self.failure:
            return self._written
        if self.ended:
            self.failure = "" if _is_json(self._written) else "the schema allowed what is not JSON"
            return self._written
        begun = [self.form.lead, *(self._answer[:cut] for cut in _cuts(self._answer))]
        for each in reversed(begun):
            if (closing := self._closing(each)) is not None:
                return (each + closing)[len(self.form.lead) :].decode()
        self.failure = "cut short (max_new_tokens), and the schema asks for more than could be left empty"
        return self._written

    def _closing(self, begun: bytes) -> bytes | None:
        """The shortest that makes a beginning a whole answer without a value of its own."""
        start = self.form.matcher()
        if not start.accept_string(begun):
            return None
        ways, tried = [(start, b"")], 0
        for matcher, written in ways:
            if matcher.is_completed():
                return written
            for filler in self.form.fillers:
                if tried == _MOST_CLOSED:
                    return None
                following = matcher.fork()
                if following.accept_string(filler):
                    tried += 1
                    ways.append((following, written + filler))
        return None


def _is_json(answer: str) -> bool:
    try:
        json.loads(answer)
    except (ValueError, RecursionError):
        return False
    return True


def _cuts(answer: bytes) -> list[int]:
    """Where a value has just ended, or a list or object begun."""
    here, cuts = Position(), []
    for at, byte in enumerate(answer):
        outside = here.string is None
        if outside and (byte in _CLOSE or byte == _COMMA):
            cuts.append(at)
        here = here.behind(answer[at : at + 1], None) or here
        if here.string is None and (not outside or byte in _OPEN or byte in _CLOSE):
            cuts.append(at + 1)
    return cuts


def schema_form(schema: Mapping[str, Any], template: BoundTemplate) -> SchemaForm:
    """A schema, compiled for a template's answers.

    Raises ConfigError for what answers cannot be held to, UserError without xgrammar, ModelError where it cannot be
    told what the tokenizer's tokens write."""
    check_schema(schema)
    try:
        import xgrammar
    except ImportError as error:
        raise UserError(
            f"a schema needs the package xgrammar ({error})",
            hint="pip install 'yuantune[schema]', or, without the 200 MB that it asks for and does not need here:\n"
            "pip install --no-deps xgrammar apache-tvm-ffi",
        ) from error
    table = token_bytes(template.tokenizer)
    lead = lead_of(template, table, "{}")
    # An empty entry is a control token to xgrammar: never allowed. Those of its own table are, within strings.
    vocabulary = [each or b"" for each in table]
    info = xgrammar.TokenizerInfo(
        vocabulary, xgrammar.VocabType.RAW, vocab_size=len(table), stop_token_ids=list(template.end_ids)
    )
    try:
        grammar = xgrammar.Grammar.from_json_schema(
            json.dumps(schema, ensure_ascii=False), any_whitespace=False, separators=(", ", ": ")
        )
        if lead:
            grammar = xgrammar.Grammar.concat(
                xgrammar.Grammar.from_ebnf(f"root ::= {json.dumps(lead.decode())}"), grammar
            )
        compiled = xgrammar.GrammarCompiler(info, cache_enabled=False).compile_grammar(grammar)
    except (RuntimeError, ValueError, TypeError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"the schema cannot be compiled: {why.partition(': ')[2] or why}") from error
    return SchemaForm(schema, table, lead, template.answer_ids, template.end_ids, compiled)
