"""`YuanTokenizer`: text to ids exactly as the SentencePiece model that Yuan2 was trained with.

transformers 5 rebuilds a SentencePiece model's merges without their scores and drops the space that
SentencePiece puts before every stretch of text, so its `AutoTokenizer` splits Yuan2's English and code
differently. Here SentencePiece itself does the splitting.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from typing import Any

from transformers.tokenization_utils_sentencepiece import SPIECE_UNDERLINE, SentencePieceBackend

from yuantune.errors import DataError

END = "<eod>"
SEPARATOR = "<sep>"
CONTROL_TOKENS = (
    "<sep>", "<pad>", "<mask>", "<predict>", "<FIM_SUFFIX>", "<FIM_PREFIX>", "<FIM_MIDDLE>", "<commit_before>",
    "<commit_msg>", "<commit_after>", "<jupyter_start>", "<jupyter_text>", "<jupyter_code>", "<jupyter_output>",
    "<empty_output>",
)  # fmt: skip
"""The tokens that Yuan2's users add to its SentencePiece model, in the order that gives them their ids.

Ten of them are pieces already (which text alone never reaches); the other five get the ids after the last piece."""

PATTERNS = {(False, False): "none", (True, False): "bos", (False, True): "eos", (True, True): "bos_eos"}


class YuanTokenizer(SentencePieceBackend):
    """Yuan2's tokenizer. `<eod>` ends, begins and pads a sequence; nothing is added to a text unless asked for.

    A text is cut at its control tokens, and each stretch between them goes to SentencePiece, which puts one
    space before it: `tokenizer('a<sep>b')` gives `▁a`, `<sep>`, `▁b`. Decoding drops that space at the very
    start only, so a prompt that ends with `<sep>`, and its answer, decode to `…<sep> {"…`, as published.
    A literal `▁` (U+2581) is a space to SentencePiece, and comes back as one."""

    def __init__(
        self,
        vocab_file: str,
        *,
        bos_token: Any = END,
        eos_token: Any = END,
        pad_token: Any = END,
        sep_token: Any = SEPARATOR,
        unk_token: Any = "<unk>",
        extra_special_tokens: Any = CONTROL_TOKENS,
        add_bos_token: bool = False,
        add_eos_token: bool = False,
        special_tokens_pattern: str | None = None,
        **kwargs: Any,
    ) -> None:
        pattern = special_tokens_pattern or PATTERNS[bool(add_bos_token), bool(add_eos_token)]
        kwargs.pop("legacy", None)  # The other value drops the space before a stretch: never what Yuan2 saw.
        super().__init__(
            vocab_file=vocab_file,
            bos_token=bos_token,
            eos_token=eos_token,
            pad_token=pad_token,
            sep_token=sep_token,
            unk_token=unk_token,
            extra_special_tokens=extra_special_tokens,
            special_tokens_pattern=pattern,
            legacy=True,
            **kwargs,
        )
        # save_pretrained writes what init_kwargs names, and drops add_bos_token and add_eos_token.
        self.init_kwargs["special_tokens_pattern"] = pattern

    @classmethod
    def _from_pretrained(cls, resolved_vocab_files: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load; a folder not saved by this class is a published one, whose settings are another tokenizer's.

        Those add `<s>` and `</s>`, which Yuan2 never saw; arguments of the caller still win."""
        config_file = resolved_vocab_files.get("tokenizer_config_file")
        saved_class = None
        if config_file is not None:
            with open(config_file, encoding="utf-8") as file:
                saved_class = json.load(file).get("tokenizer_class")
        if saved_class != cls.__name__:
            ends = dict.fromkeys(("bos_token", "eos_token", "pad_token"), END)
            kwargs = {**ends, "add_bos_token": False, "add_eos_token": False, **kwargs}
        return super()._from_pretrained(resolved_vocab_files, *args, **kwargs)

    @property
    def add_bos_token(self) -> bool:
        """Whether `bos_token` is put before every text."""
        return self.special_tokens_pattern in ("bos", "bos_eos")

    @add_bos_token.setter
    def add_bos_token(self, value: bool) -> None:
        self.special_tokens_pattern = PATTERNS[bool(value), self.add_eos_token]

    @property
    def add_eos_token(self) -> bool:
        """Whether `eos_token` is put after every text."""
        return self.special_tokens_pattern in ("eos", "bos_eos")

    @add_eos_token.setter
    def add_eos_token(self, value: bool) -> None:
        self.special_tokens_pattern = PATTERNS[self.add_bos_token, bool(value)]

    def encode_text(self, text: str) -> list[int]:
        """Ids of `text` as plain text, `<sep>` and its like included: no special token ever comes out.

        Raises DataError where the text holds half of a surrogate pair."""
        return self._sentencepiece(text, int)

    def tokenize(self, text: str, **kwargs: Any) -> list[str]:
        """Pieces of `text`, control tokens kept whole unless `split_special_tokens` is set."""
        split = kwargs.get("split_special_tokens", self.split_special_tokens)
        if split or not self._added.search(text):
            return self._tokenize(text)
        return super().tokenize(text, **kwargs)  # Walks over the characters in Python: half as fast.

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        return self._sentencepiece(text, str)

    def _sentencepiece(self, text: str, out_type: type) -> list[Any]:
        try:
            return self.sp_model.encode(text, out_type=out_type)
        except RuntimeError:
            lone = next((at for at, char in enumerate(text) if "\ud800" <= char <= "\udfff"), None)
            if lone is None:
                raise
            raise DataError(
                f"character {lone} of the text is half of a surrogate pair (U+{ord(text[lone]):04X}), "
                "which no encoding can hold",
                hint="remove it, or write the character that was meant",
            ) from None

    def _update_trie(self, unique_no_split_tokens: list[str] | None = None) -> None:
        super()._update_trie(unique_no_split_tokens)
        self._added = re.compile("|".join(map(re.escape, self._added_tokens_encoder)) or r"(?!)")

    def _update_total_vocab_size(self) -> None:
        size = self.vocab_size
        self.total_vocab_size = size + sum(index >= size for index in self._added_tokens_decoder)

    def _convert_id_to_token(self, index: int) -> str:
        """The piece; the padding rows of the embedding, which no piece stands for, read `<unk>`."""
        return self.sp_model.id_to_piece(index) if index < self.vocab_size else str(self.unk_token)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Text of pieces, as `decode` gives it for their ids."""
        return self._decode(self.convert_tokens_to_ids(tokens))

    def _decode(
        self,
        token_ids: int | list[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **kwargs: Any,
    ) -> str:
        """Text of ids. Ids of padding rows, which a model may still choose, stand for nothing."""
        ids: Iterable[int] = [token_ids] if isinstance(token_ids, int) else map(int, token_ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        parts: list[str] = []
        for alone, run in itertools.groupby(ids, key=self._stands_alone):
            if alone:
                parts.extend(self.convert_ids_to_tokens(index) for index in run if index not in skipped)
            elif pieces := [index for index in run if index < self.vocab_size]:
                parts.append(self._decode_pieces(pieces, at_start=not parts))
        text = "".join(parts)
        if clean_up_tokenization_spaces is None:
            clean_up_tokenization_spaces = self.clean_up_tokenization_spaces
        return self.clean_up_tokenization(text) if clean_up_tokenization_spaces else text

    def _stands_alone(self, index: int) -> bool:
        """Whether an id is a token of its own (added, or a control piece such as `<s>`), not part of a stretch."""
        return index in self._added_tokens_decoder or (index < self.vocab_size and self.sp_model.is_control(index))

    def _decode_pieces(self, ids: list[int], *, at_start: bool) -> str:
        """Text of one stretch of pieces. SentencePiece drops the space before it, right only at the very start."""
        space = "" if at_start or not self.sp_model.id_to_piece(ids[0]).startswith(SPIECE_UNDERLINE) else " "
        return space + self.sp_model.decode(ids)
