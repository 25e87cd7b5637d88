"""The recipe's stages on a corpus of a few made-up lines, and the memorisation test."""

from __future__ import annotations

import hashlib
import json
import lzma
import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from recipes.yuan2_mini import __main__ as commands
from recipes.yuan2_mini import data as data_module
from recipes.yuan2_mini import shipping, sources, tokens
from recipes.yuan2_mini.between import spread
from recipes.yuan2_mini.files import EXERCISES, EXERCISES_EVAL, MANIFEST, TEXT, TEXT_EVAL, read_lines, xz_file
from recipes.yuan2_mini.memory import continue_greedily, longest_run, memory_test, shared
from recipes.yuan2_mini.wordlists import COMMON_CHARACTERS
from typer.testing import CliRunner

from yuantune.data.labels import parse
from yuantune.errors import DataError, WorkFailed
from yuantune.models.load import load_model, load_tokenizer

SECRET = "那年秋天王五在江州云陌公司做了三年会计以后回到家乡"


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of invented lines under the sources' names, one line of them held out; few validation exercises."""
    folder = tmp_path / "corpus"
    draw = random.Random(0)
    made = []
    for source in (*sources.SOURCES, sources.NAMES):
        path = folder / source.file
        path.parent.mkdir(parents=True, exist_ok=True)
        with xz_file(path) as file:
            for number in range(400):
                file.add("".join(draw.choices(COMMON_CHARACTERS, k=12)) + f"，第{number}。")
            file.add(f"{source.name}说过：{SECRET}。")
        made.append(replace(source, sha256=hashlib.sha256(path.read_bytes()).hexdigest()))
    monkeypatch.setattr(sources, "SOURCES", tuple(made[:-1]))
    monkeypatch.setattr(data_module, "SOURCES", tuple(made[:-1]))
    monkeypatch.setattr(sources, "NAMES", made[-1])
    monkeypatch.setattr(data_module, "EVAL_EXERCISES", 20)
    monkeypatch.setattr(sources, "EVAL_LINES", 50)
    return folder


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    row = {"text": SECRET, "labels": {"姓名": ["王五"], "组织名": ["江州云陌公司"]}}
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def make(corpus: Path, held_out: Path, work: Path, *more: str) -> None:
    words = [
        "data",
        "--corpus",
        str(corpus),
        "--held-out",
        str(held_out),
        "--to",
        str(work),
        "--count",
        "120",
        *more,
    ]
    CliRunner().invoke(commands.app, words, catch_exceptions=False)


def test_data_is_what_the_manifest_says(corpus: Path, held_out: Path, tmp_path: Path) -> None:
    make(corpus, held_out, tmp_path / "one")
    make(corpus, held_out, tmp_path / "two")
    folder = tmp_path / "one" / "data"
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    assert (folder / MANIFEST).read_bytes() == (tmp_path / "two" / "data" / MANIFEST).read_bytes()
    for name, said in manifest["files"].items():
        content = lzma.decompress((folder / name).read_bytes())
        assert said["sha256"] == hashlib.sha256(content).hexdigest()
        assert said["lines"] == content.count(b"\n")
        assert SECRET not in content.decode()
    assert [counts["held out"] for counts in manifest["cleaning"].values()] == [1] * len(sources.SOURCES)
    assert manifest["held_out"]["windows_found"] == 0 and manifest["held_out"]["rows"] == 1
    rows = [json.loads(line) for line in read_lines(folder / EXERCISES)]
    assert len(rows) == 120 == len({row["input"] for row in rows})
    assert all(row.keys() == {"input", "output"} and parse(row["output"]) is not None for row in rows)
    evaluation = {json.loads(line)["input"] for line in read_lines(folder / EXERCISES_EVAL)}
    assert len(evaluation) == 20 and evaluation.isdisjoint(row["input"] for row in rows)
    train = {line for file in (folder / TEXT).iterdir() for line in read_lines(file)}
    assert 0 < len(set(read_lines(folder / TEXT_EVAL)) - train) < len(train) / 5


def test_data_is_not_made_twice_nor_mixed(corpus: Path, held_out: Path, tmp_path: Path) -> None:
    make(corpus, held_out, tmp_path / "work")
    before = (tmp_path / "work" / "data" / MANIFEST).stat().st_mtime_ns
    make(corpus, held_out, tmp_path / "work")
    assert (tmp_path / "work" / "data" / MANIFEST).stat().st_mtime_ns == before
    with pytest.raises(DataError, match="another seed"):
        make(corpus, held_out, tmp_path / "work", "--seed", "1")


def test_a_window_that_slipped_through_stops_the_recipe(
    corpus: Path, held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_module.HeldOut, "touches", lambda self, text: False)
    with pytest.raises(WorkFailed, match="held-out window"):
        make(corpus, held_out, tmp_path / "work")
    assert not (tmp_path / "work" / "data" / MANIFEST).exists()


def test_tokenizer_and_installed_model(
    corpus: Path, held_out: Path, tmp_path: Path, yuan_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    make(corpus, held_out, work)
    monkeypatch.setattr(tokens, "VOCAB_SIZE", 7220)
    monkeypatch.setattr(tokens, "BEYOND_GB2312", 5)
    CliRunner().invoke(commands.app, ["tokenizer", "--to", str(work)], catch_exceptions=False)
    made = load_tokenizer(work / "tokenizer")
    assert len(made) == 7220
    assert made.tokenize("镇长") == ["▁", "镇", "长"]
    shipping.install_model(yuan_folder, work / "tokenizer", tmp_path / "out")
    names = ["config.json", "model.safetensors", "tokenizer.model", "tokenizer_config.json"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    before, after = load_model(yuan_folder, dtype="bfloat16"), load_model(tmp_path / "out")
    for (name, one), (_, other) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        assert one.equal(other), name
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["dtype"] == "bfloat16" and not {"_name_or_path", "transformers_version"} & config.keys()


def small_configs(folder: Path) -> Path:
    """The recipe's configs, for a model and a training that take seconds."""
    folder.mkdir()
    fields = json.loads((commands.HERE / "model.json").read_text(encoding="utf-8"))
    fields |= {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    (folder / "model.json").write_text(json.dumps(fields), encoding="utf-8")
    for name in commands.RUNS.values():
        config = yaml.safe_load((commands.HERE / name).read_text(encoding="utf-8"))
        config["data"] |= {"sequence_length": 384, "eval_rows": 2}
        config["train"] |= {"max_tokens": 4 * 384 * 3, "per_device_train_batch_size": 4, "warmup_steps": 1}
        config["train"] |= {"logging_steps": 1, "eval_steps": 3}
        (folder / name).write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


def test_one_command_from_corpus_to_weights(
    corpus: Path, held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "VOCAB_SIZE", 7220)
    monkeypatch.setattr(tokens, "BEYOND_GB2312", 5)
    monkeypatch.setattr(commands, "HERE", small_configs(tmp_path / "configs"))
    work, target = tmp_path / "work", tmp_path / "out"
    words = ["all", "--corpus", str(corpus), "--held-out", str(held_out), "--to", str(work), "--count", "120"]
    for _ in range(2):  # The second time, nothing is left to do.
        done = CliRunner().invoke(commands.app, [*words, "--target", str(target)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert "annealed done before" in done.output and "lists done before" in done.output
    model = load_model(target, dtype="float32")
    assert model.config.max_position_embeddings == 1024 and len(load_tokenizer(target)) == 7220
    middle, begun, ended = (
        load_model(work / name, dtype="float32") for name in ("mean", "spread", "refined/model")
    )
    three = (each.named_parameters() for each in (middle, begun, ended))
    for (name, mean), (_, one), (_, other) in zip(*three, strict=True):
        torch.testing.assert_close(mean, (one + other) / 2, rtol=1e-6, atol=1e-6, msg=name)
    last = load_model(work / "lists" / "model", dtype="bfloat16")
    for (name, shipped), (_, trained) in zip(model.named_parameters(), last.named_parameters(), strict=True):
        assert shipped.equal(trained.float()), name
    before = json.loads((work / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert before["step"] > 0
    manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
    assert [(part["part"], part["steps"], part["tokens"]) for part in manifest["training"]] == [
        (run, 3, 4 * 384 * 3) for run in commands.RUNS
    ]
    assert manifest["training"][-1]["validation_loss"].keys() == {"text", "exercises"}
    assert manifest["memory"] == json.loads((work / "memory.json").read_text(encoding="utf-8"))
    weights = hashlib.sha256((target / "model.safetensors").read_bytes()).hexdigest()
    assert manifest["files"]["model.safetensors"] == weights
    assert (target / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert manifest["base"]["spread"] == 0  # Nothing has run together in nine steps.
    before_last = hashlib.sha256((work / "annealed" / "model" / "model.safetensors").read_bytes()).hexdigest()
    assert manifest["base"]["weights"] == before_last

    # What was made can be gone on with, by the last part alone.
    again = tmp_path / "again"
    shutil.copytree(work / "data", again / "data")
    words[words.index("--to") + 1] = str(again)
    more = [*words, "--base", str(target), "--target", str(tmp_path / "more")]
    done = CliRunner().invoke(commands.app, more, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert not (again / "run").exists()
    for name in ("tokenizer.model", "config.json"):
        assert (tmp_path / "more" / name).read_bytes() == (target / name).read_bytes()
    further = json.loads((tmp_path / "more" / MANIFEST).read_text(encoding="utf-8"))
    assert [part["part"] for part in further["training"]] == ["lists"]
    assert further["base"]["weights"] == weights
    assert further["base"]["training"] == manifest["training"]
    assert further["base"]["base"] == manifest["base"]


def test_rare_pieces_that_ran_together_are_set_apart() -> None:
    torch.manual_seed(0)
    frequent_ND = torch.nn.functional.normalize(torch.randn(40, 32)) * 1.2
    common_D = torch.nn.functional.normalize(torch.randn(32), dim=0)
    rare_ND = 3.5 * common_D + torch.randn(60, 32) * 0.02
    together_VD = torch.cat((frequent_ND, rare_ND))
    table_VD = together_VD.clone()
    assert spread(table_VD, seed=0) == 60
    assert table_VD[:40].equal(frequent_ND)
    likeness = torch.nn.functional.normalize(table_VD[40:]) @ torch.nn.functional.normalize(table_VD[40:]).T
    off = likeness[~torch.eye(60, dtype=torch.bool)]
    assert float(off.max()) < 0.99 < float((torch.nn.functional.normalize(rare_ND) @ common_D).min())
    assert 1.0 < float((table_VD[40:] @ common_D).mean()) < 2.5  # Still said to be rare.
    assert spread(again := frequent_ND.clone(), seed=0) == 0 and again.equal(frequent_ND)


def test_training_in_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stretch ends with exit 75; the next call resumes, then anneals, within its own minutes."""
    calls: list[list[str]] = []

    def train(command: list[str], cwd: Path, check: bool) -> subprocess.CompletedProcess[str]:
        words = command[command.index("pretrain") + 1 :]
        names = {config: run for run, config in commands.RUNS.items()}
        run = cwd / names.get(Path(words[0]).name, words[0])
        calls.append(words)
        if len(calls) == 1:
            (run / "checkpoint-3").mkdir(parents=True)
        else:
            (run / "model").mkdir(parents=True)
            (run / "model" / "model.safetensors").touch()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", train)
    for made in (commands.SPREAD, commands.MEAN):
        (tmp_path / made).mkdir()
        (tmp_path / made / "model.safetensors").touch()
    words = ["pretrain", "--to", str(tmp_path), "--minutes", "5"]
    assert CliRunner().invoke(commands.app, words).exit_code == 75
    assert CliRunner().invoke(commands.app, words).exit_code == 0
    assert [Path(call[0]).name for call in calls] == [
        "pretrain.yaml", "run", "extraction.yaml", "anneal.yaml", "refine.yaml", "lists.yaml",
    ]  # fmt: skip
    assert ["--resume" in call for call in calls] == [False, True, False, False, False, False]
    assert all(0 < float(call[-1].removeprefix("train.max_minutes=")) <= 5 for call in calls)


# -------------------------------------------------------------------------------------------------- memorisation


@given(st.lists(st.text("甲乙丙", max_size=12), max_size=4), st.lists(st.text("甲乙丙", max_size=12), max_size=4))
def test_the_longest_run_is_the_longest(texts: list[str], lines: list[str]) -> None:
    parts = {text[i:j] for text in texts for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
    common = {part for part in parts if any(part in line for line in lines)}
    run = longest_run(texts, lines)
    assert len(run) == max(map(len, common), default=0)
    assert not run or run in common
    assert shared(texts, lines, 2) == {part for part in common if len(part) == 2}


def test_a_model_that_recites_is_found(tmp_path: Path, yuan_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "".join(chr(0x4E00 + number) for number in range(120))
    (tmp_path / TEXT).mkdir()
    with xz_file(tmp_path / TEXT / "a.txt.xz") as file:
        file.add(line)
    monkeypatch.setattr("recipes.yuan2_mini.memory.continue_greedily", lambda *_, **__: [line[30:90]])
    found = memory_test(yuan_folder, tmp_path, count=5, seed=0, say=lambda _: None)
    assert (found["prefixes"], found["recited"], found["longest"], found["run"]) == (1, 1, 60, line[30:90])
    monkeypatch.setattr("recipes.yuan2_mini.memory.continue_greedily", lambda *_, **__: [line[30:79]])
    assert memory_test(yuan_folder, tmp_path, count=5, seed=0, say=lambda _: None)["recited"] == 0


def test_continuations_do_not_depend_on_their_batch(yuan_folder: Path) -> None:
    prefixes = ["张三在江州", "李四", "王五去了北方", "赵六在南方"]
    together = continue_greedily(yuan_folder, prefixes, say=lambda _: None)
    assert together == [continue_greedily(yuan_folder, [prefix], say=lambda _: None)[0] for prefix in prefixes]
