"""The commands as a person meets them: output, exit codes, and errors without a traceback."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import yuantune
from tests.conftest import ROWS
from yuantune import Prediction, Record
from yuantune.cli import main


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run a command in this process: exit code, stdout, stderr."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["yuantune", *map(str, words)])
        patch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
    captured = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), captured.out, captured.err


@pytest.fixture
def config_file(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> Path:
    """A config that trains in a second; its run folder is `run` beside it."""
    path = tmp_path / "config.yaml"
    path.write_text(
        f"""
output_dir: {tmp_path / "run"}
template: resume-ner
model: {{name: {yuan_folder}, device_map: cpu}}
data: {{train: {rows_file}, eval: {rows_file}}}
lora: {{r: 2}}
train: {{per_device_train_batch_size: 3, num_train_epochs: 1, learning_rate: 1e-2}}
generate: {{max_new_tokens: 6}}
""",
        encoding="utf-8",
    )
    return path


def test_train_then_generate(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, config_file: Path, rows_file: Path
) -> None:
    code, out, err = run(capsys, "train", config_file)
    assert (code, out) == (0, "")
    assert "trainable params:" in err
    assert "yuantune generate" in err

    code, out, err = run(capsys, "generate", tmp_path / "run", "--text", "张三", "--text", "李四", "--raw")
    assert code == 0
    assert len(out.splitlines()) >= 2

    answers = tmp_path / "answers.jsonl"
    code, out, err = run(capsys, "generate", tmp_path / "run", "--input", rows_file, "--output", answers)
    assert (code, out) == (0, "")
    rows = [json.loads(line) for line in answers.read_text("utf-8").splitlines()]
    assert [row["source"] for row in rows] == [f"{rows_file}:{n}" for n in range(1, 7)]
    assert all(row["answer_tokens"] <= 6 for row in rows)

    # What is there is never written over.
    assert run(capsys, "generate", tmp_path / "run", "--input", rows_file, "--output", answers)[0] == 2
    code, _, err = run(capsys, "train", config_file)
    assert code == 2
    assert "already exists" in err
    assert "--resume" in err
    code, _, err = run(capsys, "train", tmp_path / "run")
    assert code == 2
    code, _, err = run(capsys, "train", tmp_path / "run", "--resume")
    assert code == 0
    assert f"{tmp_path / 'run'} is already finished: 2 steps" in err and "loss, first to last" not in err


def test_quickstart_splits_trains_and_scores(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, yuan_folder: Path, rows_file: Path
) -> None:
    settings = ["data.split=2", "train.max_steps=2", "generate.max_new_tokens=4", "model.device_map=cpu"]
    sets = [word for setting in settings for word in ("--set", setting)]
    code, _, err = run(
        capsys, "quickstart", rows_file, "--model", yuan_folder, "--output-dir", tmp_path / "q", *sets
    )
    assert code == 0, err
    assert "F1" in err
    scores = json.loads((tmp_path / "q" / "eval" / "heldout" / "scores.json").read_text("utf-8"))
    assert scores["rows"] == 2
    assert {"micro", "macro", "per_type", "span", "valid", "schema", "grounded", "exact"} <= scores.keys()
    assert scores["valid"] == scores["schema"] == scores["grounded"] == 1 and scores["cut_short"] == 2
    rows = (tmp_path / "q" / "eval" / "heldout" / "predictions.jsonl").read_text("utf-8").splitlines()
    gold = dict(ROWS)
    assert all(json.loads(row)["gold"] == gold[json.loads(row)["text"]] for row in rows)
    assert "template: extract, chosen by the rows' shape" in err
    assert "2 of 2 answers were cut short at 4 tokens" in err
    card = json.loads((tmp_path / "q" / "yuantune.json").read_text("utf-8"))
    assert card["template"]["name"] == "extract"  # chosen by the records' shape
    assert "组织名" in card["template"]["labels"]


def test_quickstart_on_the_tutorials_own_rows_scores_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, yuan_folder: Path
) -> None:
    """Whole prompts and answers as text: the answers are labels all the same."""
    rows = [{"input": f"识别: {text}", "output": json.dumps(labels, ensure_ascii=False)} for text, labels in ROWS]
    code, err, folder = quickstart(capsys, tmp_path, yuan_folder, rows)
    assert code == 0, err
    scores = json.loads((folder / "eval" / "heldout" / "scores.json").read_text("utf-8"))
    assert scores["rows"] == 2
    assert scores["micro"]["gold"] > 0


@pytest.mark.parametrize("shape", ["instruction", "chat"])
def test_quickstart_on_free_text(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, yuan_folder: Path, shape: str
) -> None:
    """Scored as text; the run answers its own kind of records, and plain texts."""
    rows: list[dict[str, object]] = []
    for number in range(6):
        question, answer = f"第{number}个问题", f"第{number}个回答"
        if shape == "chat":
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            rows.append({"messages": [*turns, *turns]})
        else:
            rows.append({"instruction": "回答", "input": question, "output": answer})
    code, err, folder = quickstart(capsys, tmp_path, yuan_folder, rows)
    assert code == 0, err
    assert all(name in err for name in ("exact match", "ROUGE-L", "token accuracy", "perplexity"))
    predictions = (folder / "eval" / "heldout" / "predictions.jsonl").read_text("utf-8").splitlines()
    assert len(predictions) == 2
    assert all(json.loads(line)["gold"].endswith("个回答") for line in predictions)
    scores = json.loads((folder / "eval" / "heldout" / "scores.json").read_text("utf-8"))
    assert scores["rows"] == 2 and 0 <= scores["rouge_l"] <= 1
    assert 0 <= scores["token_accuracy"] <= 1 and scores["perplexity"] > 1 and scores["answer_tokens"] > 2
    code, out, err = run(capsys, "generate", folder, "--input", tmp_path / "rows.jsonl", "--batch-size", "4")
    assert (code, len(out.splitlines())) == (0, 6), err
    assert run(capsys, "generate", folder, "--text", "你好")[0] == 0


def quickstart(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path, rows: list[dict[str, object]]
) -> tuple[int, str, Path]:
    """Two steps on four rows, two are held out. Returns exit code, stderr and the run folder."""
    path, folder = tmp_path / "rows.jsonl", tmp_path / "[q] :x:"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    settings = ["data.split=2", "train.max_steps=2", "generate.max_new_tokens=4", "model.device_map=cpu"]
    sets = [word for setting in settings for word in ("--set", setting)]
    code, _, err = run(capsys, "quickstart", path, "--model", model, "--output-dir", folder, *sets)
    assert code or f"yuantune generate {shlex.quote(str(folder))} " in err
    return code, err, folder


def test_text_is_printed_as_it_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither markup nor emoji codes in a text mean anything."""
    from yuantune.infer import opening

    class Echo:
        max_new_tokens = 1

        def set(self, **options: Any) -> None:
            pass

        def predict(self, records: list[Record], on_answer: Callable[[Prediction], None]) -> list[Prediction]:
            answers = [Prediction(r.source, r.text, r.text, None, True, 1, 1, 0.0) for r in records]
            for answer in answers:
                on_answer(answer)
            return answers

    monkeypatch.setattr(opening, "load", lambda run, model, device_map: Echo())
    odd = ":x: [bold]a[/] [/nothing]"
    code, out, _ = run(capsys, "generate", "run", "--text", odd)
    assert (code, out) == (0, odd + "\n")
    file = tmp_path / "[a].jsonl"
    code, out, err = run(capsys, "generate", "run", "--text", odd, "--output", file)
    assert (code, out) == (0, "")
    assert f"wrote 1 answers to {file}" in err
    assert json.loads(file.read_text("utf-8"))["raw"] == odd


@pytest.fixture
def trained(capsys: pytest.CaptureFixture[str], tmp_path: Path, config_file: Path) -> Path:
    """A run of two steps."""
    assert run(capsys, "train", config_file)[0] == 0
    return tmp_path / "run"


def stopped_after(monkeypatch: pytest.MonkeyPatch, answers: int) -> None:
    """Ctrl-C when so many answers have come."""
    from yuantune.infer import extractor

    whole = extractor.answer

    def answer(*args: Any, **more: Any) -> Iterator[Any]:
        for number, each in enumerate(whole(*args, **more)):
            if number == answers:
                raise KeyboardInterrupt
            yield each

    monkeypatch.setattr(extractor, "answer", answer)


def test_answers_survive_ctrl_c(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    trained: Path,
    rows_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["generate", trained, "--input", rows_file, "--output", tmp_path / "a.jsonl"]
    partial = tmp_path / "a.jsonl.partial"
    stopped_after(monkeypatch, 0)
    code, _, err = run(capsys, *words)
    assert (code, "stopped by Ctrl-C: 0 of 6 answers are there\n" in err) == (130, True)
    assert not partial.exists()
    monkeypatch.undo()
    stopped_after(monkeypatch, 4)
    code, _, err = run(capsys, *words)
    assert code == 130
    assert f"stopped by Ctrl-C: 4 of 6 answers are there, in {partial}" in err
    assert not (tmp_path / "a.jsonl").exists()
    kept = [json.loads(line) for line in partial.read_text("utf-8").splitlines()]
    assert len({row["source"] for row in kept}) == 4
    monkeypatch.undo()
    # They are not written over; and the whole has every row that the part had.
    code, _, err = run(capsys, *words)
    assert (code, "holds the answers of a command that was stopped" in err) == (2, True)
    partial.unlink()
    code, _, err = run(capsys, *words)
    assert code == 0
    assert "wrote 6 answers" in err and "6 of 6 answers were cut short at 6 tokens" in err
    assert "F1" in err  # The rows have labels.
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()]
    assert {(row["source"], row["raw"]) for row in kept} <= {(row["source"], row["raw"]) for row in rows}
    assert [row["finished"] for row in rows] == [False] * 6
    assert not partial.exists()


def test_rows_that_cannot_be_answered_are_named_before_the_first_answer(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yuantune.infer import extractor

    chat = {"messages": [{"role": "user", "content": "你好"}]}
    rows: list[dict[str, object]] = [{"text": "张三"}, chat, {"text": "长" * 1100}, chat]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    monkeypatch.setattr(extractor, "answer", lambda *_, **__: pytest.fail("answering"))
    code, out, err = run(capsys, "generate", trained, "--input", path, "--output", tmp_path / "a.jsonl")
    assert (code, out) == (2, "")
    assert "2 of 4 rows cannot be answered" in err  # What is too long is answered in windows.
    assert f"{path}:2: a conversation does not fit" in err and f"{path}:4: " in err
    assert sorted(file.name for file in tmp_path.glob("a.jsonl*")) == []


def test_raw_is_refused_where_it_would_do_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words in (["--input", "rows.jsonl"], ["--text", "a", "--output", tmp_path / "a.jsonl"]):
        code, _, err = run(capsys, "generate", "nowhere", "--raw", *words)
        assert (code, "has it under raw" in err) == (2, True)


def test_damaged_results_are_named_with_the_way_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path
) -> None:
    weights = trained / "adapter" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    code, _, err = run(capsys, "generate", trained, "--text", "a")
    assert code == 2
    assert f"{weights}: the file is cut short" in err and "damaged or incomplete" in err
    assert f"`yuantune generate {trained / 'checkpoint-2'} …`" in err
    assert run(capsys, "generate", trained / "checkpoint-2", "--text", "a")[0] == 0
    weights.write_bytes(whole)
    settings = trained / "adapter" / "adapter_config.json"
    settings.write_text("{", "utf-8")
    code, _, err = run(capsys, "generate", trained, "--text", "a")
    assert (code, "damaged or incomplete: " in err) == (2, True)
    for content in ("{}", '{"method": "lora"', "[]"):
        (trained / "yuantune.json").write_text(content, "utf-8")
        code, _, err = run(capsys, "generate", trained, "--text", "a")
        assert code == 2
        assert f"{trained / 'yuantune.json'} is damaged: " in err
        assert f"cp {trained / 'adapter' / 'yuantune.json'} " in err


def test_a_damaged_checkpoint_is_named_and_the_one_before_resumed_from(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, config_file: Path
) -> None:
    twice = ["train", config_file, "--set", "train.num_train_epochs=2"]
    assert run(capsys, *twice)[0] == 0
    home = tmp_path / "run"
    newest, weights = home / "checkpoint-4", home / "adapter" / "adapter_model.safetensors"
    ending = weights.read_bytes()
    content = bytearray((newest / "optimizer.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (newest / "optimizer.pt").write_bytes(content)
    (home / "checkpoint-9").mkdir()
    (home / ".tmp" / "checkpoint-3").mkdir(parents=True)
    weights.unlink()
    code, out, err = run(capsys, "verify", home)
    assert code == 1 and "checkpoint-2: whole (" in out and "adapter: not whole: " in out
    code, _, err = run(capsys, "train", home, "--resume")
    assert code == 0, err
    assert f"note: {home / 'checkpoint-9'} has no COMPLETE.json: " in err
    assert f"note: {newest / 'optimizer.pt'} is damaged: its content is not what was written" in err
    assert "note: the run goes on from checkpoint-2" in err
    assert weights.read_bytes() == ending
    (home / "checkpoint-9").rmdir()
    code, out, _ = run(capsys, "verify", home)
    assert code == 0 and [line.partition(":")[0] for line in out.splitlines()] == [
        "checkpoint-2", "checkpoint-4", "adapter",
    ]  # fmt: skip
    assert not any(path.name.startswith(".") for path in home.iterdir())
    for checkpoint in (home / "checkpoint-2", newest):
        (checkpoint / "optimizer.pt").unlink()
    code, _, err = run(capsys, "train", home, "--resume")
    assert code == 2
    assert "holds no whole checkpoint" in err
    assert all(f"{path / 'optimizer.pt'}: is missing" in err for path in (home / "checkpoint-2", newest))


def test_two_processes_do_not_write_to_one_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, config_file: Path
) -> None:
    from yuantune.train.lock import RunLock

    home = tmp_path / "run"
    home.mkdir()
    with RunLock(home) as lock:
        lock.take()
        code, _, err = run(capsys, "train", config_file)
        assert code == 2
        assert "is writing to" in err and "hint: " in err
        assert [path.name for path in home.iterdir()] == [".lock"]
    assert run(capsys, "train", config_file)[0] == 0
    log = (home / "log.jsonl").read_bytes()
    with RunLock(home) as lock:
        lock.take()
        code, _, err = run(capsys, "train", home, "--resume")
        assert code == 2
        assert "is writing to" in err and "Traceback" not in err
    assert (home / "log.jsonl").read_bytes() == log
    assert run(capsys, "train", home, "--resume")[0] == 0


def test_a_run_is_resumed_from_another_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, yuan_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its data, template and model were named from where it began."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copytree(yuan_folder, home / "model")
    lines = [json.dumps({"text": text, "labels": labels}, ensure_ascii=False) + "\n" for text, labels in ROWS]
    (home / "rows.jsonl").write_text("".join(lines), "utf-8")
    (home / "mine.yaml").write_text('prompt: "找 {labels}: {text}"\n', "utf-8")
    (home / "c.yaml").write_text(
        "output_dir: run\ntemplate: mine.yaml\nmodel: {name: model, device_map: cpu}\n"
        "data: {train: rows.jsonl, eval: [rows.jsonl]}\ntrain: {max_steps: 1}\n",
        "utf-8",
    )
    monkeypatch.chdir(home)
    assert run(capsys, "train", "c.yaml")[0] == 0
    assert run(capsys, "train", "c.yaml", "--resume")[0] == 0
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "train", home / "run", "--resume", "--set", "train.max_steps=2")
    assert code == 0, err
    assert (home / "run" / "checkpoint-2").is_dir()


def test_ctrl_c_says_what_happened(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    config_file: Path,
    rows_file: Path,
    yuan_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("yuantune.train.run.prepare_data", stop)
        code, _, err = run(capsys, "train", config_file)
        assert (code, err) == (130, "error: stopped by Ctrl-C before the first step; nothing was written\n")
        patch.setattr("yuantune.data.readers.read_all", stop)
        code, _, err = run(capsys, "data", "split", rows_file, "--to", tmp_path / "parts")
        assert (code, err) == (130, "error: stopped by Ctrl-C\n")
    settings = ["data.split=2", "train.max_steps=1", "generate.max_new_tokens=4", "model.device_map=cpu"]
    sets = [word for setting in settings for word in ("--set", setting)]
    folder = tmp_path / "q"
    with monkeypatch.context() as patch:
        stopped_after(patch, 1)
        code, _, err = run(capsys, "quickstart", rows_file, "--model", yuan_folder, "--output-dir", folder, *sets)
    assert code == 130
    assert f"the run itself is finished: {folder}" in err
    hint = next(line for line in err.splitlines() if line.startswith("hint: "))
    words = shlex.split(hint.split("`")[1])[1:]
    assert words[:3] == ["generate", str(folder), "--input"]
    words[-1] = str(tmp_path / words[-1])
    code, _, err = run(capsys, *words)
    assert (code, "F1" in err) == (0, True), err


def test_quickstart_takes_a_new_folder_each_time(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    yuan_folder: Path,
    rows_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["data.split=2", "train.max_steps=1", "generate.max_new_tokens=1", "model.device_map=cpu"]
    sets = [word for setting in settings for word in ("--set", setting)]
    for _ in range(2):
        code, _, err = run(capsys, "quickstart", rows_file, "--model", yuan_folder, *sets)
        assert code == 0, err
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["quickstart-1", "quickstart-2"]


def test_a_run_folder_is_no_base_model(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path, rows_file: Path
) -> None:
    for folder in (trained, trained / "adapter"):
        code, _, err = run(capsys, "quickstart", rows_file, "--model", folder, "--output-dir", tmp_path / "q")
        assert code == 2
        assert "this is a trained adapter; the model that it belongs to is" in err
    shutil.rmtree(trained / "adapter")
    (trained / "model").mkdir()
    (trained / "model" / "config.json").write_text("{}", "utf-8")
    code, _, err = run(capsys, "model", "show", trained)
    assert (code, f"the model that it trained is {trained / 'model'}" in err) == (2, True)


def test_demo_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The whole demo with two training steps: base scored, trained, scored, the tutorial's question answered."""
    quick = ["train.max_steps=2", "generate.max_new_tokens=2", "train.per_device_train_batch_size=2"]
    sets = [word for setting in quick for word in ("--set", setting)]
    code, out, err = run(capsys, "demo", "--output-dir", tmp_path / "demo", *sets)
    assert code == 0
    assert "张三,汉族,金融学硕士。" in err
    assert "before" in err
    assert "after" in err
    assert out.strip()
    assert (tmp_path / "demo" / "adapter" / "adapter_model.safetensors").is_file()


def test_init_env_and_version(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    assert run(capsys, "init", path, "--data", "rows.jsonl", "--model", "yuan2-mini")[0] == 0
    config = yuantune.load_config(path)
    assert config.data.train[0].path == "rows.jsonl"
    assert run(capsys, "init", path)[0] == 2
    assert "next: `yuantune train" in run(capsys, "init", path, "--data", "rows.jsonl", "--force")[2]
    spaced = tmp_path / "a b.yaml"
    assert f"next: edit data.train in it, then `yuantune train '{spaced}'`" in run(capsys, "init", spaced)[2]
    code, out, _ = run(capsys, "env", "--json")
    assert code == 0
    assert json.loads(out)["yuantune"] == yuantune.__version__
    assert run(capsys, "--version")[1].strip() == f"yuantune {yuantune.__version__}"


def _broken(tmp_path: Path, rows_file: Path, yuan_folder: Path, what: str) -> list[str]:
    """Settings that make the config wrong in one way."""
    if what == "missing file":
        return [f"data.train={tmp_path / 'none.jsonl'}"]
    if what == "broken JSON":
        rows_file.write_text('{"text": "a", "labels": {}}\n{"text": "b", \n', encoding="utf-8")
    if what == "wrong encoding":
        rows_file.write_bytes('{"text": "张三是一位工程师", "labels": {}}\n'.encode("gb18030"))
    if what == "unknown option":
        return ["train.learning_rat=1"]
    if what == "unknown template":
        return ["template=resume_ner"]
    if what == "label outside the schema":
        rows_file.write_text('{"text": "张三", "labels": {"名字": ["张三"]}}\n', encoding="utf-8")
    if what == "no weights":
        model = tmp_path / "model"
        shutil.copytree(yuan_folder, model)
        (model / "model.safetensors").unlink()
        return [f"model.name={model}"]
    if what == "missing tokens":
        return ['template={prompt: "{text}", prompt_end: "<none>", labels: [姓名]}']
    if what == "run folder exists":
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "mine.txt").write_text("keep", encoding="utf-8")
    if what == "not a value":
        return ["train.seed=many"]
    return []


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("missing file", "none.jsonl"),
        ("broken JSON", "rows.jsonl:2"),
        ("wrong encoding", "GB18030"),
        ("unknown option", "did you mean 'train.learning_rate'"),
        ("unknown template", "did you mean 'resume-ner'"),
        ("label outside the schema", "rows.jsonl:1: unknown label type '名字'"),
        ("no weights", "weights"),
        ("missing tokens", "<none>"),
        ("no disk space", "not enough disk space"),
        ("run folder exists", "already exists"),
        ("not a value", "--set train.seed=many"),
    ],
)
def test_bad_input(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    config_file: Path,
    rows_file: Path,
    yuan_folder: Path,
    what: str,
    expected: str,
) -> None:
    settings = _broken(tmp_path, rows_file, yuan_folder, what)
    if what == "no disk space":
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(
        capsys, "train", config_file, *[word for setting in settings for word in ("--set", setting)]
    )
    assert (code, out) == (2, "")
    assert expected in err
    assert err.startswith(("error:", "note:", "train:")) or "error:" in err
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "nowhere", "--text", "a"],
        ["generate", "nowhere"],
        ["generate", "nowhere", "--text", "a", "--input", "b"],
        ["train", "none.yaml"],
        ["quickstart", "none.jsonl"],
        ["trian"],
        ["train"],
        ["bench", "train", "--recipes", "none"],
        ["bench", "train", "--data", "none.jsonl"],
        ["bench", "train", "--dtype", "float23"],
        ["bench", "train", "--batch-size", "1000"],
        ["bench", "curve", "--data", "none.jsonl"],
        ["bench", "curve", "--batch-size", "1000"],
        ["bench", "curve", "--dtype", "float64"],
        ["generate", "nowhere", "--text", b"\xd5\xc5".decode("utf-8", "surrogateescape")],
        ["init", "--data", b"\xd5\xc5".decode("utf-8", "surrogateescape")],
    ],
)
def test_bad_usage(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *words)
    assert code == 2
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    for words, expected in (
        (["generate", "nowhere", "--text", "a", "--output", tmp_path / "no" / "a.jsonl"], "does not exist"),
        (["generate", "nowhere", "--text", "a", "--output", tmp_path], "is a folder"),
        (["init", file / "new.yaml"], "is a file"),
        (["init", tmp_path / f"{'x' * 300}.yaml"], "too long"),
        (["model", "get", "yuan2-mini", "--to", file], "is a file"),
        (["model", "get", "yuan2-mini", "--to", file / "model"], "is a file"),
        (["model", "get", "yuan2-mini", "--to", tmp_path], "is already there"),
        (["generate", "nowhere", "--text", "a", "--output", file / "a.jsonl"], "is a file"),
        (["demo", "--output-dir", file / "demo"], "is a file"),
        (["demo", "--output-dir", tmp_path], "already exists"),
    ):
        code, _, err = run(capsys, *words)
        assert (code, expected in err) == (2, True), err
        assert "answering" not in err
    monkeypatch.setattr("os.access", lambda path, mode: False)
    for words in (
        ["generate", "nowhere", "--text", "a", "--output", tmp_path / "a.jsonl"],
        ["model", "get", "yuan2-mini", "--to", tmp_path / "model"],
        ["init", tmp_path / "new.yaml"],
        ["demo", "--output-dir", tmp_path / "demo"],
    ):
        code, _, err = run(capsys, *words)
        assert (code, "may not be written to" in err) == (2, True), err
    assert list(tmp_path.iterdir()) == [file]


def test_import_is_cheap() -> None:
    code = "import sys, yuantune, yuantune.cli; sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names() -> None:
    assert sorted(yuantune.__all__) == yuantune.__all__
    assert set(yuantune.__all__) == set(yuantune._HOME)
    for name in yuantune.__all__:
        assert getattr(yuantune, name) is not None
    with pytest.raises(AttributeError, match="nope"):
        _ = yuantune.nope


def test_extract(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yuantune.infer import extractor

    chat = {"messages": [{"role": "user", "content": "你好"}]}
    texts = [row[0] for row in ROWS]
    rows: list[dict[str, object]] = [*({"text": text} for text in texts), chat]
    path, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + "{broken\n", "utf-8")
    words = ["extract", trained, "--input", path, "--output", output, "--max-new-tokens", 6]
    answer = extractor.answer

    def stopped(*args: Any, **options: Any) -> Any:
        for each in answer(*args, **options):
            yield each
            raise KeyboardInterrupt

    monkeypatch.setattr(extractor, "answer", stopped)
    code, _, err = run(capsys, *words)
    assert (code, "the same command goes on" in err) == (130, True)
    monkeypatch.setattr(extractor, "answer", answer)
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert f"wrote {len(rows)} answers to {output}" in err and "1 failed" in err
    assert f"{path}:{len(rows) + 1}" in err and "all other rows are answered" in err
    found = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert [row["text"] for row in found[:-1]] == texts
    for row in found[:-1]:
        assert row["labels"] is not None and not row["finished"]
        assert all(string in row["text"] for strings in row["labels"].values() for string in strings)
    assert "a conversation does not fit" in found[-1]["error"] and found[-1]["labels"] is None
    assert sorted(file.name for file in tmp_path.glob("out*")) == ["out.jsonl"]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    output.unlink()
    code, _, err = run(capsys, *words)
    assert (code, "1 rows have no answer" in err) == (1, True)
    code, _, err = run(capsys, *words)
    assert (code, "exists already" in err) == (2, True)


def test_eval(capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path, rows_file: Path) -> None:
    code, out, err = run(capsys, "eval", trained, "--data", rows_file, "--name", "mine", "--max-new-tokens", 6)
    assert (code, out) == (0, ""), err
    assert "95 %" in err and "seen" in err and "spans, strict" in err and "answer tokens/s" in err
    assert "held answers: valid 100.0 %, schema 100.0 %, grounded 100.0 %" in err and "free answers: valid" in err
    scores = json.loads((trained / "eval" / "mine" / "scores.json").read_text("utf-8"))
    assert scores["rows"] == len(ROWS)
    assert {"micro", "macro", "per_type", "span", "seen", "unseen", "unconstrained", "speed"} <= scores.keys()
    assert {"f1", "interval"} <= scores["micro"].keys() and "f1" in scores["macro"] and "f1" in scores["span"]
    assert scores["valid"] == scores["grounded"] == 1.0
    assert set(scores["span"]["schemes"]) == {"strict", "exact", "partial", "type"}
    assert {"rows_per_second", "answer_tokens_per_second"} <= scores["speed"].keys()
    assert len((trained / "eval" / "mine" / "predictions.jsonl").read_text("utf-8").splitlines()) == len(ROWS)
    plain = tmp_path / "plain.jsonl"
    plain.write_text('{"text": "a"}\n', "utf-8")
    code, _, err = run(capsys, "eval", trained, "--data", plain)
    assert (code, "holds no answers to compare with" in err) == (2, True)


def test_compare(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path, rows_file: Path, config_file: Path
) -> None:
    code, _, err = run(capsys, "compare", trained, trained)
    assert (code, "no evaluation is there for all of these runs" in err) == (2, True)
    run(capsys, "eval", trained, "--data", rows_file, "--max-new-tokens", 6, "--no-free")
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    code, out, err = run(capsys, "compare", trained, other, "--json", tmp_path / "c.json")
    assert code == 0, err
    assert out.startswith(f"| | {trained} | {other} |\n") and "| difference |  | +0.0 (+0.0 to +0.0) |" in out
    assert json.loads((tmp_path / "c.json").read_text("utf-8"))[1]["difference"]["p"] == 1
    run(capsys, "eval", other, "--data", rows_file, "--name", "more", "--max-new-tokens", 6, "--no-free")
    shutil.copytree(other / "eval" / "more", trained / "eval" / "more")
    code, _, err = run(capsys, "compare", trained, other)
    assert (code, "there are several evaluations: more, " in err) == (2, True)
    code, _, err = run(capsys, "compare", trained)
    assert (code, "name at least two runs" in err) == (2, True)
    path = other / "eval" / "more" / "predictions.jsonl"
    path.write_text("{", "utf-8")
    code, _, err = run(capsys, "compare", trained, other, "--name", "more")
    assert (code, f"{path} is damaged" in err) == (2, True)


def test_a_schema_of_ones_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path, rows_file: Path
) -> None:
    pytest.importorskip("xgrammar")
    path, output = tmp_path / "s.json", tmp_path / "out.jsonl"
    lists = {"type": "array", "items": {"type": "string"}}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"people": lists, "firms": lists},
        "required": ["firms"],
    }
    words = ["extract", trained, "--input", rows_file, "--output", output, "--schema", path, "--max-new-tokens", 9]

    def refused(text: str, *more: str) -> str:
        path.write_text(text, "utf-8")
        code, out, err = run(capsys, *words, *more)
        assert (code, out) == (2, "") and "Traceback" not in err and not list(tmp_path.glob("out*"))
        return err

    assert f"{path} is not JSON" in refused("{")
    assert "uniqueItems is not held to" in refused(json.dumps({**lists, "uniqueItems": True}))
    assert "the schema cannot be compiled: " in refused(
        json.dumps({"type": "string", "pattern": "("}), "--no-grounded"
    )
    assert "hint: --no-grounded" in refused(json.dumps({"enum": ["a"]}))
    assert "choose one" in refused(json.dumps(schema), "--no-constrain")
    path.write_text(json.dumps(schema), "utf-8")
    code, _, err = run(capsys, *words)
    assert code == 0, err
    for line, (text, _) in zip(output.read_text("utf-8").splitlines(), ROWS, strict=True):
        row = json.loads(line)
        assert list(row["value"])[-1] == "firms" and json.dumps(row["value"], ensure_ascii=False) == row["raw"]
        assert all(string in text for strings in row["value"].values() for string in strings)
    code, out, err = run(capsys, "generate", trained, "--text", "张三", "--schema", path)
    assert code == 0 and "firms" in json.loads(out)
    path.write_text(
        json.dumps({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}), "utf-8"
    )
    code, out, err = run(capsys, "generate", trained, "--text", "张三", "--schema", path, "--max-new-tokens", 2)
    assert "no answer by the schema: cut short" in err
