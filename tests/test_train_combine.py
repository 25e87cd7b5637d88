"""Runs combined into a folder that answers like one; rows that name their adapter, from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import yuantune
from tests.test_infer_adapters import RUNS, TEXTS, write_run
from yuantune.cli import app
from yuantune.errors import ConfigError, RunError, WorkFailed
from yuantune.train import checkpoint as checkpoints
from yuantune.train.combine import combine_runs, parts_of


@pytest.fixture
def runs(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> dict[str, Path]:
    names = ("lora", "lora-dora", "houlsby", "ia3")
    for name in names:
        write_run(yuan_folder, rows_file, tmp_path / name, name)
    return {name: tmp_path / name for name in names}


def test_a_folder_that_answers(runs: dict[str, Path], tmp_path: Path) -> None:
    """Half of a run and half of it again is that run; so is what is combined of that."""
    done = combine_runs([runs["lora"], runs["lora"]], tmp_path / "made", weights=[0.5, 0.5])
    assert done.how == "cat" and done.apart < 1e-6 and done.prompts_differ == ()
    again = combine_runs([tmp_path / "made", runs["lora"]], tmp_path / "more", weights=[2.0, -1.0])
    assert checkpoints.flaws(again.folder / "adapter") == []
    assert parts_of(again.folder) == [runs["lora"].resolve()] * 3
    assert json.loads((again.folder / "combine.json").read_text("utf-8"))["weights"] == [2.0, -1.0]
    ids = torch.tensor([[5, 9, 3, 12, 7, 7, 30, 2, 11]])
    with torch.no_grad():
        one, other = (yuantune.load(each).model(input_ids=ids).logits for each in (runs["lora"], again.folder))
    torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)
    assert yuantune.load(again.folder).generate(TEXTS[0])


def test_what_is_refused(runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(error: type[Exception], match: str, *names: str, **options: Any) -> None:
        with pytest.raises(error, match=match):
            combine_runs([runs[name] for name in names], tmp_path / "made", **options)
        assert not (tmp_path / "made").exists() and not [*tmp_path.glob(".made*")]

    refused(ConfigError, "at least two", "lora")
    refused(RunError, "(?s)trained by bottleneck; only lora and ia3.*trained by ia3, ", "lora", "houlsby", "ia3")
    refused(ConfigError, "1 for 2 runs", "lora", "lora", weights=[1.0])
    refused(ConfigError, "DoRA's lengths", "lora", "lora-dora")
    file = next((runs["ia3"] / "adapter").glob("*.safetensors"))
    whole = load_file(file)
    missing = sorted(whole)[0]
    save_file({name: value for name, value in whole.items() if name != missing}, file, metadata={"format": "pt"})
    shutil.copytree(runs["ia3"], tmp_path / "cut")
    save_file(whole, file, metadata={"format": "pt"})
    runs["cut"] = tmp_path / "cut"
    refused(RunError, "cut.* is not whole: it lacks", "ia3", "cut")
    (tmp_path / "cut" / "adapter" / file.name).write_bytes(file.read_bytes()[:-40])
    refused(RunError, "(?s)damaged or incomplete", "ia3", "cut")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("yuantune.train.checkpoint.publish", full)
        refused(WorkFailed, "No space left", "lora", "lora")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "mine").touch()
    with pytest.raises(RunError, match="is already there"):
        combine_runs([runs["lora"], runs["lora"]], tmp_path / "made")


def test_rows_name_their_adapter(runs: dict[str, Path], tmp_path: Path) -> None:
    asked = tmp_path / "ask.jsonl"
    names = ["houlsby", None, "two", "houlsby", "tow"]
    rows = [{"text": TEXTS[at % 3], "adapter": name} for at, name in enumerate(names)]
    asked.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    out = tmp_path / "out.jsonl"
    command = ["extract", str(runs["lora"]), "--input", str(asked), "--output", str(out)]
    given = ["--adapter", f"houlsby={runs['houlsby']}", "--adapter", f"two={runs['ia3']}"]
    result = CliRunner().invoke(app, [*command, *given])
    assert isinstance(result.exception, WorkFailed)
    found = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["adapter"] for row in found] == ["houlsby", "lora", "two", "houlsby", "tow"]
    assert [row.get("error", "") for row in found] == [""] * 4 + ["there is no adapter 'tow' (did you mean 'two'?)"]
    alone = {"houlsby": runs["houlsby"], "lora": runs["lora"], "two": runs["ia3"]}
    loaded = {name: yuantune.load(run) for name, run in alone.items()}
    assert [row["raw"] for row in found[:4]] == [loaded[row["adapter"]].generate(row["text"]) for row in found[:4]]
    wrong = CliRunner().invoke(app, [*command, "--adapter", "=x", "--adapter", f"lora={runs['ia3']}"])
    assert "is not NAME=RUN" in str(wrong.exception) and "lora is the name of" in str(wrong.exception)


def test_runs_are_all_ways_of_changing_a_base() -> None:
    """What `test_infer_adapters` tries has every method but full and bitfit (Llama has no biases)."""
    methods = {options["method"] for options in RUNS.values()}
    assert methods == {
        "lora", "bottleneck", "ia3", "freeze", "prompt_tuning", "prefix_tuning", "p_tuning",
    }  # fmt: skip
