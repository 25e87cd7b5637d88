"""`yuantune data`, as a person types it: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from yuantune.cli import main

TEXT = "张三,汉族,金融学硕士。"
ROW = {"text": TEXT, "labels": {"种族": ["汉族"], "姓名": ["张三"]}}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`run("data", "check", …)` in a folder of its own: exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["yuantune", "data", *arguments])
        code: int | str | None = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return int(code or 0), printed.out, printed.err

    return run_command


def write(path: str, *rows: object) -> str:
    Path(path).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_check_prints_totals_and_warnings(run: Run) -> None:
    data = write("d.jsonl", ROW, ROW, {"text": "李四。", "labels": {"姓名": ["王五"]}})
    code, out, err = run("check", data, "--template", "resume-ner")
    assert (code, err) == (0, "")
    assert "train total" in out and "characters a token" in out
    assert "d.jsonl:2: same as d.jsonl:1" in out
    assert "d.jsonl:3: 姓名: '王五' does not occur in the text" in out


def test_check_ends_with_2_and_names_every_row(run: Run) -> None:
    data = write("d.jsonl", ROW, {"text": "李四。", "labels": {"名姓": ["李四"]}}, {"text": "无"})
    code, _, err = run("check", data, "--template", "resume-ner", "--max-length", "50")
    assert code == 2
    assert "error: 4 problems in the training data" in err
    assert "d.jsonl:1: " in err and "more than max_length 50" in err
    assert "unknown label type '名姓' (did you mean '姓名'?)" in err
    assert "d.jsonl:3: no answer" in err and "hint: " in err


def test_check_names_the_problems_of_both_sets_and_few_of_a_kind(run: Run) -> None:
    data = write("d.jsonl", ROW, *({"text": f"第{n}行", "labels": {"名姓": []} | {"名": ["行"]}} for n in range(9)))
    evaluation = write("e.jsonl", {"text": "李四。", "labels": {"人": ["李四"]}})
    code, out, err = run("check", data, "--eval", evaluation, "--template", "resume-ner")
    assert code == 2
    assert out.startswith("template: resume-ner\n")
    assert "error: 9 problems in the training data, 1 problem in the evaluation data" in err
    assert err.count("unknown label type '名'") == 5 and "… and 4 more like these" in err
    assert "e.jsonl:1: unknown label type '人'" in err
    code, out, _ = run("check", write("a.jsonl", ROW))
    assert (code, out.splitlines()[0]) == (0, "template: extract, chosen by the rows' shape")


def test_rows_of_one_line_are_told_apart(run: Run) -> None:
    Path("d.json").write_text(json.dumps([ROW, ROW, {"text": 3}]), encoding="utf-8")
    code, out, err = run("check", "d.json")
    assert code == 2
    assert "d.json:1, row 2: same as d.json:1, row 1" in out
    assert "d.json:1, row 3: text must be a string" in err


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("text,label\n很好,正面\n", "Name the columns input and output"),
        ("text,姓名\n张三来了,张三\n", "Answers are read from labels"),
        ("评论,情感\n很好,正面\n", "A row needs text"),
    ],
)
def test_a_table_of_another_layout_is_told_which_columns_count(run: Run, table: str, expected: str) -> None:
    Path("d.csv").write_text(table, encoding="utf-8")
    code, _, err = run("check", "d.csv")
    assert code == 2 and expected in err
    assert all(line.startswith(("error:", "  ", "hint: ")) for line in err.splitlines())


def test_a_place_that_cannot_be_written_to(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write("d.jsonl", ROW, {"text": "x", "labels": {}})
    Path("file").write_text("mine")
    commands = (
        ("convert", "d.jsonl", "file/out.jsonl"),
        ("convert", "d.jsonl", f"{'x' * 300}.jsonl"),
        ("split", "d.jsonl", "--to", "file"),
        ("split", "d.jsonl", "--to", "file/parts"),
        ("get", "resumener", "--accept", "--to", "file/resumener"),
    )
    for arguments in commands:
        code, _, err = run(*arguments)
        assert code == 2 and ("is a file" in err or "too long" in err), err
    monkeypatch.setattr("os.access", lambda path, mode: False)
    for arguments in (("convert", "d.jsonl", "out.jsonl"), ("split", "d.jsonl", "--to", "parts")):
        code, _, err = run(*arguments)
        assert code == 2 and "may not be written to" in err
    assert sorted(path.name for path in Path().iterdir()) == ["d.jsonl", "file"]


def test_check_as_json(run: Run) -> None:
    data = write("d.jsonl", ROW, {"text": "李四。", "labels": {}})
    evaluation = write("e.jsonl", {"text": TEXT, "labels": {"种族": ["汉族"]}})
    code, out, _ = run("check", data, "--eval", evaluation, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["framing"]["prompt_end"] == "<sep>"
    assert found["train"]["template"] == "extract" and found["train"]["tokens"]["total"]["max"] > 0
    assert found["eval"]["counts"] == {"overlap": 1}
    broken = Path("b.jsonl")
    broken.write_text(json.dumps(ROW, ensure_ascii=False) + "\n{\n", encoding="utf-8")
    code, out, err = run("check", "b.jsonl", "--json")
    assert code == 2 and "b.jsonl:2" in err
    assert json.loads(out)["train"]["counts"] == {"unreadable": 1}


def test_show_previews_the_prompt(run: Run) -> None:
    code, out, _ = run("show", write("d.jsonl", ROW), "--template", "resume-ner")
    assert code == 0
    assert f"# 当前简历\n{TEXT}\n\n# 任务重述" in out and "返回结果。<sep>" in out
    assert '{"姓名": ["张三"], "种族": ["汉族"]}' in out
    code, out, _ = run("show", write("e.jsonl", {"text": TEXT}), "--row", "1")
    assert code == 0 and "no answer" in out


def test_show_a_row_decodes_its_ids(run: Run) -> None:
    data = write("d.jsonl", {"text": "无", "labels": {}}, ROW)
    code, out, err = run("show", data, "--template", "resume-ner", "--row", "2")
    assert code == 0 and "d.jsonl:2: " in err
    masked, supervised = out.split("── supervised, ")
    assert masked.startswith("── masked, ") and masked.endswith("返回结果。<sep>\n")
    assert supervised.endswith('tokens ──\n{"姓名": ["张三"], "种族": ["汉族"]}<eod>\n')
    code, _, err = run("show", data, "--row", "3")
    assert code == 2 and "no row 3: it has 2" in err


BMES = "张 B-NAME\n三 E-NAME\n, O\n汉 B-RACE\n族 E-RACE\n\n"


def test_convert_to_records_and_to_the_tutorials_rows(run: Run) -> None:
    Path("t.bmes").write_text(BMES, encoding="utf-8")
    code, _, err = run("convert", "t.bmes", "r.jsonl", "--names", "NAME=姓名, RACE=种族")
    assert code == 0 and "wrote 1 rows to r.jsonl" in err
    assert json.loads(Path("r.jsonl").read_text()) == {
        "text": "张三,汉族",
        "labels": {"姓名": ["张三"], "种族": ["汉族"]},
    }
    code, _, _ = run("convert", "t.bmes", "data.json", "--as", "tutorial")
    (row,) = json.loads(Path("data.json").read_text())
    assert code == 0 and row["output"] == '{"姓名": ["张三"], "种族": ["汉族"]}'
    assert row["input"].startswith("# 任务描述\n") and "# 当前简历\n张三,汉族\n\n# 任务重述" in row["input"]
    code, _, _ = run("convert", "t.bmes", "c.jsonl", "--template", "resume-ner")
    assert code == 0 and Path("c.jsonl").read_text() == Path("r.jsonl").read_text()
    # Both say the same to the model.
    lengths = []
    for data, template in (("r.jsonl", "resume-ner"), ("data.json", "plain")):
        code, out, _ = run("check", data, "--template", template, "--json")
        lengths.append(json.loads(out)["train"]["tokens"])
    assert lengths[0] == lengths[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "t.bmes", "there.jsonl"], "there.jsonl"),
        (["convert", "t.bmes", "n.jsonl", "--names", "NAME"], "write CODE=TYPE"),
        (["convert", "t.bmes", "n.jsonl", "--names", "NMAE=姓名"], "did you mean 'NAME'?"),
        (
            ["convert", "t.bmes", "n.jsonl", "--names", "NAME=人", "--template", "resume-ner"],
            "no such type or code",
        ),
        (["convert", "t.bmes", "n.jsonl", "--as", "tutorail"], "tutorail"),
        (["check", "missing.jsonl"], "missing.jsonl"),
        (["check", "there.jsonl", "--template", "extrat"], "did you mean 'extract'?"),
        (["check", "there.jsonl", "--model", "./nowhere"], "nowhere"),
        (["split", "there.jsonl", "--fraction", "2"], "between 0 and 1"),
        (["get", "resumenr"], "did you mean 'resumener'?"),
        (["get", "resumener"], "--accept"),
    ],
)
def test_mistakes_end_with_2_and_write_nothing(run: Run, arguments: list[str], message: str) -> None:
    Path("t.bmes").write_text(BMES, encoding="utf-8")
    write("there.jsonl", ROW, {"text": "x", "labels": {}}, {"text": "y", "labels": {}})
    before = {path: path.read_bytes() for path in Path().iterdir()}
    code, _, err = run(*arguments)
    assert code == 2 and message in err
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_split_writes_two_files_that_read_back(run: Run) -> None:
    rows = [ROW, {"input": "a", "output": "b"}, {"instruction": "i", "input": "c", "output": "d"}]
    rows.append({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})
    code, _, err = run("split", write("d.jsonl", *rows), "--count", "1", "--to", "parts")
    assert code == 0 and "wrote 3 rows to parts/train.jsonl" in err
    lines = [line for name in ("train", "eval") for line in Path(f"parts/{name}.jsonl").read_text().splitlines()]
    assert sorted(lines) == sorted(json.dumps(row, ensure_ascii=False) for row in rows)
    code, _, err = run("split", "d.jsonl", "--count", "1", "--to", "parts")
    assert code == 2 and "parts/train.jsonl" in err


def test_help_answers(run: Run) -> None:
    for command in ("check", "show", "convert", "split", "get"):
        code, out, _ = run(command, "--help")
        assert code == 0 and command in out
