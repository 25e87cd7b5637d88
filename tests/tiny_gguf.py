"""Tiny models and tokenizers of every kind that a GGUF file can hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tests.tiny_tokenizers import CHATML
from yuantune.train.gguf import file as files
from yuantune.train.gguf.architecture import Layout, layout
from yuantune.train.gguf.tokenizer import Vocabulary, vocabulary

TEXTS = [
    "张三，汉族，1980年生，高级工程师。李四，回族，中国国籍，硕士学历。",
    "The quick brown fox jumps over 1234567 lazy dogs, don't they?  Yes, they'll do.",
    "Extract these types from the text: name, title.\n\nText:\n  an  engineer \t of 12 firms…\r\n",
]

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.15,
    "dtype": "float32",
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_HEADS = {"head_dim": 32}
CONFIGS: dict[str, tuple[str, dict[str, object]]] = {
    "llama": ("Llama", {}),
    "llama-tied": ("Llama", {"tie_word_embeddings": True, "attention_bias": True}),
    "llama3": ("Llama", {"rope_parameters": _LLAMA3_ROPE}),
    "mistral": ("Mistral", {"head_dim": 32, "sliding_window": 256}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 128}),
    "gemma": ("Gemma", _HEADS),
    "gemma2": ("Gemma2", {**_HEADS, "query_pre_attn_scalar": 32, "sliding_window": 16}),
    "gemma3": ("Gemma3", {**_HEADS, "query_pre_attn_scalar": 32, "sliding_window": 16, "num_hidden_layers": 7}),
}
"""Kinds of models: transformers' class, and options beside the sizes."""


def gguf_model(kind: str, vocab_size: int, **options: object) -> PreTrainedModel:
    """A model of a kind, the same at every call, with norms and biases that are not what they begin as."""
    torch.manual_seed(0)
    name, own = CONFIGS[kind]
    config_class = getattr(transformers, "Gemma3TextConfig" if name == "Gemma3" else f"{name}Config")
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = config_class(**{**SIZES, **ends, **own, **options, "vocab_size": vocab_size})
    model: PreTrainedModel = getattr(transformers, f"{name}ForCausalLM")(config)
    for parameter_name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
        if "embed" in parameter_name:
            parameter.data.normal_(std=0.5)
    return model.eval()


_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
BYTE_KINDS = ("gpt-2", "smollm", "llama-bpe", "smaug-bpe", "qwen2")
SENTENCEPIECE_KINDS = ("prepend", "metaspace", "gemma")


def _split(digits: str) -> pre_tokenizers.PreTokenizer:
    cut = pre_tokenizers.Split(Regex(_WORDS + digits + "|" + _REST), "isolated")
    return pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_tokenizer(kind: str, *, chat: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE, cut as `kind` of llama.cpp cuts a text, trained on TEXTS."""
    backend = Tokenizer(models.BPE(ignore_merges=kind == "llama-bpe"))
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.pre_tokenizer = {
        "gpt-2": plain,
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), plain]),
        "llama-bpe": _split(r"\p{N}{1,3}"),
        "smaug-bpe": _split(r"\p{N}{1,3}"),
        "qwen2": _split(r"\p{N}"),
    }[kind]
    if kind == "qwen2":
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    special = ["<|begin|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>", bos_token="<|begin|>")
    tokenizer.chat_template = CHATML if chat else None
    return tokenizer


def sentencepiece_tokenizer(kind: str, texts: Sequence[str] = TEXTS) -> PreTrainedTokenizerFast:
    """BPE as SentencePiece has it: pieces by rank, with every merge that makes one; spaces as `▁`, bytes for
    unknown characters. `kind` says how a text begins."""
    characters = sorted({character for text in texts for character in text.replace(" ", "▁")} - {"\t", "\r"})
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    joined = ["▁t", "he", "▁the", "▁▁", "an", "▁an", "en", "in", "ine", "ngine", "ng", "▁▁▁", "er", "eer", "▁en",
              "张三", "汉族", "er,", "the", "eers"]  # fmt: skip
    vocabulary = {piece: number for number, piece in enumerate([*pieces, *characters, *joined])}
    merges = [
        (piece[:at], piece[at:])
        for piece in joined
        for at in range(1, len(piece))
        if piece[:at] in vocabulary and piece[at:] in vocabulary
    ]
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token="<unk>"))
    space = normalizers.Replace(" ", "▁")
    if kind == "prepend":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space])
    elif kind == "metaspace":
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        backend.normalizer = space
        backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"])
    backend.post_processor = processors_template()
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def processors_template() -> object:
    """`<s>` before every text."""
    from tokenizers import processors

    return processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])


SPARE = 3
"""Rows of embeddings that no token has."""


def vocabulary_of(
    tokenizer: Any, *, begin: bool = False, control: bool = False, size: int | None = None
) -> Vocabulary:
    size = size or len(tokenizer) + SPARE
    end = tokenizer.eos_token_id
    return vocabulary(tokenizer, size, "it", end_id=end, begin=begin, starts_with_control=control)


def written(
    folder: Path, kind: str, tokenizer: Any, quantize: str = "f32", **options: Any
) -> tuple[Any, Layout, Path]:
    """A model of a kind, and the file that is made of it."""
    model = gguf_model(kind, len(tokenizer) + SPARE, **options)
    plan = layout(model, kind)
    path = folder / f"{quantize}.gguf"
    words = vocabulary_of(tokenizer, begin=True)
    files.write(path, model, plan, words, files.plan(model, plan, quantize), quantize, "a run")
    return model, plan, path
