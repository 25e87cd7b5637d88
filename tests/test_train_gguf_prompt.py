"""Tokenizers and prompts of GGUF files: llama.cpp reads the ids of training, or the export says it does not."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests.tiny_gguf import (
    BYTE_KINDS,
    SENTENCEPIECE_KINDS,
    TEXTS,
    byte_tokenizer,
    sentencepiece_tokenizer,
    vocabulary_of,
    written,
)
from tests.tiny_tokenizers import LLAMA3, llama_like
from yuantune.data.record import Message, Record, Source
from yuantune.data.template import Template
from yuantune.errors import ModelError, TemplateError
from yuantune.train.gguf.modelfile import Prompt, guarded, modelfile, prompt_of, same_prompts
from yuantune.train.gguf.tokenizer import vocabulary

gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")

# ---------------------------------------------------------------------------------------------------- tokenizers

SOME_TEXT = st.text(st.sampled_from("the an engineer \n\t  123张三汉族é'll.,<|>{}") | st.characters(codec="utf-8"))


@pytest.mark.parametrize("kind", [*BYTE_KINDS, *SENTENCEPIECE_KINDS])
def test_ids_are_the_tokenizers(kind: str) -> None:
    """What llama.cpp is said to read is what the tokenizer reads, which is what training has read."""
    byte_level = kind in BYTE_KINDS
    tokenizer = byte_tokenizer(kind) if byte_level else sentencepiece_tokenizer(kind)
    words = vocabulary_of(tokenizer)
    assert words.model == ("gpt2" if byte_level else "llama") and words.pre == (kind if byte_level else "default")

    @given(SOME_TEXT)
    def check(text: str) -> None:
        text = unicodedata.normalize("NFC", text)
        if kind == "metaspace":  # It puts no second space before a space.
            text = text.lstrip(" ▁")
        if text:
            assert words.ids(text) == tokenizer.encode(text, add_special_tokens=False)

    check()
    for text in TEXTS:
        mixed = f"{text}<|im_end|>\n<|im_start|>{text}"
        if kind != "metaspace":  # It puts a space at the very start only.
            assert words.ids(mixed) == tokenizer.encode(mixed, add_special_tokens=False)


@pytest.mark.parametrize("kind", ["gpt-2", "llama-bpe", "smaug-bpe", "qwen2", "metaspace", "gemma"])
def test_transformers_reads_the_same_tokenizer(kind: str, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(kind) if kind in BYTE_KINDS else sentencepiece_tokenizer(kind)
    _, _, path = written(tmp_path, "gemma2" if kind == "gemma" else "llama", tokenizer)
    read = AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    for text in [*TEXTS, "an engineer<|im_end|>张三", "1 22 333 4444 55555"]:
        if kind in BYTE_KINDS or "<" not in text:
            assert read.encode(text, add_special_tokens=False) == tokenizer.encode(text, add_special_tokens=False)
    assert read.eos_token_id == tokenizer.eos_token_id


def changed(tokenizer: PreTrainedTokenizerFast, **parts: Any) -> PreTrainedTokenizerFast:
    """The same tokenizer, parts of its tokenizer.json being others."""
    tree = json.loads(tokenizer.backend_tokenizer.to_str())
    for name, value in parts.items():
        owner, _, option = name.rpartition("__")
        (tree[owner] if owner else tree)[option] = value
    backend = Tokenizer.from_str(json.dumps(tree))
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=tokenizer.eos_token)


def test_tokenizers_that_llama_cpp_lacks_are_refused() -> None:
    plain, pieces = byte_tokenizer("gpt-2"), sentencepiece_tokenizer("gemma")
    cases = {
        "normalizer: Lowercase": changed(plain, normalizer={"type": "Lowercase"}),
        "pre_tokenizer: .*none of those of gpt-2, smollm": changed(plain, pre_tokenizer={"type": "Whitespace"}),
        "not SentencePiece's spaces": changed(pieces, normalizer={"type": "NFKC"}),
        "'do not follow upon one another|and no merge joins them": changed(
            pieces, model__merges=[["▁", "t"], ["▁t", "he"], ["h", "e"]]
        ),
        "model: WordLevel, not BPE": PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")), eos_token="b"
        ),
    }
    for what, tokenizer in cases.items():
        with pytest.raises(ModelError, match=what):
            vocabulary_of(tokenizer)
    with pytest.raises(ModelError, match=r"\d+ tokens, the model 40 rows for them"):
        vocabulary_of(plain, size=40)
    strips = byte_tokenizer("gpt-2")
    strips.backend_tokenizer.normalizer = normalizers.NFKC()
    with pytest.raises(ModelError, match="normalizer: NFKC"):
        vocabulary_of(strips)


# ------------------------------------------------------------------------------------------------------ the prompt


def record(text: str, instruction: str = "") -> Record:
    return Record(Source("rows", 1), text, output="yes", instruction=instruction)


def bound(tokenizer: Any, prompt: str, **options: Any) -> Any:
    return Template(prompt=prompt, **options).bind(tokenizer)


@pytest.mark.parametrize(
    ("tokenizer", "prompt", "begins"),
    [
        (byte_tokenizer("qwen2", chat=True), "Find names in this:\n{text}\nNow:", False),
        (byte_tokenizer("gpt-2"), "{text}", False),
        (sentencepiece_tokenizer("prepend"), "the engineer {text}", True),
        (sentencepiece_tokenizer("metaspace"), "the engineer {text}", True),
        (sentencepiece_tokenizer("gemma"), "{text} the", True),
        (llama_like(), "x {text}", True),
        (byte_tokenizer("llama-bpe"), "{messages}", False),
    ],
)
def test_llama_cpp_reads_the_training_prompt(tokenizer: Any, prompt: str, begins: bool) -> None:
    template = bound(tokenizer, prompt)
    around = prompt_of(template)
    assert around.begins is begins
    words = vocabulary_of(tokenizer, begin=around.begins, control=around.starts_with_control)
    rows = [record(text) for text in (*TEXTS, "  the  张三")]
    assert same_prompts(template, around, words, rows) == (4, 4)
    # A control token in a text is text in training, and a control token in Ollama.
    control = tokenizer.eos_token
    assert same_prompts(template, around, words, [*rows, record(f"a{control}b")]) == (4, 5)
    if prompt == "{messages}":
        turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"), Message("assistant", "d"))
        several = Record(Source("rows", 2), "", messages=turns)
        single = Record(Source("rows", 3), "", messages=turns[:2])
        assert same_prompts(template, around, words, [several, single]) == (1, 1)


def test_a_begin_token_that_the_chat_template_writes() -> None:
    tokenizer = byte_tokenizer("llama-bpe")
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]}
    )
    tokenizer.chat_template = LLAMA3
    template = bound(tokenizer, "{text}")
    around = prompt_of(template)
    assert around.begins and around.starts_with_control and around.before.startswith("<|start_header_id|>user")
    words = vocabulary(
        tokenizer, len(tokenizer), "it", end_id=template.end_id, begin=True, starts_with_control=True
    )
    assert words.special["eot"] == tokenizer.convert_tokens_to_ids("<|eot_id|>")
    # This template strips a text, Ollama does not.
    assert same_prompts(template, around, words, [record("an engineer"), record(" an engineer ")]) == (1, 2)


def test_other_prompts_are_refused() -> None:
    tokenizer = byte_tokenizer("gpt-2")
    with pytest.raises(TemplateError, match="puts the instruction and the text in different places"):
        prompt_of(bound(tokenizer, "{instruction}\nText: {text}"))
    template = bound(tokenizer, "{instruction}\n{text}")
    around = prompt_of(template)
    words = vocabulary_of(tokenizer)
    assert same_prompts(template, around, words, [record("b", "a"), record("b"), record("", "a")]) == (3, 3)
    with pytest.raises(TemplateError, match="other tokens than those of training, in each of 1 rows"):
        same_prompts(template, Prompt("x", "", False, False), words, [record("a")])


def test_the_modelfile() -> None:
    text = modelfile(Prompt('{"a": ', "\n", False, False), ["<end>", '"'], context=9, answer=4, head="One.")
    assert text == (
        '# One.\nFROM ./model.gguf\nTEMPLATE """{"a": {{ .Prompt }}\n"""\nPARAMETER temperature 0\n'
        'PARAMETER repeat_penalty 1\nPARAMETER num_ctx 9\nPARAMETER num_predict 4\nPARAMETER stop "<end>"\n'
    )


@given(st.text(st.sampled_from('"{}a\\\r\x00\n'), max_size=12))
def test_guarded_text_neither_ends_the_value_nor_the_template(text: str) -> None:
    shown = guarded(text)
    assert '"""' not in shown and not shown.startswith('"') and not shown.endswith('"')
    # What Go reads: strings in actions, and text between them.
    pieces, rest = "", shown
    while "{{" in rest:
        before, _, rest = rest.partition('{{"')
        inside, _, rest = rest.partition('"}}')
        while inside.endswith("\\") and not inside.endswith("\\\\"):
            more, _, rest = rest.partition('"}}')
            inside += '"}}' + more
        pieces += before + inside.encode().decode("unicode_escape")
    assert pieces + rest == text
