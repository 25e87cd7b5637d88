"""Conversion to extraction records: what is written, what is refused, and that nothing is left behind."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from yuantune.data.convert import convert
from yuantune.data.readers import read_all
from yuantune.data.record import Record
from yuantune.data.writing import written_whole
from yuantune.errors import DataError, WorkFailed

TAGGED = "张 B-NAME\n三 E-NAME\n, O\n汉 B-RACE\n族 E-RACE\n\n他 O\n说 O\n\n李 S-NAME\n和 O\n李 S-NAME\n北 B-ORG\n\n"
NAMES = {"NAME": "姓名", "RACE": "种族"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "x.bmes"
    path.write_text(TAGGED, encoding="utf-8")
    return path


def left_behind(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.name != "x.bmes")


def test_jsonl(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    report = convert(source, target, names=NAMES)
    assert target.read_text(encoding="utf-8") == (
        '{"text": "张三,汉族", "labels": {"姓名": ["张三"], "种族": ["汉族"]}}\n'
        '{"text": "他说", "labels": {}}\n'
        '{"text": "李和李北", "labels": {"姓名": ["李", "李"]}}\n'
    )
    assert (report.target, report.rows, report.empty, report.entities) == (target, 3, 1, {"姓名": 3, "种族": 1})
    assert len(report.notes) == 1
    assert "left out of the labels: 1 (lines 13)" in report.notes[0]
    assert left_behind(tmp_path) == ["out.jsonl"]
    assert oct(target.stat().st_mode & 0o777) == oct(source.stat().st_mode & 0o777)
    assert [record.labels for record in read_all(target)] == [
        {"姓名": ["张三"], "种族": ["汉族"]}, {}, {"姓名": ["李", "李"]},
    ]  # fmt: skip


def test_the_tutorials_form_is_what_pandas_reads(source: Path, tmp_path: Path) -> None:
    import pandas

    def template(record: Record) -> tuple[str, str]:
        return f"# 当前简历\n{record.text}", json.dumps(record.labels, ensure_ascii=False)

    convert(source, tmp_path / "data.json", names=NAMES, template=template)
    frame = pandas.read_json(tmp_path / "data.json")
    assert list(frame.columns) == ["input", "output"]
    assert frame["input"][0] == "# 当前简历\n张三,汉族"
    assert frame["output"][0] == '{"姓名": ["张三"], "种族": ["汉族"]}'
    assert [record.output for record in read_all(tmp_path / "data.json")] == list(frame["output"])


def test_two_types_that_become_one_keep_the_texts_order(source: Path, tmp_path: Path) -> None:
    report = convert(source, tmp_path / "out.jsonl", names={"RACE": "X", "NAME": "X"})
    assert read_all(tmp_path / "out.jsonl")[0].labels == {"X": ["张三", "汉族"]}
    assert report.entities == {"X": 4}


def test_rows_without_annotation_are_left_out_with_a_note(tmp_path: Path) -> None:
    source = tmp_path / "x.jsonl"
    source.write_text('{"text": "a"}\n{"text": "b", "labels": {"X": ["b"]}}\n')
    report = convert(source, tmp_path / "out.jsonl")
    assert (report.rows, report.notes) == (1, (f"{source}: rows without annotation, left out: 1",))


@pytest.mark.parametrize(
    ("content", "options", "what"),
    [
        (TAGGED, {"names": {"NAEM": "姓名"}}, r"NAEM: no such type \(did you mean 'NAME'\?\)"),
        (TAGGED, {"names": {"NAME": ""}}, "renamed to nothing: NAME"),
        ("张 B-NAME\n三\n", {}, "expected a token"),
        ('{"text": "a"}\n', {"format": "jsonl"}, "none of 1 rows has labels"),
        ('{"input": "a", "output": "b"}\n', {"format": "jsonl"}, "rows that are no extraction records: 1"),
    ],
)
def test_refusals_leave_nothing(
    source: Path, tmp_path: Path, content: str, options: dict[str, object], what: str
) -> None:
    source.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=what):
        convert(source, tmp_path / "out.jsonl", **options)  # type: ignore[arg-type]
    assert left_behind(tmp_path) == []


def test_targets(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("mine")
    for bad, what in (
        (target, "exists already"),
        (tmp_path / "out.csv", "cannot write this kind of file"),
        (tmp_path / "no" / "out.jsonl", "does not exist"),
        (tmp_path, "cannot write this kind of file"),
    ):
        with pytest.raises(DataError, match=what):
            convert(source, bad)
    assert target.read_text() == "mine"
    # A failure leaves the old file, even where it was to be overwritten.
    with pytest.raises(DataError):
        convert(source, target, names={"X": "Y"}, overwrite=True)
    assert target.read_text() == "mine"
    convert(source, target, overwrite=True)
    assert len(read_all(target)) == 3
    # A file may even take its own place.
    convert(target, target, names=NAMES, overwrite=True)
    assert read_all(target)[0].labels == {"姓名": ["张三"], "种族": ["汉族"]}


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(WorkFailed, match="no space left on the disk; nothing was written"),
        written_whole(tmp_path / "x") as file,
    ):
        file.write(b"text")
    assert list(tmp_path.iterdir()) == []
