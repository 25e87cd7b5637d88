"""Every file of `bad_inputs/` through every command that would read it: exit 2, one message, nothing written."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import ROWS
from tests.test_cli_run import run as command
from yuantune.models import load

HOME = Path(__file__).parent / "bad_inputs"
DATA = ("compressed", "encoding", "json", "jsonl", "parquet", "records", "tables", "tagged")
"""Kinds that are files of data; the others are configs, templates, schemas, and folders of models and runs."""
load_once = functools.cache(load.load_tokenizer)
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def entries(*kinds: str) -> list[pytest.ParameterSet]:
    return [
        pytest.param(path, id=f"{kind}/{path.name}") for kind in kinds for path in sorted((HOME / kind).iterdir())
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, yuan_folder: Path) -> Path:
    """Where the commands run: a file of good rows, and a config, both of which must stay as they are."""
    home = tmp_path_factory.mktemp("bad")
    lines = [json.dumps({"text": text, "labels": labels}, ensure_ascii=False) + "\n" for text, labels in ROWS]
    (home / "good.jsonl").write_text("".join(lines), "utf-8")
    (home / "config.yaml").write_text(
        f"output_dir: out\nmodel: {{name: {yuan_folder}, device_map: cpu}}\n", "utf-8"
    )
    return home


@pytest.fixture(autouse=True)
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(place)
    before = listing(place)
    yield
    assert listing(place) == before


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(folder)), path.stat().st_size) for path in folder.rglob("*"))


def refused(capsys: pytest.CaptureFixture[str], words: Sequence[object], name: str = "", *, code: int = 2) -> str:
    """Run a command that must refuse its input; what it says."""
    ended, out, err = command(capsys, *words)
    assert ended == code, (words, ended, out, err)
    assert err.count("error: ") == 1 and "Traceback" not in out + err, err
    assert name in err, err
    assert not CONTROL.search(out + err)
    return err


@pytest.fixture
def one_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read once: most of the time would go there."""
    monkeypatch.setattr(load, "load_tokenizer", load_once)


@pytest.mark.usefixtures("one_tokenizer")
@pytest.mark.parametrize("path", entries(*DATA))
def test_data(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    said = refused(capsys, ["data", "check", path], path.name)
    lines = [line for line in said.splitlines() if re.search(r"(:\d+|, row \d+): ", line)]
    assert lines or path.stat().st_size < 80 or path.suffix in (".parquet", ".zip"), said
    refused(capsys, ["data", "convert", path, "out.jsonl"], path.name)
    refused(capsys, ["data", "split", path, "--to", "out"], path.name)
    refused(capsys, ["train", "config.yaml", "--set", f"data.train={path}"], path.name)
    refused(capsys, ["generate", "no-run", "--input", path, "--output", "out.jsonl"])


@pytest.mark.usefixtures("one_tokenizer")
@pytest.mark.parametrize("path", entries("configs"))
def test_configs(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    for name in ("train", "pretrain"):
        refused(capsys, [name, path])


@pytest.mark.usefixtures("one_tokenizer")
@pytest.mark.parametrize("path", entries("templates"))
def test_templates(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    refused(capsys, ["data", "check", "good.jsonl", "--template", path])
    refused(capsys, ["train", "config.yaml", "--set", "data.train=good.jsonl", "--set", f"template={path}"])


@pytest.mark.parametrize("path", entries("schemas"))
def test_schemas(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    refused(capsys, ["generate", "no-run", "--text", "a", "--schema", path], path.name)
    refused(
        capsys, ["extract", "no-run", "--input", "good.jsonl", "--output", "out.jsonl", "--schema", path], path.name
    )


@pytest.mark.parametrize("path", entries("run_folders"))
def test_run_folders(capsys: pytest.CaptureFixture[str], tmp_path: Path, path: Path) -> None:
    run = tmp_path / path.name
    shutil.copytree(path, run)
    before = listing(run)
    for words in (
        ["generate", run, "--text", "a"],
        ["extract", run, "--input", "good.jsonl", "--output", "out.jsonl"],
        ["eval", run, "--data", "good.jsonl"],
        ["compare", run, run],
        ["train", run, "--resume"],
    ):
        refused(capsys, words)
    # What is there and not whole is what it is to find.
    refused(capsys, ["verify", run], code=1 if any(run.glob("*/*.safetensors")) else 2)
    assert listing(run) == before


@pytest.mark.parametrize("path", entries("model_folders"))
def test_model_folders(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    refused(capsys, ["train", "config.yaml", "--set", "data.train=good.jsonl", "--set", f"model.name={path}"])


def test_there_are_hundreds() -> None:
    assert len([path for path in HOME.rglob("*") if path.is_file()]) >= 500
