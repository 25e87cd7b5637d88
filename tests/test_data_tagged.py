"""Tagged text to labels: schemes, spacing, damaged spans, and a round trip against tags written here."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yuantune.data.annotations import Span, labels_of
from yuantune.data.problems import BadRow
from yuantune.data.readers import read, read_all
from yuantune.data.tagged import decode, from_tokens, looks_tagged, split_tag
from yuantune.errors import DataError

SCHEMES = {  # beginning, inside, end, single; "" where the scheme has no such part
    "BIO": ("B", "I", "I", "B"),
    "BIOES": ("B", "I", "E", "S"),
    "BMES": ("B", "M", "E", "S"),
    "BMEWO": ("B", "M", "E", "W"),
    "BILOU": ("B", "I", "L", "U"),
}


def write_tags(length: int, spans: list[Span], scheme: str) -> list[str]:
    """The reference writer: one tag a character."""
    begin, inside, end, single = SCHEMES[scheme]
    tags = ["O"] * length
    for first, behind, label in spans:
        size = behind - first
        parts = [single] if size == 1 else [begin, *[inside] * (size - 2), end]
        tags[first:behind] = [f"{part}-{label}" for part in parts]
    return tags


@st.composite
def tagged_text(draw: st.DrawFn) -> tuple[str, list[Span]]:
    """A text of Chinese characters, letters and signs, with spans that do not overlap."""
    text = draw(st.text("张三在北京大学读书，ABc1。 𠮷", min_size=1, max_size=30))
    bounds = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)))
    pairs = zip(bounds[::2], bounds[1::2], strict=False)
    return text, [(a, b, draw(st.sampled_from(["姓名", "ORG", "A-B_c"]))) for a, b in pairs]


@settings(deadline=None)
@given(st.lists(tagged_text(), min_size=1, max_size=5), st.sampled_from(sorted(SCHEMES)), st.sampled_from("\t "))
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, list[Span]]], scheme: str, blank: str
) -> None:
    path = tmp_path_factory.mktemp("tagged") / "x.conll"
    sentences = []
    for text, spans in texts:
        rows = zip(text, write_tags(len(text), spans, scheme), strict=True)
        sentences.append("".join(f"{token}{blank}{tag}\r\n" for token, tag in rows))
    path.write_bytes("\r\n".join(sentences).encode())
    records = read_all(path)
    assert [record.text for record in records] == [text for text, _ in texts]
    # Labels in text order, made without the code under test.
    for record, (text, spans) in zip(records, texts, strict=True):
        expected: dict[str, list[str]] = {}
        for first, behind, label in sorted(spans):
            expected.setdefault(label, []).append(text[first:behind])
        assert record.labels == expected
        assert list(record.labels) == list(expected)


def test_lines_of_records_and_document_marks(tmp_path: Path) -> None:
    path = tmp_path / "x.bio"
    path.write_text("-DOCSTART- -X- O O\n\n\n张 B-NAME\n三 I-NAME\n\n-DOCSTART- O\n李 B-NAME\n", encoding="utf-8")
    assert [(record.source.line, record.text, record.labels) for record in read(path)] == [
        (4, "张三", {"NAME": ["张三"]}),
        (8, "李", {"NAME": ["李"]}),
    ]
    assert str(read_all(path)[0].source) == f"{path}:4"


def test_columns_between_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.conll"
    path.write_text("EU NNP I-NP B-ORG\nrejects VBZ I-VP O\nGerman JJ I-NP B-MISC\ncall NN I-NP O\n. . O O\n")
    assert [(r.text, r.labels) for r in read(path)] == [
        ("EU rejects German call .", {"ORG": ["EU"], "MISC": ["German"]})
    ]


@pytest.mark.parametrize(
    ("tokens", "tags", "text", "labels"),
    [
        (
            ["Bank", "of", "China", "opens"],
            ["B-ORG", "I-ORG", "I-ORG", "O"],
            "Bank of China opens",
            ["Bank of China"],
        ),
        (["I", "B", "M", "公", "司"], ["B-ORG", "I-ORG", "I-ORG", "I-ORG", "I-ORG"], "IBM公司", ["IBM公司"]),
        (
            ["中国", "IBM", "Lab", "公司"],
            ["B-ORG", "I-ORG", "I-ORG", "I-ORG"],
            "中国IBM Lab公司",
            ["中国IBM Lab公司"],
        ),
        (["a", " ", "b"], ["B-ORG", "I-ORG", "I-ORG"], "a b", ["a b"]),
    ],
)
def test_words_get_spaces_characters_do_not(
    tokens: list[str], tags: list[str], text: str, labels: list[str]
) -> None:
    assert from_tokens(tokens, tags) == (text, {"ORG": labels})


def test_tokens_that_are_white_space(tmp_path: Path) -> None:
    path = tmp_path / "x.bmes"
    path.write_text("张 S-NAME\n  O\n\u3000 O\n三 S-NAME\n", encoding="utf-8")
    assert read_all(path)[0].text == "张 \u3000三"


def test_pieces_in_schemes_with_ends_are_left_out_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "x.bmes"
    path.write_text(
        "张 B-NAME\n三 E-NAME\n中 B-ORG\n国 M-ORG\n\n公 M-ORG\n司 E-ORG\n, O\n李 S-NAME\n", encoding="utf-8"
    )
    notes: list[str] = []
    records = list(read(path, notes=notes))
    assert [record.labels for record in records] == [{"NAME": ["张三"]}, {"NAME": ["李"]}]
    assert [record.text for record in records] == ["张三中国", "公司,李"]
    assert len(notes) == 1
    assert notes[0].endswith(
        "pieces of entities without a beginning or an end, left out of the labels: 2 (lines 3, 6)"
    )


def test_pieces_in_bio_begin_an_entity(tmp_path: Path) -> None:
    path = tmp_path / "x.bio"
    path.write_text("中 I-ORG\n国 I-ORG\n李 B-NAME\n四 I-ORG\n", encoding="utf-8")
    notes: list[str] = []
    assert [record.labels for record in read(path, notes=notes)] == [{"ORG": ["中国", "四"], "NAME": ["李"]}]
    assert "kept as entities: 2 (lines 1, 4)" in notes[0]


@pytest.mark.parametrize(
    ("tags", "whole", "pieces"),
    [
        ("B-A E-A", [(0, 2, "A")], []),
        ("B-A B-A E-A", [(1, 3, "A")], [(0, 1, "A")]),
        ("B-A M-A O", [], [(0, 2, "A")]),
        ("B-A E-B", [], [(0, 1, "A"), (1, 2, "B")]),
        ("M-A E-A S-B", [(2, 3, "B")], [(0, 2, "A")]),
        ("B-A I-A M-A L-A", [(0, 4, "A")], []),
    ],
)
def test_decode(tags: str, whole: list[Span], pieces: list[Span]) -> None:
    assert decode(tags.split(), ended=True) == (whole, pieces)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["O", *(f"{part}-{label}" for part in "BIMESLUW" for label in "XY")])), st.booleans()
)
def test_decode_never_overlaps_and_covers_every_tag(tags: list[str], ended: bool) -> None:
    whole, pieces = decode(tags, ended=ended)
    covered = Counter(at for start, end, _ in whole + pieces for at in range(start, end))
    assert covered == Counter(at for at, tag in enumerate(tags) if tag != "O")
    assert all(split_tag(tags[at])[1] == label for start, end, label in whole + pieces for at in range(start, end))


def test_every_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.bmes"
    path.write_text("张 B-NAME\n三\n\n李 S-NAME\n\n王 X-NAME\n五 B\n\n赵 S-NAME\n", encoding="utf-8")
    records = read(path)
    assert [next(records).text, next(records).text] == ["李", "赵"]
    with pytest.raises(DataError) as caught:
        next(records)
    assert [problem.where for problem in caught.value.problems] == [f"{path}:{line}" for line in (2, 6, 7)]
    assert "unknown tag 'X-NAME'" in caught.value.problems[1].what


def test_tokenised_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"tokens": ["张", "三"], "ner_tags": ["B-NAME", "I-NAME"]}\n{"tokens": ["张"], "ner_tags": [1]}\n'
    )
    records = read(path)
    assert next(records).labels == {"NAME": ["张三"]}
    with pytest.raises(DataError, match="tags in words"):
        next(records)
    with pytest.raises(BadRow, match="no beginning or no end"):
        from_tokens(["a", "b", "c"], ["B-X", "O", "S-X"])
    with pytest.raises(BadRow, match="2 tokens, but 1 tags"):
        from_tokens(["a", "b"], ["O"])


def test_plain_text_is_not_taken_for_tagged_text(tmp_path: Path) -> None:
    assert not looks_tagged(["I am O", "you are not", "Type O blood", "he is"])
    assert not looks_tagged([])
    assert looks_tagged(["张 B-NAME", "三 E-NAME", "", ", O"])
    path = tmp_path / "x.txt"
    path.write_text("张三，汉族。\n\n李四\n", encoding="utf-8")
    assert [(record.text, record.has_answer) for record in read(path)] == [("张三，汉族。", False), ("李四", False)]
    path.write_text("张 B-NAME\n三 E-NAME\n", encoding="utf-8")
    assert read_all(path)[0].labels == {"NAME": ["张三"]}


def test_a_sentence_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.bio"
    path.write_text("a O\n" * 100 + "\nb B-X\n")
    records = read(path, limit_row_bytes=50)
    assert next(records).text == "b"
    with pytest.raises(DataError, match=r"x\.bio:1: a sentence of more than 50 bytes"):
        next(records)


def test_labels_of_orders_and_counts_once() -> None:
    spans = [(4, 6, "B"), (0, 2, "A"), (0, 4, "A"), (0, 2, "A"), (4, 5, "A")]
    assert labels_of("abcdef", spans) == {"A": ["ab", "abcd", "e"], "B": ["ef"]}


@pytest.mark.parametrize(
    ("part", "sentences", "entities", "without"), [("train", 3821, 13436, 103), ("dev", 463, 1497, 25)]
)
def test_resumener_counts(test_data: Path, part: str, sentences: int, entities: int, without: int) -> None:
    notes: list[str] = []
    records = list(read(test_data / "data" / "resumener" / f"{part}.char.bmes", notes=notes))
    assert len(records) == sentences
    assert sum(len(strings) for record in records for strings in (record.labels or {}).values()) == entities
    assert sum(not record.labels for record in records) == without
    assert {label for record in records for label in record.labels or {}} == {
        "NAME", "CONT", "RACE", "TITLE", "EDU", "PRO", "ORG", "LOC",
    }  # fmt: skip
    assert len(notes) == (part == "train")
    if notes:
        assert "left out of the labels: 4 (lines " in notes[0]
