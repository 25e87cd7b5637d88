"""`export --merge`: a plain folder that answers as the run does, and clear words where there can be none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

import yuantune
from tests.test_methods_runs import config
from yuantune.cli import app
from yuantune.errors import RunError, WorkFailed
from yuantune.infer.opening import load
from yuantune.methods import METHODS
from yuantune.train.run import fine_tune


def exported(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


@pytest.fixture
def trained(request: pytest.FixtureRequest, tmp_path: Path, rows_file: Path) -> Path:
    """A run by (kind of model, name in test_methods_runs.METHODS)."""
    kind, name = request.param
    run = tmp_path / "run"
    model = request.getfixturevalue(f"{kind}_folder")
    fine_tune(config(model, rows_file, run, name, max_steps=3, learning_rate=3e-2), console=Console(quiet=True))
    return run


@pytest.mark.parametrize(
    "trained",
    [("yuan", "lora-dora"), ("yuan", "lora-pissa"), ("llama", "lora-plus"), ("llama", "ia3"), ("yuan", "bitfit"),
     ("llama", "freeze")],
    indirect=True,
)  # fmt: skip
def test_the_folder_answers_as_the_run(trained: Path, tmp_path: Path) -> None:
    result = exported(trained, "--merge", "--output", tmp_path / "plain", "--dtype", "float32")
    assert result.exit_code == 0, result.output + str(result.exception)
    report = json.loads((tmp_path / "plain" / "merge.json").read_text("utf-8"))
    assert report["merged"]["relative"] < 1e-5 and report["written"]["relative"] < 1e-5
    assert report["written"]["same"] == 1.0 and report["rows"] == 6 and report["tokens"] > 50
    run, plain = yuantune.load(trained), AutoModelForCausalLM.from_pretrained(tmp_path / "plain").eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        torch.testing.assert_close(
            plain(input_ids=ids).logits, run.model(input_ids=ids).logits, rtol=1e-4, atol=1e-4
        )
    assert not any("lora" in name or "ia3" in name for name, _ in plain.named_parameters())
    assert load(tmp_path / "plain").generate("张三") == run.generate("张三")


@pytest.mark.parametrize("trained", [("llama", "lora-pissa")], indirect=True)
def test_a_folder_needs_neither_yuantune_nor_peft(trained: Path) -> None:
    """By default it stands beside the run; in bfloat16 it says what that costs."""
    assert exported(trained, "--merge", "--dtype", "bfloat16", "--rows", 2).exit_code == 0
    folder = trained.with_name("run-merged")
    code = (
        "import sys; from transformers import AutoModelForCausalLM\n"
        f"print(AutoModelForCausalLM.from_pretrained({str(folder)!r}).dtype)\n"
        "assert not {'yuantune', 'peft'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "torch.bfloat16", done.stderr
    report = json.loads((folder / "merge.json").read_text("utf-8"))
    assert report["merged"]["relative"] < 1e-5 < report["written"]["relative"] < 0.05
    with pytest.raises(RunError, match="is already there"):
        raise exported(trained, "--merge").exception


@pytest.mark.parametrize(
    ("trained", "why"),
    [(("yuan", "houlsby"), "is not linear"), (("llama", "prompt"), "stand before what the model reads")],
    indirect=["trained"],
)
def test_what_cannot_be_merged_is_said(trained: Path, why: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=why):
        raise exported(trained, "--merge", "--output", tmp_path / "plain").exception
    assert not (tmp_path / "plain").exists()


@pytest.mark.parametrize("trained", [("llama", "freeze")], indirect=True)
def test_mistakes_leave_nothing(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tmp_path / "plain"

    def raised(*arguments: object) -> str:
        return str(exported(trained, "--output", plain, *arguments).exception)

    assert "say what to export: --merge" in raised()
    assert "--dtype float3: one of auto" in raised("--merge", "--dtype", "float3")

    def wrong(model: Any) -> Any:
        model.get_output_embeddings().weight.data *= 1.1
        return model

    monkeypatch.setattr(METHODS["freeze"], "merge", wrong)
    with pytest.raises(WorkFailed, match=r"differs from base and adapter by 0.1"):
        raise exported(trained, "--merge", "--output", plain).exception
    monkeypatch.undo()
    (tmp_path / "rows.jsonl").unlink()
    assert "the run's own data" in raised("--merge")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
