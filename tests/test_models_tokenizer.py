"""YuanTokenizer against the sentencepiece package, on Yuan2's own vocabulary and on yuan2-mini's."""

from __future__ import annotations

import argparse
import functools
import inspect
import itertools
import lzma
import pickle
import random
import re
import typing
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, DataCollatorForSeq2Seq

import yuantune  # noqa: F401 (registers Yuan2 with AutoTokenizer)
from yuantune.errors import DataError
from yuantune.models.yuan2.tokenizer import CONTROL_TOKENS, YuanTokenizer
from yuantune.resources import RESOURCES

TUTORIAL_TOKENS = [
    "<sep>", "<pad>", "<mask>", "<predict>", "<FIM_SUFFIX>", "<FIM_PREFIX>", "<FIM_MIDDLE>", "<commit_before>",
    "<commit_msg>", "<commit_after>", "<jupyter_start>", "<jupyter_text>", "<jupyter_code>", "<jupyter_output>",
    "<empty_output>",
]  # fmt: skip
IDS = [77187, 77188, 134953, 134954, 134955, 134956, 134957, 96635, 96636, 96637, 96630, 96631, 96632, 96633, 96634]
EOD, SEP = 77185, 77187

# From the sentencepiece package, version 0.2.3.
GOLDEN = [
    ("张三,汉族,金融学硕士。", [29871, 73568, 29892, 47547, 29892, 32661, 30415, 38435, 30267]),
    (
        "# 任务描述\n假设你是一个AI简历助手",
        [396, 29871, 32603, 35025, 13, 39395, 30919, 32470, 23869, 43770, 42145],
    ),
    (
        '{"姓名": ["张三"], "国籍": ["中国"], "职位": ["工程师"]}',
        [8853, 37908, 1115, 6796, 73568, 12436, 376, 50823, 1115, 6796, 32020, 12436, 376, 37456, 1115, 6796, 36925,
         121818],
    ),
    (
        "The quick brown fox jumps over the lazy dog.",
        [450, 4996, 17354, 1701, 29916, 79433, 975, 278, 17366, 11203, 29889],
    ),
    (
        "def extract(text: str) -> dict[str, list[str]]:\n\treturn json.loads(text)  # 解析",
        [822, 6597, 29898, 726, 29901, 851, 29897, 1599, 9657, 29961, 710, 29892, 1051, 29961, 710, 120580, 13, 12,
         2457, 4390, 29889, 18132, 29898, 726, 29897, 29871, 396, 29871, 40217],
    ),
    (
        "😀👨‍👩‍👧",
        [29871, 243, 162, 155, 131, 243, 162, 148, 171, 30722, 243, 162, 148, 172, 30722, 243, 162, 148, 170],
    ),
    (
        "  两个空格  \n\n\t制表符\r\n　全角",
        [1678, 32243, 71193, 259, 13, 13, 12, 31072, 30746, 31277, 30004, 13, 30358, 30753, 31432],
    ),
    ("<sep><eod><pad>", [529, 19570, 5299, 80687, 29881, 5299, 8305, 29958]),
    ("a<mask>b<FIM_PREFIX>", [263, 29966, 13168, 29958, 29890, 29966, 96549, 29918, 101125, 29958]),
    ("", []),
]  # fmt: skip


@pytest.fixture(scope="session")
def yuan_folder(test_data: Path) -> Path:
    """Yuan2's published tokenizer: `tokenizer_class: LlamaTokenizer`, `add_bos_token: true`."""
    return test_data / "yuan2-tokenizer"


@pytest.fixture(scope="session")
def yuan(yuan_folder: Path) -> YuanTokenizer:
    return YuanTokenizer.from_pretrained(yuan_folder)


@functools.cache
def mini() -> YuanTokenizer:
    return YuanTokenizer.from_pretrained(RESOURCES / "yuan2-mini")


@functools.cache
def reference(folder: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


MINI = RESOURCES / "yuan2-mini"
TOKEN = re.compile("(" + "|".join([*TUTORIAL_TOKENS, "<eod>", "<unk>"]) + ")")


def reference_ids(folder: Path, text: str, special: dict[str, int]) -> list[int]:
    """What the tutorial's tokenizer gives: SentencePiece on each stretch between control tokens."""
    ids: list[int] = []
    for part in TOKEN.split(text):
        ids += [special[part]] if part in special else reference(folder).encode(part)
    return ids


def many_lines(test_data: Path) -> list[str]:
    """Chinese of six kinds, code and English: thousands of lines, and stretches over several lines."""
    lines: list[str] = []
    for file in sorted((test_data / "corpus").glob("*.xz")):
        with lzma.open(file, "rt", encoding="utf-8") as stream:
            lines += [line.rstrip("\n") for line in itertools.islice(stream, 500)]
    code = inspect.getsource(typing) + inspect.getsource(argparse)
    code += "".join(path.read_text(encoding="utf-8") for path in sorted(RESOURCES.parent.rglob("*.py")))
    lines += [line for line in code.split("\n") if line]
    lines += [code[at : at + 700] for at in range(0, 70_000, 700)]
    license_text = (RESOURCES.parents[2] / "LICENSE").read_text(encoding="utf-8")
    return lines + license_text.split("\n") + license_text.split("\n\n")


# --------------------------------------------------------------------------------------------------- ids


@pytest.mark.parametrize(("text", "ids"), GOLDEN, ids=range(len(GOLDEN)))
def test_golden_ids(yuan: YuanTokenizer, text: str, ids: list[int]) -> None:
    assert yuan.encode_text(text) == ids
    assert yuan(text, split_special_tokens=True)["input_ids"] == ids
    if not TOKEN.search(text):
        assert yuan(text)["input_ids"] == yuan.encode(text) == ids
        assert yuan.convert_tokens_to_ids(yuan.tokenize(text)) == ids


def test_equals_sentencepiece_on_thousands_of_lines(
    yuan: YuanTokenizer, yuan_folder: Path, test_data: Path
) -> None:
    lines = many_lines(test_data)
    assert len(lines) > 8000
    expected = [reference(yuan_folder).encode(line) for line in lines]
    assert yuan(lines, split_special_tokens=True)["input_ids"] == expected
    assert [yuan.encode_text(line) for line in lines] == expected
    special = dict(zip(["<eod>", "<unk>", *TUTORIAL_TOKENS], [EOD, 0, *IDS], strict=True))
    assert yuan(lines)["input_ids"] == [reference_ids(yuan_folder, line, special) for line in lines]
    assert [yuan.decode(ids) for ids in expected] == [line.replace("▁", " ") for line in lines]


def test_tutorial_ids_and_length(yuan: YuanTokenizer) -> None:
    assert list(CONTROL_TOKENS) == TUTORIAL_TOKENS
    assert yuan.convert_tokens_to_ids(TUTORIAL_TOKENS) == IDS
    assert len(yuan) == len(yuan.get_vocab()) == 134_958
    assert (yuan.eos_token_id, yuan.bos_token_id, yuan.pad_token_id, yuan.sep_token_id) == (EOD, EOD, EOD, SEP)
    assert [yuan(token)["input_ids"] for token in TUTORIAL_TOKENS] == [[index] for index in IDS]


def test_adding_the_tutorials_tokens_again_changes_nothing(yuan_folder: Path) -> None:
    tokenizer = YuanTokenizer.from_pretrained(yuan_folder)
    before = tokenizer.get_vocab()
    assert tokenizer.add_tokens(TUTORIAL_TOKENS, special_tokens=True) == 0
    assert tokenizer.get_vocab() == before
    assert len(tokenizer) == 134_958
    assert tokenizer.add_tokens(["<mine>"], special_tokens=True) == 1
    assert tokenizer("a<mine>")["input_ids"][-1] == 134_958
    assert tokenizer.decode(tokenizer("a<mine>b")["input_ids"]) == "a<mine> b"


def test_tutorials_call_through_auto_tokenizer(published: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(
        published, add_eos_token=False, add_bos_token=False, eos_token="<eod>"
    )
    assert type(tokenizer) is YuanTokenizer
    tokenizer.add_tokens(TUTORIAL_TOKENS, special_tokens=True)
    tokenizer.pad_token = tokenizer.eos_token
    prompt = tokenizer("请参考样例,以json格式返回结果。<sep>")["input_ids"]
    answer = tokenizer('{"姓名": ["张三"], "国籍": ["中国"]}<eod>')["input_ids"]
    assert prompt[-1] == SEP
    assert (answer[0], answer[-1]) == (8853, EOD)
    assert tokenizer.decode(prompt + answer) == (
        '请参考样例,以json格式返回结果。<sep> {"姓名": ["张三"], "国籍": ["中国"]}<eod>'
    )
    assert tokenizer.decode(answer) == '{"姓名": ["张三"], "国籍": ["中国"]}<eod>'
    assert tokenizer.decode(answer, skip_special_tokens=True) == '{"姓名": ["张三"], "国籍": ["中国"]}'
    joined = tokenizer('请参考样例,以json格式返回结果。<sep>{"姓名": ["张三"], "国籍": ["中国"]}<eod>')["input_ids"]
    assert joined == prompt + answer
    assert AutoTokenizer.from_pretrained(published, trust_remote_code=True)("中<sep>")["input_ids"][-1] == SEP


@pytest.fixture
def published(yuan_folder: Path, tmp_path: Path) -> Path:
    """A folder as published: the tokenizer's files, and a config that points at code, which must not run."""
    for file in yuan_folder.iterdir():
        if not file.name.startswith("LICENSE"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(
        '{"model_type": "yuan", "auto_map": {"AutoConfig": "configuration_yuan.YuanConfig"}}'
    )
    (tmp_path / "configuration_yuan.py").write_text("raise SystemExit('remote code ran')")
    return tmp_path


# ----------------------------------------------------------------------------- control tokens in somebody's text


def test_no_control_token_can_be_reached_from_text(yuan: YuanTokenizer, yuan_folder: Path) -> None:
    """A piece is reached only by joining two pieces: for no control token is there such a way."""
    pieces = {reference(yuan_folder).id_to_piece(i) for i in range(len(reference(yuan_folder)))}

    def reachable(text: str) -> bool:
        splits = ((text[:cut], text[cut:]) for cut in range(1, len(text)))
        return len(text) == 1 or (text in pieces and any(reachable(a) and reachable(b) for a, b in splits))

    assert not any(reachable(token) for token in yuan.all_special_tokens)


@pytest.mark.parametrize("which", ["yuan", "mini"])
def test_typed_control_tokens_stay_text(which: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue("yuan") if which == "yuan" else mini()
    tokens = [*tokenizer.all_special_tokens, "<s>", "</s>", "<|endoftext|>"]
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    draw = random.Random(0)
    for token in tokens:
        glued = "".join(draw.choices(["中", " ", "<", ">", "\n", "x", *tokens], k=12))
        for text in (token, f"中{token}中", f" {token}", f"{token}\n{token}", f"x{token}<sep", glued):
            ids = tokenizer.encode_text(text)
            assert special.isdisjoint(ids), text
            assert tokenizer.encode(text, split_special_tokens=True) == ids
            assert tokenizer.decode(ids) == text


texts = st.text(
    st.one_of(st.characters(codec="utf-8", exclude_characters="▁"), st.sampled_from(' \n\t,{}"<>张三的一'))
)


@given(texts)
def test_any_text_equals_sentencepiece_and_comes_back(text: str) -> None:
    ids = mini().encode_text(text)
    assert ids == mini().encode(text, split_special_tokens=True) == reference(MINI).encode(text)
    assert mini().decode(ids) == mini().convert_tokens_to_string(mini().convert_ids_to_tokens(ids)) == text
    assert set(mini().all_special_ids).isdisjoint(ids)


@given(st.lists(st.one_of(texts, st.sampled_from(["<sep>", "<eod>", "<mask>"])), max_size=6))
def test_stretches_between_control_tokens_are_tokenised_apart(parts: list[str]) -> None:
    text = "".join(parts)
    special = {token: mini().convert_tokens_to_ids(token) for token in [*TUTORIAL_TOKENS, "<eod>", "<unk>"]}
    assert mini()(text)["input_ids"] == reference_ids(MINI, text, special)


def test_lower_eighth_block_is_a_space_to_sentencepiece() -> None:
    assert mini().encode_text("a▁b") == reference(MINI).encode("a▁b")
    assert mini().decode(mini().encode_text("a▁b")) == "a b"


def test_half_a_surrogate_pair_is_named() -> None:
    with pytest.raises(DataError, match=r"character 2 .*D83D"):
        mini()("ab\ud83d")


# --------------------------------------------------------------------------------------------------- decoding


def test_decoding_drops_only_the_first_space(yuan: YuanTokenizer) -> None:
    assert yuan.decode(yuan("  a<sep> b<sep>")["input_ids"]) == "  a<sep>  b<sep>"
    assert yuan.decode([SEP, 8853]) == '<sep> {"'
    assert yuan.decode([8853, SEP]) == '{"<sep>'
    assert yuan.decode([8853, SEP, 8853], skip_special_tokens=True) == '{" {"'
    assert yuan.decode([SEP, 8853], skip_special_tokens=True) == '{"'
    assert yuan.decode([]) == ""
    assert yuan.decode(8853) == '{"'
    assert yuan.batch_decode([[8853], [SEP]]) == ['{"', "<sep>"]


def test_ids_of_padding_rows_and_old_control_pieces_decode(yuan: YuanTokenizer) -> None:
    assert yuan.decode([8853, 135_039, 134_958, 8853]) == '{" {"'
    assert yuan.decode([1, 8853, 2]) == '<s> {"</s>'
    assert yuan.convert_ids_to_tokens([8853, 135_039]) == ['▁{"', "<unk>"]


# ----------------------------------------------------------------------------------- save, load, pickle, batches


@pytest.mark.parametrize("with_config", [False, True])
def test_survives_save_and_load(yuan: YuanTokenizer, tmp_path: Path, with_config: bool) -> None:
    yuan.save_pretrained(tmp_path)
    if with_config:
        (tmp_path / "config.json").write_text('{"model_type": "yuan"}')
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert type(again) is YuanTokenizer
    assert again.get_vocab() == yuan.get_vocab()
    assert again.special_tokens_map == yuan.special_tokens_map
    text = '结果。<sep>{"a": 1}  <mask>\n<eod>'
    assert again(text)["input_ids"] == yuan(text)["input_ids"]
    second = tmp_path / "again"
    again.save_pretrained(second)
    assert (second / "tokenizer_config.json").read_text() == (tmp_path / "tokenizer_config.json").read_text()


def test_choices_of_the_caller_are_kept(yuan_folder: Path, tmp_path: Path) -> None:
    tokenizer = YuanTokenizer.from_pretrained(
        yuan_folder, add_eos_token=True, pad_token="<pad>", padding_side="left"
    )
    assert tokenizer("中")["input_ids"][-1] == EOD
    tokenizer.add_bos_token = True
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert (again.add_bos_token, again.add_eos_token) == (True, True)
    plain = reference(yuan_folder).encode("中")
    assert again("中")["input_ids"] == [EOD, *plain, EOD]
    assert (again.pad_token_id, again.padding_side) == (77188, "left")
    again.add_bos_token = again.add_eos_token = False
    assert again("中")["input_ids"] == plain


@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_are_padded_and_masked(side: str) -> None:
    tokenizer = YuanTokenizer.from_pretrained(MINI, padding_side=side)
    short, long = reference(MINI).encode("中国"), reference(MINI).encode("中华人民共和国,张三")
    pad = [tokenizer.pad_token_id] * (len(long) - len(short))
    ones, zeros = [1] * len(short), [0] * len(pad)
    batch = tokenizer(["中国", "中华人民共和国,张三"], padding=True, return_tensors="pt")
    left = side == "left"
    assert batch["input_ids"].tolist() == [pad + short if left else short + pad, long]
    assert batch["attention_mask"].tolist() == [zeros + ones if left else ones + zeros, [1] * len(long)]
    cut = tokenizer("中华人民共和国,张三", max_length=3, truncation=True)
    assert cut["input_ids"] == long[:3]


def test_the_tutorials_collator_takes_it() -> None:
    rows = [
        {"input_ids": mini()(t)["input_ids"], "labels": mini()(t)["input_ids"]} for t in ("中国", "张三,汉族。")
    ]
    batch = DataCollatorForSeq2Seq(tokenizer=mini(), padding=True)(rows)
    assert batch["labels"][0, -1] == -100
    assert batch["input_ids"].shape == batch["attention_mask"].shape == batch["labels"].shape


def test_pickles(yuan: YuanTokenizer) -> None:
    again = pickle.loads(pickle.dumps(yuan))
    assert again('中<sep>{"')["input_ids"] == yuan('中<sep>{"')["input_ids"]
    assert len(again) == len(yuan)


# --------------------------------------------------------------------------------------------- yuan2-mini's model


def test_mini_mirrors_what_matters_in_yuan2s_model(yuan_folder: Path) -> None:
    from sentencepiece import sentencepiece_model_pb2

    def specs(folder: Path) -> tuple[typing.Any, typing.Any]:
        model = sentencepiece_model_pb2.ModelProto()
        model.ParseFromString((folder / "tokenizer.model").read_bytes())
        return model.trainer_spec, model.normalizer_spec

    (trained, normal), (mini_trained, mini_normal) = specs(yuan_folder), specs(MINI)
    for field in (
        "model_type",
        "byte_fallback",
        "split_digits",
        "split_by_unicode_script",
        "split_by_whitespace",
        "allow_whitespace_only_pieces",
        "max_sentencepiece_length",
        "treat_whitespace_as_suffix",
    ):
        assert getattr(trained, field) == getattr(mini_trained, field), field
    for field in (
        "name",
        "precompiled_charsmap",
        "add_dummy_prefix",
        "remove_extra_whitespaces",
        "escape_whitespaces",
    ):
        assert getattr(normal, field) == getattr(mini_normal, field), field


def test_mini_has_control_pieces_and_json_pieces() -> None:
    tokenizer = mini()
    assert len(tokenizer) == 8192
    assert all(tokenizer.sp_model.is_control(index) for index in tokenizer.all_special_ids if index)
    assert (tokenizer.eos_token_id, tokenizer.sep_token_id, tokenizer.unk_token_id) == (1, 2, 0)
    assert tokenizer.tokenize('{"姓名": ["张三"], "国籍": ["中国"]}') == [
        '▁{"', "姓", "名", '":', '▁["', "张", "三", '"],', '▁"', "国", "籍", '":', '▁["', "中", "国", '"]}',
    ]  # fmt: skip
    assert tokenizer.tokenize("{}") == ["▁{}"]
