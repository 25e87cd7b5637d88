"""Text to token ids without a control token that nobody meant.

A control token (`<sep>`, `<|im_end|>`) steers the model. The same characters in somebody's text are text:
`hide` takes them out of sight before the text is put into a prompt, `encode` then gives ids of control
tokens only to what still stands in the open, which the template wrote.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from yuantune.errors import DataError, TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A code point that Unicode keeps for a program's own use. One in a text is hidden too, so none is mistaken.
_MARK = "\ufdd0"
_HIDDEN = re.compile(f"{_MARK}([0-9]+){_MARK}")
# A fast tokenizer keeps `split_special_tokens` as its own state: two threads at once would change each
# other's.
_LOCK = threading.Lock()


class TextEncoder:
    """A tokenizer, and which of its tokens are control tokens: the special ones, and those named in `extra`.

    Special tokens of one character are left out: as text they cannot be told apart."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, extra: Iterable[str] = ()) -> None:
        self.tokenizer = tokenizer
        added = {token.content: token for token in tokenizer.added_tokens_decoder.values()}
        special = [name for name, token in added.items() if token.special]
        names = dict.fromkeys([*special, *tokenizer.all_special_tokens, *extra])
        self.control: dict[str, int] = {}
        """Control tokens with their ids."""
        for name in names:
            token_id = self.token_id(name)
            if token_id is not None and (len(name) > 1 or name in extra):
                self.control[name] = token_id
        # What the tokenizer writes for characters that it does not know is no one's control token.
        self._forbidden = frozenset(self.control.values()) - {tokenizer.unk_token_id}
        self._strips = {name: (added[name].lstrip, added[name].rstrip) for name in self.control if name in added}
        longest_first = sorted(self.control, key=len, reverse=True)
        self._control_re = re.compile("(" + ("|".join(map(re.escape, longest_first)) or "(?!)") + ")")
        self._table = [*longest_first, _MARK]
        self._number = {name: i for i, name in enumerate(self._table)}
        self._hide_re = re.compile("|".join(map(re.escape, self._table)))
        self.encode_again = lru_cache(maxsize=64)(self.encode)
        """`encode` for texts that come again and again (the head and tail of a template)."""

    def token_id(self, token: str) -> int | None:
        """The id of a token that the vocabulary has as such, else None."""
        token_id = self.tokenizer.convert_tokens_to_ids(token)
        if token_id is None or (token_id == self.tokenizer.unk_token_id and token != self.tokenizer.unk_token):
            return None
        return int(token_id)

    def hide(self, text: str) -> str:
        """`text` with every control token's characters (and every mark) out of sight."""
        return self._hide_re.sub(lambda match: f"{_MARK}{self._number[match[0]]}{_MARK}", text)

    def show(self, hidden: str) -> str:
        """The text that `hide` was given, wherever in a prompt it stands now."""
        if _MARK not in hidden:
            return hidden
        return _HIDDEN.sub(lambda match: self._table[int(match[1])], hidden)

    def split_control(self, text: str) -> list[str]:
        """Text and control tokens in turn; the odd places are the control tokens."""
        return self._control_re.split(text)

    def encode(self, hidden: str) -> list[int]:
        """Ids of a text in which only control tokens in the open become control tokens. No others are added.

        Equal to what the tokenizer gives for the shown text, control tokens recognised, where nothing is
        hidden."""
        pieces = self.split_control(hidden)
        if len(pieces) == 1:
            return self._encode_text(self.show(hidden))
        if _MARK not in hidden:
            ids = self._tokenize(hidden, plain=False)
            # Normalisation may have made a control token of something else: count them.
            if sum(i in self._forbidden for i in ids) == sum(
                self.control[name] in self._forbidden for name in pieces[1::2]
            ):
                return ids
        return self._encode_pieces(pieces)

    def _encode_pieces(self, pieces: list[str]) -> list[int]:
        ids: list[int] = []
        for i, piece in enumerate(pieces):
            if i % 2:
                ids.append(self.control[piece])
                continue
            # Some tokens swallow the white space beside them when the tokenizer finds them itself.
            if i > 0 and self._strips.get(pieces[i - 1], (False, False))[1]:
                piece = piece.lstrip()
            if i + 1 < len(pieces) and self._strips.get(pieces[i + 1], (False, False))[0]:
                piece = piece.rstrip()
            if piece:
                ids += self._encode_text(self.show(piece))
        return ids

    def _encode_text(self, text: str) -> list[int]:
        """Ids of plain text. Raises TemplateError where the tokenizer cannot write it without a control
        token."""
        ids = self._tokenize(text, plain=True)
        if self._forbidden.isdisjoint(ids):
            return ids
        # A token that is added but not special is found all the same: give its characters one by one.
        ids = []
        for i, piece in enumerate(self.split_control(text)):
            for part in piece if i % 2 else [piece]:
                ids += self._tokenize(part, plain=True) if part else []
        if self._forbidden.isdisjoint(ids):
            return ids
        found = sorted(name for name, token_id in self.control.items() if token_id in self._forbidden & set(ids))
        raise TemplateError(
            f"the tokenizer makes the control token {', '.join(found)} of plain text",
            hint="mark it as special in the tokenizer, or use the model's own tokenizer",
        )

    def _tokenize(self, text: str, *, plain: bool) -> list[int]:
        try:
            with _LOCK:
                ids: list[int] = self.tokenizer.encode(
                    text, add_special_tokens=False, split_special_tokens=plain, verbose=False
                )
        except TypeError:  # What a fast tokenizer makes of a string that UTF-8 cannot hold.
            raise DataError("the text holds half of a surrogate pair, which no tokenizer can read") from None
        return ids
