"""From files to records: formats, row shapes, streaming, and everything that can be wrong with a file."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.row_files import LINE, ROW, lines_of, problems_of, write
from yuantune.data import readers
from yuantune.data.fields import KNOWN
from yuantune.data.problems import Problems
from yuantune.data.readers import read, read_all
from yuantune.data.record import Record
from yuantune.errors import DataError

# ----------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("x.jsonl", f"{LINE}\n\n{LINE}\n", [1, 3]),
        ("x.jsonl", f"\ufeff{LINE}\r\n{LINE}", [1, 2]),
        ("x.ndjson", f"{LINE}\n{LINE}\n", [1, 2]),
        ("x.json", f"[{LINE},\n{LINE}]", [1, 2]),
        ("x.json", f"[\n  {LINE},\n\n  {LINE}\n]\n", [2, 4]),
        ("x.json", json.dumps([ROW, ROW], indent=1), [2, 13]),
        ("x.json", f'{{"version": 1, "data": [\n{LINE},\n{LINE}], "n": 2}}', [2, 3]),
        ("x.json", f"{LINE}\n{LINE}\n", [1, 2]),
        ("x.jsonl", f"[{LINE},\n{LINE}]", [1, 2]),
        ("x.JSON", f"[{LINE}, {LINE}]", [1, 1]),
        ("unnamed", f"{LINE}\n{LINE}\n", [1, 2]),
    ],
)
def test_json_in_all_its_forms(tmp_path: Path, name: str, content: str, lines: list[int]) -> None:
    path = write(tmp_path, name, content)
    records = read_all(path)
    assert [record.source.line for record in records] == lines
    assert {record.source.file for record in records} == {str(path)}
    assert all(record.text == ROW["text"] and record.labels == ROW["labels"] for record in records)
    for packed, pack in ((".gz", gzip.compress), (".xz", lzma.compress)):
        assert [r.labels for r in read(write(tmp_path, name + packed, pack(content.encode())))] == [
            ROW["labels"]
        ] * 2


def test_one_object_is_one_row(tmp_path: Path) -> None:
    assert [r.labels for r in read(write(tmp_path, "x.json", json.dumps(ROW, indent=2)))] == [ROW["labels"]]
    assert [r.labels for r in read(write(tmp_path, "y.json", LINE))] == [ROW["labels"]]


@pytest.mark.parametrize("orient", ["records", "columns", "list"])
def test_the_tutorials_file_as_pandas_reads_it(tmp_path: Path, orient: str) -> None:
    rows = [{"input": "# 当前简历\n张三", "output": '{"姓名": ["张三"]}'}, {"input": "b", "output": "{}"}]
    columns = {key: [row[key] for row in rows] for key in ("input", "output")}
    by_number = {key: {str(i): row[key] for i, row in enumerate(rows)} for key in ("input", "output")}
    document = {"records": rows, "columns": by_number, "list": columns}[orient]
    records = read_all(write(tmp_path, "data.json", json.dumps(document, ensure_ascii=False)))
    assert [(r.text, r.output, r.labels, r.instruction) for r in records] == [
        (row["input"], row["output"], None, "") for row in rows
    ]


@pytest.mark.parametrize(("name", "delimiter"), [("x.csv", ","), ("x.tsv", "\t")])
def test_tables(tmp_path: Path, name: str, delimiter: str) -> None:
    path = tmp_path / name
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.writer(file, delimiter=delimiter)
        table.writerow(["id", "text", "labels"])
        table.writerow([1, '他说"好",\n换行', json.dumps({"姓名": []}, ensure_ascii=False)])
        table.writerow([2, ROW["text"], json.dumps(ROW["labels"], ensure_ascii=False)])
        table.writerow([3, "abc", '[[0, 2, "X"]]'])
        table.writerow([4, "to be answered", ""])
    assert [(r.source.line, r.text, r.labels) for r in read(path)] == [
        (2, '他说"好",\n换行', {}),
        (4, ROW["text"], ROW["labels"]),
        (5, "abc", {"X": ["ab"]}),
        (6, "to be answered", None),
    ]


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "x.parquet"
    text = pyarrow.string()
    labels = pyarrow.array(
        [[("姓名", ["张三"]), ("种族", ["汉族"])], None], type=pyarrow.map_(text, pyarrow.list_(text))
    )
    pyarrow.parquet.write_table(pyarrow.table({"text": [ROW["text"], "b"], "labels": labels}), path)
    assert [(r.source.line, r.text, r.labels) for r in read(path)] == [
        (1, ROW["text"], ROW["labels"]),
        (2, "b", None),
    ]
    # A struct has every type in every row: absent ones are null. And labels may be JSON.
    for column in ([{"A": ["x"], "B": None}, {"A": None, "B": ["y"]}], ['{"A": ["x"]}', '{"B": ["y"]}']):
        pyarrow.parquet.write_table(pyarrow.table({"text": ["x", "y"], "labels": column}), path)
        assert [r.labels for r in read(path)] == [{"A": ["x"]}, {"B": ["y"]}]


@settings(deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "text": st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
                "labels": st.dictionaries(
                    st.text("AB姓名\"'", min_size=1), st.lists(st.text('xy三, \n"', min_size=1), min_size=1)
                ),
            }
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["json", "jsonl", "csv", "tsv"]),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], format: str
) -> None:
    path = tmp_path_factory.mktemp("rows") / f"x.{format}"
    if format == "json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif format == "jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter="," if format == "csv" else "\t")
            table.writerow(["text", "labels"])
            table.writerows([row["text"], json.dumps(row["labels"])] for row in rows)
    assert [{"text": record.text, "labels": record.labels} for record in read(path)] == rows


def test_folders_in_order_with_what_is_no_data_skipped(tmp_path: Path) -> None:
    write(tmp_path, "b.jsonl", '{"text": "2"}\n')
    write(tmp_path, "a.csv", "text\n1\n")
    write(tmp_path, "c.bmes.gz", gzip.compress(b"3 O\n"))
    write(tmp_path, "README.txt", "No row\n")
    write(tmp_path, "notes.md", "# No row\n")
    write(tmp_path, ".hidden.jsonl", "broken")
    (tmp_path / "more.jsonl").mkdir()
    assert [(record.source.file, record.text) for record in read(tmp_path)] == [
        (str(tmp_path / name), text) for name, text in [("a.csv", "1"), ("b.jsonl", "2"), ("c.bmes.gz", "3")]
    ]


def test_a_folder_of_plain_texts(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", "一\n二\n")
    assert [record.text for record in read(str(tmp_path))] == ["一", "二"]


def test_a_format_may_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "x.dat", "张 S-NAME\n")
    assert read_all(path)[0].labels == {"NAME": ["张"]}
    assert read_all(path, format="text")[0].text == "张 S-NAME"
    with pytest.raises(DataError, match=r"unknown format 'jsnol' \(did you mean 'jsonl'\?\)"):
        read(path, format="jsnol")
    with pytest.raises(DataError, match="cannot tell the format"):
        read(write(tmp_path, "y.dat", "what is this\n"))


# --------------------------------------------------------------------------------------- what can be wrong


def test_all_problems_come_at_once_behind_the_good_rows(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", f'{LINE}\nbroken\n{{"a": 1}}\n{LINE}\n')
    write(tmp_path, "b.json", f'[{LINE},\n{{"text": "a", "text": "b"}},\n{LINE},\n{LINE} oops]')
    write(tmp_path, "c.jsonl", "")
    write(tmp_path, "d.csv", "text,labels\n")
    write(tmp_path, "e.jsonl", "\n\n")
    good, problems, hint = problems_of(tmp_path)
    assert [(Path(r.source.file).name, r.source.line) for r in good] == [
        ("a.jsonl", 1), ("a.jsonl", 4), ("b.json", 1), ("b.json", 3), ("b.json", 4),
    ]  # fmt: skip
    assert [problem.where for problem in problems] == [
        f"{tmp_path}/{where}"
        for where in ("a.jsonl:2", "a.jsonl:3", "b.json:2", "b.json:4", "c.jsonl", "d.csv", "e.jsonl")
    ]
    assert [problem.what for problem in problems[-3:]] == [
        "the file is empty",
        "the file holds no rows",
        "the file holds no rows",
    ]
    assert "A row needs text" in hint


@pytest.mark.parametrize(
    ("document", "line"),
    [
        ("[", 1),
        ('[\n{"text": "a"},\n]', 3),
        ('{"data": [{"text": "a"}]\n"n": 1}', 2),
        ('{"data": [{"text": "a"}]}\n}', 2),
        ('[{"text": "a"}]\n]', 2),
        ('[{"text": "a"}\n{"text": "a"}]', 2),
        ('{"text":\n', 2),
    ],
)
def test_broken_documents(tmp_path: Path, document: str, line: int) -> None:
    _, problems, _ = problems_of(write(tmp_path, "x.json", document))
    assert lines_of(problems) == [line]
    assert "broken JSON at column" in problems[0].what


@pytest.mark.parametrize("encoding", ["gb18030", "gbk", "big5", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.json", "x.bmes"])
def test_wrong_encodings_are_named(tmp_path: Path, encoding: str, name: str) -> None:
    # Traditional characters that both families of encodings have.
    text = "張三畢業於北京大學,漢族,中國國籍,金融學碩士。" if encoding == "big5" else "张三毕业于北京大学,汉族。"
    row = json.dumps({"text": text}, ensure_ascii=False)
    content = {
        "x.jsonl": f'{{"text": "ascii"}}\n{row}\n{row}\n',
        "x.csv": f'id,text\n1,"{text}"\n2,"{text}"\n',
        "x.json": f"[\n{row}]",
        "x.bmes": "张 S-NAME\n三 O\n",
    }[name]
    if encoding == "big5" and name == "x.bmes":
        content = "張 S-NAME\n三 O\n"
    _, problems, hint = problems_of(write(tmp_path, name, content.encode(encoding)))
    expected = {"gbk": "GB18030", "utf-16-le": "UTF-16LE", "utf-16-be": "UTF-16BE"}.get(encoding, encoding.upper())
    assert len(problems) == 1
    assert f"{expected}" in problems[0].what
    assert f"iconv -f {expected} -t UTF-8 {name}" in hint
    if encoding in ("gb18030", "gbk", "big5") and name != "x.bmes":
        assert lines_of(problems) == [2]


def test_one_bad_byte_costs_one_line(tmp_path: Path) -> None:
    content = (
        f"{LINE}\n".encode()
        + b'{"text": "\xb5\xc4"}\n'
        + b'{"text": "\0"}\n'
        + LINE.encode()[:-40]
        + b"\xff\n"
        + f"{LINE}\n".encode()
    )
    good, problems, _ = problems_of(write(tmp_path, "x.jsonl", content))
    assert [record.source.line for record in good] == [1, 5]
    assert lines_of(problems) == [2, 3, 4]
    assert problems[0].what == "byte 0xb5 at byte 11 is not UTF-8"
    assert problems[1].what == "a NUL byte at byte 11 (is the file text?)"


def test_damaged_compression(tmp_path: Path) -> None:
    rows = "".join(f'{{"text": "{i * 7919 % 10007}"}}\n' for i in range(20_000)).encode()
    for suffix, pack in ((".gz", gzip.compress), (".xz", lzma.compress)):
        packed = pack(rows)
        good, problems, _ = problems_of(write(tmp_path, f"x.jsonl{suffix}", packed[: len(packed) // 2]))
        assert len(problems) == 1
        assert "cannot be read from here on" in problems[0].what
        assert lines_of(problems)[0] == len(good) + 1
        _, problems, _ = problems_of(write(tmp_path, f"y.jsonl{suffix}", b"not packed at all"))
        assert len(problems) == 1


@pytest.mark.parametrize(
    ("table", "line", "what"),
    [
        ("text,text\na,b\n", 1, "2 columns are named 'text'"),
        ("text;labels\na;b\n", 1, "one column, 'text;labels': the cells seem to be separated by a semicolon"),
        ("id,text\n1,a\n2,b,c\n", 3, "3 cells, the header has 2"),
        ("id,text\n1,a\n2\n", 3, "1 cells, the header has 2"),
        ('id,text\n1,a\n2,"b\nc\n', 3, "broken table row: unexpected end of data"),
        ('id,text\n1,a\n2,"b"c\n', 3, "broken table row"),
        ("text,labels\nb,\na,\"{'A': ['a']}\"\n", 3, "labels must be JSON in a table: "),
        ('text,labels\nb,\na,"{""A"": [1]}"\n', 3, "labels.A must list strings, found a number"),
        ("id,txt\n1,a\n", 2, "no text; fields found: id, txt (did you mean 'text'?)"),
    ],
)
def test_bad_tables(tmp_path: Path, table: str, line: int, what: str) -> None:
    _, problems, _ = problems_of(write(tmp_path, "x.csv", table))
    assert lines_of(problems) == [line]
    assert problems[0].what.startswith(what)


def test_not_parquet(tmp_path: Path) -> None:
    _, problems, _ = problems_of(write(tmp_path, "x.parquet", "text\n" * 100))
    assert "cannot be read as Parquet" in problems[0].what


def test_long_rows(tmp_path: Path) -> None:
    long = json.dumps({"text": "a" * 200})
    path = write(tmp_path, "x.jsonl", f'{{"text": "a"}}\n{long}\n{{"text": "b"}}\n')
    good, problems, _ = problems_of(path, limit_row_bytes=100)
    assert [record.source.line for record in good] == [1, 3]
    assert lines_of(problems) == [2]
    assert len(read_all(path, limit_row_bytes=1000)) == 3


def test_large_documents_are_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "DOCUMENT_BYTES", 1000)
    _, problems, hint = problems_of(write(tmp_path, "x.json", json.dumps([ROW] * 100, indent=1)))
    assert len(problems) == 1
    assert "JSONL" in hint


def test_reading_stops_where_everything_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yuantune.data.problems.MANY", 10)
    path = write(tmp_path, "x.jsonl", "broken\n" * 100)
    with pytest.raises(DataError, match="more than 10 problems; reading stopped there") as caught:
        read_all(path)
    assert len(caught.value.problems) == 10
    assert not Problems()


def test_missing_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "train.jsonl", LINE)
    with pytest.raises(DataError, match=r"no such file or folder \(did you mean 'train.jsonl'\?\)"):
        read(tmp_path / "trian.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no data files in this folder"):
        read(tmp_path / "empty")
    monkeypatch.chdir(tmp_path)
    for name in ("data/train.jsonl", "empty/train", "nothing", "a/b/c"):
        with pytest.raises(DataError, match="no such file or folder"):
            read(name)


@settings(deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(st.sampled_from('{}[]",:\n\t\\ abOBI-_1\0\ud83d'), max_size=60).map(
            lambda s: s.encode("utf-8", "replace")
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers(-1, 9) | st.text("ab", max_size=3),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KNOWN), inner, max_size=4),
            max_leaves=12,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.sampled_from(
        ["x.json", "x.jsonl", "x.csv", "x.tsv", "x.parquet", "x.bio", "x.txt", "x.gz", "x.jsonl.xz", "x"]
    ),
)
def test_no_content_raises_anything_but_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(content)
    try:
        records = read_all(path)
    except DataError as error:
        str(error).encode()
    else:
        assert records


# ----------------------------------------------------------------------------------------------- streaming


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet", "bio", "txt"])
def test_files_are_streamed(tmp_path: Path, format: str) -> None:
    count = 4000
    path = tmp_path / f"x.{format}"
    text = "a" * 1000
    if format == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"text": [text] * count}), path, row_group_size=500)
    else:
        first, line = {
            "jsonl": ("", f'{{"text": "{text}"}}\n'),
            "csv": ("id,text\n", f"1,{text}\n"),
            "bio": ("", f"{text} O\n\n"),
            "txt": ("", f"{text}\n"),
        }[format]
        path.write_text(first + line * count)
    list(islice(read(path), 2))  # Imports and caches are not what is measured.
    tracemalloc.start()
    rows: Iterator[Record] = read(path)
    assert sum(1 for _ in rows) == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_importing_is_cheap() -> None:
    code = (
        "import sys, yuantune.data.readers, yuantune.data.convert, yuantune.data.split, yuantune.data.get\n"
        "print({'torch', 'transformers', 'pandas', 'pyarrow', 'datasets', 'numpy'} & set(sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
    )
