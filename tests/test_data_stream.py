"""Sources of pretraining: what is read from which file, and an order that is seeded, endless, and resumable
anywhere."""

from __future__ import annotations

import gzip
import json
import lzma
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from tests.tiny_tokenizers import byte_level, llama_like
from yuantune.data.corpus import fingerprint, open_corpus
from yuantune.data.documents import NOTHING, Corpus, Tokens
from yuantune.data.stream import DocumentStream, shuffled
from yuantune.errors import DataError, TemplateError
from yuantune.models.load import load_tokenizer

LINES = ["张三,汉族。", "李四是经理。", "", "王五<sep>", "赵六"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer("yuan2-mini")


def write(path: Path, lines: Sequence[str]) -> str:
    text = "".join(line + "\n" for line in lines).encode()
    path.write_bytes({".xz": lzma.compress, ".gz": gzip.compress}.get(path.suffix, bytes)(text))
    return str(path)


def rows_of(rows: Sequence[Any]) -> list[str]:
    return [json.dumps(row, ensure_ascii=False) for row in rows]


def texts(corpus: Corpus, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What each document says, from its tokens."""
    return [
        tokenizer.decode([*each.ids[:1].tolist(), *each.labels.tolist()])
        for each in corpus.encode(list(corpus.rows()))
        if each is not None
    ]


# ------------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("name", ["a.txt", "a.txt.xz", "a.txt.gz", "a.jsonl", "a.jsonl.xz"])
def test_text_in_any_wrapping(tmp_path: Path, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    lines = rows_of([{"text": line, "source": "web"} for line in LINES]) if "jsonl" in name else LINES
    corpus = open_corpus(write(tmp_path / name, lines), tokenizer)
    assert corpus.cuttable
    assert list(corpus.rows()) == [line for line in LINES if line]
    assert texts(corpus, tokenizer) == [f"{line}<eod>" for line in LINES if line]


def test_text_is_never_a_control_token(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    path = write(tmp_path / "a.txt", ["王五<sep>李四<eod>", "</s><s>"])
    for each in (tokenizer, byte_level(), llama_like()):
        special = set(each.all_special_ids) - {each.unk_token_id}
        for tokens in open_corpus(path, each).encode(["王五<sep>李四<eod>", "</s><s>"]):
            assert tokens is not None
            assert special.isdisjoint(tokens.ids[1:].tolist())
            assert tokens.labels[-1] == each.eos_token_id


def test_the_begin_token_of_the_tokenizer_begins_documents(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", ["ab"])
    for each, begins in ((llama_like(), True), (byte_level(), False)):
        (tokens,) = open_corpus(path, each).encode(["ab"])
        assert tokens is not None
        assert bool(tokens.ids[0] == each.bos_token_id) == begins


@pytest.mark.parametrize(
    ("lines", "expected"), [(1, ["a", "b", "c", "d"]), (3, ["a\nb\nc", "d"]), (0, ["a\nb", "c\nd"])]
)
def test_what_a_document_is(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, lines: int, expected: list[str]
) -> None:
    corpus = open_corpus(write(tmp_path / "a.txt", ["a", "b", "", "c", "d"]), tokenizer, lines=lines)
    assert list(corpus.rows()) == expected


def test_a_folder_and_another_field(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    write(tmp_path / "1.jsonl.xz", rows_of([{"content": "一"}, {"other": 1}, "no object", {"content": "二"}]))
    write(tmp_path / "2.jsonl", rows_of([{"content": "三"}]))
    corpus = open_corpus(str(tmp_path), tokenizer, kind="text", field="content")
    assert list(corpus.rows()) == ["一", "二", "三"]
    assert corpus.unreadable == 2
    with pytest.raises(DataError, match=r"no text in a field 'contents' .did you mean 'content'") as caught:
        open_corpus(str(tmp_path), tokenizer, kind="text", field="contents")
    assert "field" in caught.value.hint


def test_instruction_data_learns_the_answer(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [{"input": "几点?", "output": "三点"}, {"input": "你好", "output": "好"}, {"input": "没有答案"}]
    corpus = open_corpus(write(tmp_path / "a.jsonl.xz", rows_of(rows)), tokenizer)
    assert not corpus.cuttable
    first, second = corpus.encode(list(corpus.rows()))
    assert first is not None and second is not None
    learnt = [label for label in first.labels.tolist() if label != NOTHING]
    assert tokenizer.decode(learnt).strip() == "三点<eod>"
    assert tokenizer.decode(first.ids).startswith("几点?<sep>")
    assert corpus.unreadable == 1


def test_label_types_come_from_the_whole_source(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [{"text": "张三", "labels": {"姓名": ["张三"]}}] * 300 + [{"text": "绍兴", "labels": {"地名": ["绍兴"]}}]
    corpus: Any = open_corpus(write(tmp_path / "a.jsonl", rows_of(rows)), tokenizer)
    assert corpus.template.template.name == "extract"
    assert corpus.template.schema.types == ("姓名", "地名")


@pytest.mark.parametrize(
    ("name", "lines", "options", "error", "expected"),
    [
        ("a.txt", [], {}, DataError, "holds no"),
        ("a.txt", ["", " "], {}, DataError, "holds no text"),
        ("a.jsonl", [], {}, DataError, "a.jsonl"),
        ("a.jsonl", ["{broken"], {}, DataError, "broken JSON"),
        ("a.jsonl", ['{"id": 1}'], {"kind": "text"}, DataError, "no text in a field 'text'"),
        ("a.jsonl", ['{"text": "x"}'], {"kind": "instruction"}, DataError, "no rows with answers"),
        (
            "a.jsonl",
            ['{"input": "x", "output": "y"}'],
            {"template": "plian"},
            TemplateError,
            "did you mean 'plain'",
        ),
        ("a.txt", ["x"], {"format": "txt"}, DataError, "unknown format 'txt'"),
    ],
)
def test_what_cannot_be_used_is_said_at_once(
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    lines: list[str],
    options: dict[str, Any],
    error: type[Exception],
    expected: str,
) -> None:
    with pytest.raises(error) as caught:
        open_corpus(write(tmp_path / name, lines), tokenizer, **options)
    assert expected in str(caught.value)


def test_a_missing_file_names_the_nearest(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    write(tmp_path / "histories.txt.xz", ["x"])
    for kind in ("auto", "text", "instruction"):
        with pytest.raises(DataError, match=r"did you mean 'histories\.txt\.xz'"):
            open_corpus(str(tmp_path / "history.txt.xz"), tokenizer, kind=kind)  # type: ignore[arg-type]


def test_bad_rows_further_on_are_passed_over(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("好\n".encode() * 300 + b"\xff\xfe\xff\n" + "好\n".encode() * 3)
    corpus = open_corpus(str(path), tokenizer)
    assert len(list(corpus.rows())) == 303
    assert corpus.unreadable == 1


def test_a_fingerprint_is_of_the_contents(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", ["x"])
    before = fingerprint(path)
    assert fingerprint(path) == before
    write(tmp_path / "a.txt", ["y"])
    assert fingerprint(path) != before
    assert fingerprint(str(tmp_path)).keys() == {"a.txt"}


# ------------------------------------------------------------------------------------------------ in what order


class Numbers:
    """Documents that are numbers; every tenth makes no tokens."""

    path = "numbers"
    cuttable = False
    unreadable = 0

    def __init__(self, count: int) -> None:
        self.count = count
        self.encoded = 0

    def rows(self) -> Iterator[int]:
        return iter(range(self.count))

    def encode(self, rows: Sequence[int]) -> list[Tokens | None]:
        self.encoded += len(rows)
        return [None if row % 10 == 9 else Tokens.learning([row] * (2 + row % 5)) for row in rows]


def stream(count: int, **options: Any) -> DocumentStream:
    return DocumentStream(Numbers(count), **{"seed": "s", "shuffle_buffer": 16, **options})


def taken(documents: Iterator[Tokens], count: int) -> list[int]:
    return [int(tokens.ids[0]) for tokens in islice(documents, count)]


@given(st.lists(st.integers()), st.integers(1, 50), st.integers())
def test_shuffling_keeps_everything_and_holds_little(items: list[int], size: int, seed: int) -> None:
    read = 0

    def source() -> Iterator[int]:
        nonlocal read
        for item in items:
            read += 1
            yield item

    out: list[int] = []
    for item in shuffled(source(), random.Random(seed), size):
        out.append(item)
        assert read - len(out) <= size
    assert Counter(out) == Counter(items)
    assert list(shuffled(iter(items), random.Random(seed), size)) == out
    assert list(shuffled(iter(items), random.Random(seed), 1)) == items


def test_each_pass_has_everything_in_another_order() -> None:
    usable = [i for i in range(100) if i % 10 != 9]
    first, second = taken(many := stream(100), 90), taken(many, 90)
    assert sorted(first) == sorted(second) == usable
    assert first != second
    assert many.number == 1
    assert taken(stream(100), 90) == first
    assert taken(stream(100, seed="t"), 90) != first
    assert sorted(taken(stream(100, endless=False), 1000)) == usable


@given(st.integers(1, 60), st.integers(0, 300), st.integers(1, 30), st.integers(3, 6))
def test_goes_on_from_anywhere(count: int, at: int, buffer: int, longest: int) -> None:
    options = {"shuffle_buffer": buffer, "longest": longest}
    whole = stream(count, **options)
    taken(whole, at)
    again = stream(count, **options)
    again.restore(json.loads(json.dumps(whole.state())))
    assert taken(again, 100) == taken(whole, 100)
    assert again.state() == whole.state()


def test_going_on_makes_no_tokens_of_what_was_taken() -> None:
    again = stream(10_000)
    again.restore({"pass": 0, "taken": 9_000, "given": 8_100, "too_long": 0, "empty": 900})
    next(again)
    assert isinstance(again.corpus, Numbers)
    assert again.corpus.encoded < 100


def test_what_is_too_long_is_counted_and_nothing_at_all_is_an_error() -> None:
    some = stream(100, longest=3, endless=False)
    assert len(taken(some, 1000)) == some.state()["given"] == 100 - some.too_long - some.empty
    assert some.too_long > 0
    with pytest.raises(DataError, match="not one document") as caught:
        next(stream(9, longest=0))
    assert "9 are longer" in caught.value.hint


def test_a_source_that_has_shrunk_is_named() -> None:
    with pytest.raises(DataError, match="20 documents were taken from it, and it has 10 now"):
        stream(10).restore({"pass": 0, "taken": 20, "given": 18, "too_long": 0, "empty": 2})
