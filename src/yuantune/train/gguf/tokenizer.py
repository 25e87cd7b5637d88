"""A tokenizer as llama.cpp has it: its vocabulary, and the ids that llama.cpp would give a text.

llama.cpp has two that matter here. `gpt2` is byte-level BPE with merges, before which text is cut by one of the
regular expressions that it knows by name. `llama` is SentencePiece's BPE: the pair whose joined piece has the best
score is joined first, no merges are written. A tokenizer that does anything else would give a model other tokens
than those it was trained on, and is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from yuantune.errors import ModelError, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Kinds of tokens, as GGUF numbers them."""

_SPACE = "▁"
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_THREE_DIGITS = rf"{_WORDS}|\p{{N}}{{1,3}}|{_REST}"
_ONE_DIGIT = rf"{_WORDS}|\p{{N}}|{_REST}"

_SPLITS = {
    # Of llama.cpp's names for one expression these differ in whether a whole word that is a token stays one.
    (_THREE_DIGITS, True): "llama-bpe",
    (_THREE_DIGITS, False): "smaug-bpe",
    (_ONE_DIGIT, False): "qwen2",
}
"""Regular expressions as tokenizers have them, and `ignore_merges`, to llama.cpp's names."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a GGUF file says of a tokenizer, `ids` being what llama.cpp makes of a text with it.

    `merges` are empty where `scores` decide, and the other way round. `special` are the ids of bos, eos, eot, unk
    and pad, as far as there are any. `space_prefix`: a space is put before a text, and behind every control
    token. `begin`: the bos token is."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float]
    merges: list[str]
    special: dict[str, int]
    space_prefix: bool
    begin: bool
    backend: Any

    def describe(self, writer: Any) -> None:
        """Put it into a `gguf.GGUFWriter`."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.scores:
            writer.add_token_scores(self.scores)
        if self.merges:
            writer.add_token_merges(self.merges)
        for name, token_id in self.special.items():
            getattr(writer, f"add_{name}_token_id")(token_id)
        writer.add_add_bos_token(self.begin)
        writer.add_add_eos_token(False)
        writer.add_add_space_prefix(self.space_prefix)

    def ids(self, text: str) -> list[int]:
        """The ids of a text as llama.cpp reads a prompt: tokens with a name of their own are found in it first, the
        longest before the others, then what is between them is cut and merged."""
        pieces: list[str | int] = [text]
        named = [i for i, kind in enumerate(self.types) if kind in (UNKNOWN, CONTROL, USER_DEFINED)]
        for token_id in sorted(named, key=lambda i: -len(self.tokens[i].encode())):
            pieces = [part for piece in pieces for part in _cut(piece, self.tokens[token_id], token_id)]
        found: list[int] = [self.special["bos"]] if self.begin else []
        first = True  # Nothing but named tokens so far, or one just before.
        for piece in pieces:
            if isinstance(piece, int):
                found.append(piece)
            else:
                found += self._text_ids(piece, first)
            first = isinstance(piece, int)
        return found

    def _text_ids(self, text: str, first: bool) -> list[int]:
        if self.model == "gpt2":
            words = [word for word, _ in self.backend.pre_tokenizer.pre_tokenize_str(text)]
        else:
            words = [(_SPACE if first and self.space_prefix else "") + text.replace(" ", _SPACE)]
        return [token.id for word in words for token in self.backend.model.tokenize(word)]


def _cut(piece: str | int, name: str, token_id: int) -> Iterator[str | int]:
    """A piece with every `name` in it replaced by its id; empty texts are left out."""
    if isinstance(piece, int) or name not in piece:
        yield piece
        return
    for number, part in enumerate(piece.split(name)):
        if number:
            yield token_id
        if part:
            yield part


def vocabulary(
    tokenizer: PreTrainedTokenizerBase, size: int, of: str, *, end_id: int, begin: bool, starts_with_control: bool
) -> Vocabulary:
    """The vocabulary of a model with `size` rows of embeddings.

    `end_id` ends an answer, `begin` says whether a prompt begins with the bos token, `starts_with_control` whether
    with another control token. Raises ModelError with everything in the tokenizer that llama.cpp would do
    otherwise."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"the tokenizer of {of} ({type(tokenizer).__name__}) has no tokenizer.json, which GGUF is made from"
        )
    tree = json.loads(backend.to_str())
    model = tree["model"]
    problems = list(_model_problems(model))
    added = {token["id"]: token for token in tree["added_tokens"]}
    problems += _added_problems(added.values())
    pre, prefix = "default", False
    if not problems:
        if model.get("byte_fallback"):
            prefix = _space_prefix(tree, starts_with_control, problems)
        else:
            pre = _pre_tokenizer(tree, problems)
    if problems:
        raise ModelError(f"the tokenizer of {of} does what llama.cpp's do not", problems=problems)
    pieces = {**model["vocab"], **{token["content"]: token_id for token_id, token in added.items()}}
    if max(pieces.values()) >= size:
        raise ModelError(
            f"the tokenizer of {of} has {max(pieces.values()) + 1} tokens, the model {size} rows for them"
        )
    tokens, types = _tokens(pieces, added, size, tokenizer, sentencepiece=bool(model.get("byte_fallback")))
    merges = [tuple(each.split(" ") if isinstance(each, str) else each) for each in model["merges"]]
    scores: list[float] = []
    if model.get("byte_fallback"):
        scores = _scores(tokens, types, merges, of)
    special = {name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "unk", "pad")}
    if end_id != tokenizer.eos_token_id:
        special["eot"] = end_id
    return Vocabulary(
        model="llama" if scores else "gpt2",
        pre=pre,
        tokens=tokens,
        types=types,
        scores=scores,
        merges=[] if scores else [" ".join(pair) for pair in merges],
        special={name: token_id for name, token_id in special.items() if token_id is not None},
        space_prefix=prefix,
        begin=begin,
        backend=backend,
    )


def _model_problems(model: dict[str, Any]) -> Iterator[Problem]:
    if model["type"] != "BPE":
        yield Problem("model", f"{model['type']}, not BPE")
        return
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(option):
            yield Problem(f"model.{option}", repr(model[option]))
    if model.get("byte_fallback"):
        bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
        if model.get("ignore_merges"):
            yield Problem("model.ignore_merges", "with bytes for unknown characters")
    else:
        from tokenizers.pre_tokenizers import ByteLevel

        bytes_ = ByteLevel.alphabet()
    if missing := sum(each not in model["vocab"] for each in bytes_):
        yield Problem("model.vocab", f"{missing} of 256 bytes have no token")


def _added_problems(tokens: Any) -> Iterator[Problem]:
    for token in tokens:
        kinds = [kind for kind in ("lstrip", "rstrip", "single_word") if token.get(kind)]
        if kinds:
            yield Problem(f"added token {token['content']!r}", f"is found with {', '.join(kinds)}")


def _pre_tokenizer(tree: dict[str, Any], problems: list[Problem]) -> str:
    """llama.cpp's name for how a byte-level tokenizer cuts a text."""
    normalizer = tree["normalizer"]
    # NFC leaves composed text as it is, and nearly all is; rows that it changes are counted (`modelfile`).
    if normalizer is not None and normalizer["type"] != "NFC":
        problems.append(Problem("normalizer", normalizer["type"]))
    pre = tree["pre_tokenizer"] or {"type": "none"}
    steps = pre["pretokenizers"] if pre["type"] == "Sequence" else [pre]
    *cuts, last = steps
    name = None
    if last["type"] == "ByteLevel" and not last["add_prefix_space"]:
        whole = bool(tree["model"].get("ignore_merges"))
        if not cuts and last["use_regex"] and not whole:
            name = "gpt-2"
        elif len(cuts) == 1 and last["use_regex"] and not whole:
            name = "smollm" if cuts[0] == {"type": "Digits", "individual_digits": True} else None
        elif len(cuts) == 1 and cuts[0]["type"] == "Split" and not last["use_regex"]:
            plain = cuts[0]["behavior"] == "Isolated" and not cuts[0]["invert"]
            name = _SPLITS.get((cuts[0]["pattern"].get("Regex"), whole)) if plain else None
    if name is None:
        known = ", ".join(("gpt-2", "smollm", *_SPLITS.values()))
        shown = json.dumps(pre, ensure_ascii=False)
        problems.append(Problem("pre_tokenizer", f"{shown[:300]}: none of those of {known}"))
        return ""
    return name


def _space_prefix(tree: dict[str, Any], starts_with_control: bool, problems: list[Problem]) -> bool:
    """Whether a space goes before a text, of a tokenizer that writes spaces as `▁`."""
    normalizer, pre = tree["normalizer"] or {"type": "none"}, tree["pre_tokenizer"] or {"type": "none"}
    steps = normalizer["normalizers"] if normalizer["type"] == "Sequence" else [normalizer]
    space = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    prepend = {"type": "Prepend", "prepend": _SPACE}
    if pre["type"] == "Metaspace" and normalizer["type"] == "none" and pre["replacement"] == _SPACE:
        if pre["split"]:
            problems.append(Problem("pre_tokenizer", "Metaspace cuts at spaces"))
        # llama.cpp puts it behind each control token too.
        return bool(
            pre["prepend_scheme"] == "always" or (pre["prepend_scheme"] == "first" and not starts_with_control)
        )
    # Where spaces are replaced already, cutting at them does nothing.
    if pre["type"] == "none" or (pre["type"] == "Split" and pre["pattern"] == {"String": " "}):
        if steps == [prepend, space]:
            return True
        if steps == [space]:
            return False
    shown = json.dumps({"normalizer": normalizer, "pre_tokenizer": pre}, ensure_ascii=False)
    problems.append(Problem("normalizer, pre_tokenizer", f"{shown[:300]}: not SentencePiece's spaces"))
    return False


def _tokens(
    pieces: dict[str, int],
    added: dict[int, dict[str, Any]],
    size: int,
    tokenizer: PreTrainedTokenizerBase,
    *,
    sentencepiece: bool,
) -> tuple[list[str], list[int]]:
    """Every row's token and its kind; rows that no token has get a name that is no token's."""
    named = {token_id: piece for piece, token_id in pieces.items()}
    tokens, types = [], []
    special = set(tokenizer.all_special_ids)
    for row in range(size):
        name = named.get(row)
        if name is None:
            name, kind = f"[PAD{row}]", UNUSED
            while name in pieces:
                name = f"[{name}]"
        elif sentencepiece and row == tokenizer.unk_token_id:
            kind = UNKNOWN
        elif row in added or row in special:
            kind = CONTROL if row in special or added[row]["special"] else USER_DEFINED
        else:
            kind = (
                BYTE if sentencepiece and len(name) == 6 and name.startswith("<0x") and name[5] == ">" else NORMAL
            )
        tokens.append(name)
        types.append(kind)
    return tokens, types


def _scores(tokens: list[str], types: list[int], merges: Sequence[tuple[str, ...]], of: str) -> list[float]:
    """Scores by which llama.cpp joins pieces as the merges do.

    It joins any two pieces that make a third, the best third first. So each piece's merges have to follow upon one
    another, and every way to make a piece of two has to be one of them: as in what SentencePiece has trained."""
    order = {"".join(pair): -float(rank) for rank, pair in reversed(list(enumerate(merges)))}
    problem = ""
    before = ""
    seen: set[str] = set()
    for pair in merges:
        piece = "".join(pair)
        if piece != before and piece in seen:
            problem = f"the merges that make {piece!r} do not follow upon one another"
            break
        seen.add(piece)
        before = piece
    pieces = {token for token, kind in zip(tokens, types, strict=True) if kind == NORMAL}
    pairs = set(merges)
    for piece in pieces if not problem else ():
        cuts = ((piece[:at], piece[at:]) for at in range(1, len(piece)))
        missing = next((pair for pair in cuts if pair not in pairs and pieces.issuperset(pair)), None)
        if missing is not None:
            problem = f"{missing[0]!r} and {missing[1]!r} make {piece!r}, and no merge joins them"
            break
    if problem:
        raise ModelError(
            f"the tokenizer of {of} does what llama.cpp's do not", problems=[Problem("model.merges", problem)]
        )
    lowest = -float(len(merges))
    return [order.get(token, lowest) if kind == NORMAL else 0.0 for token, kind in zip(tokens, types, strict=True)]
