"""`yuantune tokenizer train`: Yuan2's control tokens, characters that stay apart, errors for people."""

from __future__ import annotations

import json
import lzma
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from yuantune.cli.tokenizer import app
from yuantune.data.record import Message, Record, Source
from yuantune.errors import DataError, ModelError, UserError
from yuantune.models.load import load_tokenizer
from yuantune.models.tokenizer_training import answers, lines_of, sample, save_tokenizer, train_tokenizer
from yuantune.models.yuan2.tokenizer import CONTROL_TOKENS, END, YuanTokenizer

LINES = [
    f"第{number}行：张三在江州云陌公司任工程师，李四任经理。 The {word} of {word}s, v{number}."
    for number in range(60)
    for word in ("record", "label", "token")
]
WHERE = Source("rows", 1)


def trained(folder: Path, **options: object) -> YuanTokenizer:
    folder.mkdir()
    save_tokenizer(train_tokenizer([*LINES, *answers(LINES, 100)], **options), folder)  # type: ignore[arg-type]
    tokenizer = load_tokenizer(folder)
    assert isinstance(tokenizer, YuanTokenizer)
    return tokenizer


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> YuanTokenizer:
    return trained(tmp_path_factory.mktemp("apart") / "t", vocab_size=480, characters=True, required="龘堃")


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> YuanTokenizer:
    return trained(tmp_path_factory.mktemp("joined") / "t", vocab_size=480)


# ---------------------------------------------------------------------------------------------------- what it makes


@pytest.mark.parametrize("kind", ["apart", "joined"])
def test_it_is_a_yuan2_tokenizer(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer: YuanTokenizer = request.getfixturevalue(kind)
    assert len(tokenizer) == tokenizer.vocab_size == 480
    assert tokenizer.convert_tokens_to_ids([END, *CONTROL_TOKENS]) == list(range(1, 17))
    assert tokenizer.eos_token_id == tokenizer.bos_token_id == tokenizer.pad_token_id == 1
    assert tokenizer("a<sep>b")["input_ids"].count(2) == 1
    assert 2 not in tokenizer.encode_text("a<sep>b")
    assert tokenizer.tokenize("2024")[-4:] == ["2", "0", "2", "4"]
    pieces = tokenizer.sp_model
    assert sum(pieces.is_byte(index) for index in range(480)) == 256


@given(st.text(st.characters(codec="utf-8", exclude_characters="\u2581")))
def test_what_is_encoded_comes_back(apart: YuanTokenizer, joined: YuanTokenizer, text: str) -> None:
    for tokenizer in (apart, joined):
        assert tokenizer.sp_model.decode(tokenizer.encode_text(text)) == text


def test_characters_stay_apart_and_json_does_not(apart: YuanTokenizer, joined: YuanTokenizer) -> None:
    answer = '{"姓名": ["张三"], "职位": ["工程师", "经理"]}'
    pieces = apart.tokenize(answer)
    assert not [piece for piece in apart.get_vocab() if len(piece) > 1 and not piece.replace("▁", "").isascii()]
    assert [piece for piece in joined.get_vocab() if len(piece) > 1 and not piece.replace("▁", "").isascii()]
    assert pieces[0] == '▁{"' and {'":', '▁["', '"]}'} <= set(pieces)
    assert [piece for piece in pieces if piece in "张三工程师"] == list("张三工程师")
    assert apart.tokenize("龘堃") == ["▁", "龘", "堃"]


@given(st.text("张三李四，、任公司", max_size=8), st.text("张三工程师经理", min_size=1, max_size=6))
def test_a_string_has_the_same_tokens_in_text_and_answer(apart: YuanTokenizer, before: str, string: str) -> None:
    own = apart.encode_text(string)[1:]
    text, answer = apart.encode_text(before + string + "。"), apart.encode_text(f'{{"a": ["{string}"]}}')
    for ids in (text, answer):
        assert any(ids[at : at + len(own)] == own for at in range(len(ids)))


def test_unigram(tmp_path: Path) -> None:
    tokenizer = trained(tmp_path / "t", vocab_size=415, model_type="unigram", characters=True)
    assert len(tokenizer) == 415
    assert tokenizer.tokenize("张三")[1:] == ["张", "三"]


def test_transformers_loads_it(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    own = trained(tmp_path / "t", vocab_size=450)
    assert AutoTokenizer.from_pretrained(str(tmp_path / "t"))("张三 is 工程师") == own("张三 is 工程师")


# ---------------------------------------------------------------------------------------------------- what goes in


def test_lines_of_every_kind_of_record() -> None:
    records = [
        Record(WHERE, "一\n二", labels={"姓名": ["一"]}),
        Record(WHERE, "问", output="答", instruction="做"),
        Record(WHERE, "", messages=(Message("user", "甲"), Message("assistant", "乙"))),
    ]
    assert list(lines_of(records)) == ["一", "二", '{"姓名": ["一"]}', "做", "问", "答", "甲", "乙"]


def test_a_sample_is_fair_and_seeded() -> None:
    lines = [str(number) for number in range(20)]
    drawn = Counter(line for seed in range(2000) for line in sample(iter(lines), 5, seed=seed))
    assert set(drawn) == set(lines) and all(400 < times < 600 for times in drawn.values())
    assert sample(lines, 5, seed=3) == sample(lines, 5, seed=3) != sample(lines, 5, seed=4)
    assert sorted(sample(lines, None)) == sorted(sample(lines, 99)) == sorted(lines)


def test_answers_are_json_of_the_lines_phrases() -> None:
    made = answers(LINES, 20, seed=1)
    assert made == answers(LINES, 20, seed=1) and len(made) == 20
    for answer in made:
        for key, strings in json.loads(answer).items():
            assert all(any(phrase in line for line in LINES) for phrase in (key, *strings))
    assert answers(["no Chinese"], 5) == []


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"vocab_size": 100_000}, "too many"),
        ({"vocab_size": 300}, "too few"),
        ({"vocab_size": 0}, "is none"),
        ({"model_type": "bqe"}, "did you mean 'bpe'"),
        ({"coverage": 0.5}, "coverage"),
    ],
)
def test_what_does_not_suit_is_said(options: dict[str, object], what: str) -> None:
    with pytest.raises((ModelError, UserError), match=what) as caught:
        train_tokenizer(LINES, **options)  # type: ignore[arg-type]
    assert ".cc(" not in str(caught.value)


def test_no_text_at_all() -> None:
    with pytest.raises(UserError, match="no text"):
        train_tokenizer(["", "  "])


# ------------------------------------------------------------------------------------------------------ the command


def test_the_command_reads_texts_and_rows(tmp_path: Path) -> None:
    with lzma.open(tmp_path / "text.txt.xz", "wt", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in LINES)
    rows = [{"text": line, "labels": {"姓名": ["张三"]}} for line in LINES]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "more.txt").write_text("龘\n", encoding="utf-8")
    sources = [str(tmp_path / "text.txt.xz"), str(tmp_path / "rows.jsonl")]
    options = ["--vocab-size", "450", "--characters", "--required", str(tmp_path / "more.txt"), "--lines", "300"]
    folders = [tmp_path / "one", tmp_path / "deep" / "two"]
    for folder in folders:
        done = CliRunner().invoke(app, ["train", *sources, "--to", str(folder), *options], catch_exceptions=False)
        assert done.exit_code == 0
        assert done.stdout == f"{folder}\n"
    tokenizer = load_tokenizer(folders[0])
    assert len(tokenizer) == 450 and "龘" in tokenizer.get_vocab()
    first, second = ((folder / "tokenizer.model").read_bytes() for folder in folders)
    assert first == second


def test_the_command_writes_nothing_where_it_fails(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(LINES), encoding="utf-8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    new = tmp_path / "new"
    for words, what in [
        ([str(text), "--to", str(tmp_path / "full")], "already there"),
        ([str(text), "--to", str(new)], "too many"),
        ([str(tmp_path / "txt.txt"), "--to", str(new)], "no such file"),
        ([str(text), "--to", str(new), "--required", str(tmp_path / "none")], "cannot be read"),
    ]:
        with pytest.raises((DataError, ModelError), match=what):
            CliRunner().invoke(app, ["train", *words], catch_exceptions=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "text.txt"]


def test_sampling_uses_no_shared_random_state() -> None:
    random.seed(0)
    before = random.getstate()
    sample(LINES, 3)
    answers(LINES, 3)
    assert random.getstate() == before
