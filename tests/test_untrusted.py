"""Data, models, configs and run folders from anywhere: nothing of them is run or obeyed, or leads elsewhere."""

from __future__ import annotations

import gzip
import json
import lzma
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.table import Table

from tests.conftest import ROWS
from tests.row_files import LINE, ROW, problems_of, write
from tests.test_cli_run import config_file  # noqa: F401
from tests.test_cli_run import run as command
from yuantune.cli.console import PlainConsole
from yuantune.data import hub as data_hub
from yuantune.data.files import UNPACKED_FREELY, UNPACKED_TIMES, open_bytes
from yuantune.data.readers import read_all
from yuantune.errors import DataError, ModelError, RunError
from yuantune.models import hub as model_hub
from yuantune.models.folder import damage, weight_files
from yuantune.models.load import load_model, load_tokenizer
from yuantune.train import folder as run_folder
from yuantune.train.checkpoint import FORMER, TEMPORARY, tidy
from yuantune.train.lock import LOCK_FILE, RunLock

EVIL = "<script>alert(1)</script>"
CLEAR = "\x1b[2J\x9b2J\u202e"


class Payload:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


# ------------------------------------------------------------------------------------------------- code


def test_no_pickle_of_a_model_is_run(tmp_path: Path, yuan_folder: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(yuan_folder, base)
    (base / "model.safetensors").unlink()
    torch.save({"a": Payload(tmp_path / "run")}, base / "pytorch_model.bin")
    with pytest.raises(ModelError, match="hold more than tensors"):
        load_model(base)
    (base / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(tmp_path / "run"), protocol=2))
    with pytest.raises(ModelError):
        load_model(base)
    assert not (tmp_path / "run").exists()


def test_no_pickle_of_a_checkpoint_is_run(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    config_file: Path,  # noqa: F811
) -> None:
    """Whoever makes a run folder makes its marker, too: each file of state in turn holds code."""
    every_step = ("--set", "train.save_strategy=steps", "--set", "train.save_steps=1")
    assert command(capsys, "train", config_file, *every_step)[0] == 0
    run, hit = tmp_path / "run", tmp_path / "hit"
    shutil.rmtree(run / "checkpoint-2")
    newest = run / "checkpoint-1"
    (newest / "COMPLETE.json").unlink()
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "adapter_model.bin"):
        path = newest / name
        before = path.read_bytes() if path.exists() else None
        torch.save({"a": Payload(hit)}, path)
        code, _, err = command(capsys, "train", run, "--resume")
        assert "Traceback" not in err
        # Options are not read from there; and weights are read from safetensors.
        assert code == (0 if name in ("training_args.bin", "adapter_model.bin") else 1), (name, err)
        assert not hit.exists()
        shutil.rmtree(run / "checkpoint-2", ignore_errors=True)
        path.write_bytes(before) if before is not None else path.unlink()


def test_no_code_of_a_model_is_run(tmp_path: Path, yuan_folder: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(yuan_folder, base)
    (base / "evil.py").write_text(f"open({str(tmp_path / 'hit')!r}, 'w')\nclass A: pass\n", "utf-8")
    config = json.loads((base / "config.json").read_text("utf-8"))
    auto = {"AutoConfig": "evil.A", "AutoModelForCausalLM": "evil.A", "AutoTokenizer": ["evil.A", "evil.A"]}
    for kind in ("yuan", "no-such-kind"):
        (base / "config.json").write_text(json.dumps({**config, "model_type": kind, "auto_map": auto}), "utf-8")
        for load in (load_model, load_tokenizer):
            try:
                load(base)
            except ModelError as error:
                assert kind != "yuan", error
    assert not (tmp_path / "hit").exists()


@pytest.mark.parametrize("option", ["template", "config"])
def test_no_object_of_a_yaml_file_is_made(capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str) -> None:
    text = (
        f"prompt: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{tmp_path}/hit]]\n"
    )
    path = write(tmp_path, "evil.yaml", text)
    words = (
        ["train", path]
        if option == "config"
        else ["data", "check", write(tmp_path, "a.jsonl", LINE), "--template", path]
    )
    code, _, err = command(capsys, *words)
    assert code == 2 and "not valid YAML" in err
    assert not (tmp_path / "hit").exists()


# ------------------------------------------------------------------------------------------------- places


@pytest.mark.parametrize(
    "name", ["hf:../x", "modelscope:../../x", "../x", "a/..", "hf:/etc", "hf:a/b/c", "modelscope:.."]
)
def test_no_hub_name_leads_out_of_the_cache(name: str) -> None:
    assert model_hub.parse(name) is None
    assert data_hub.parse(name) is None


@pytest.mark.parametrize("shard", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..", ""])
def test_no_shard_leads_out_of_a_model_folder(tmp_path: Path, shard: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shard}}), "utf-8")
    with pytest.raises(ModelError, match="outside of its folder"):
        weight_files(tmp_path)
    for wrong in ({"weight_map": ["a"]}, {"weight_map": {"a": 3}}, {}):
        index.write_text(json.dumps(wrong), "utf-8")
        with pytest.raises(ModelError, match="no weight_map"):
            weight_files(tmp_path)


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    mine = write(tmp_path, "mine", "mine")
    run = tmp_path / "run"
    run.mkdir()
    (run / LOCK_FILE).symlink_to(mine)
    with RunLock(run) as lock, pytest.raises(OSError):
        lock.take()
    assert mine.read_text("utf-8") == "mine"


def test_what_is_cleared_is_in_the_run_folder(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for name in ("adapter", "other"):
        (mine / name).mkdir(parents=True)
        write(mine / name, "file", "mine")
    run = tmp_path / "run"
    run.mkdir()
    for name in (TEMPORARY, FORMER):
        (run / name).symlink_to(mine)
    tidy(run)
    assert sorted(str(path.relative_to(mine)) for path in mine.rglob("*")) == [
        "adapter", "adapter/file", "other", "other/file",
    ]  # fmt: skip
    assert not any(run.iterdir())


@pytest.mark.parametrize("name", ["log.jsonl", "loss.png", LOCK_FILE, ".former", "checkpoint-9", "adapter"])
def test_a_run_folder_with_a_link_out_of_it_is_not_gone_on_with(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / name).symlink_to(tmp_path / "elsewhere")
    with RunLock(run) as lock, pytest.raises(RunError, match="not all in one place") as caught:
        run_folder.take_up(run, lock, print)
    assert caught.value.problems[0].where == str(run / name)
    assert not (tmp_path / "elsewhere").exists()
    inside = tmp_path / "other"
    inside.mkdir()
    (inside / name).symlink_to(inside / "here")
    run_folder.refuse_links(inside, inside.iterdir())


@pytest.mark.parametrize("name", ["../out", "a/b", "..", "/tmp/x", "a\0b"])
def test_an_evaluation_stays_in_its_run(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    from yuantune.train.evaluate import check_name

    with pytest.raises(RunError, match="no name for an evaluation"):
        check_name(tmp_path, name)
    (tmp_path / "out").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "eval").symlink_to(tmp_path / "out")
    with pytest.raises(RunError, match="not all in one place"):
        check_name(tmp_path / "run", "fine")


# ------------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_a_decompression_bomb_is_refused(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(UNPACKED_FREELY + (1 << 20)))
    assert len(bomb) * UNPACKED_TIMES < UNPACKED_FREELY
    path = write(tmp_path, f"a.jsonl{suffix}", bomb)
    good, problems, _ = problems_of(path, format="jsonl")
    assert not good and f"unpacked it has more than {UNPACKED_TIMES} times its bytes" in problems[-1].what
    text = (LINE + "\n").encode() * 3
    path = write(tmp_path, f"b.jsonl{suffix}", pack(text))
    assert len(read_all(path)) == 3
    with open_bytes(path) as file:
        assert file.read(5) == text[:5]
        file.seek(0)
        assert file.read() == text


def test_sizes_can_be_chosen(tmp_path: Path) -> None:
    from yuantune.config import Config
    from yuantune.train.prepare import read_records

    path = write(tmp_path, "a.jsonl", f"{LINE}\n{json.dumps({**ROW, 'text': 'x' * 900})}\n")
    console = PlainConsole(quiet=True)
    for extra in ({}, {"split": 0.5}):
        options = Config.model_validate({"data": {"train": str(path), "max_row_bytes": 500, **extra}})
        with pytest.raises(DataError) as caught:
            list(read_records(options, console)[0])
        assert [str(each) for each in caught.value.problems] == [f"{path}:2: the line is longer than 500 bytes"]
        options = Config.model_validate({"data": {"train": str(path), "max_file_bytes": 500, **extra}})
        with pytest.raises(DataError, match="1 problem") as caught:
            list(read_records(options, console)[0])
        assert "data.max_file_bytes allows 500" in caught.value.problems[0].what


def test_a_long_parquet_row(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"input": ["a", "x" * 5000, "b"], "output": ["c", "d", "e"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    good, problems, _ = problems_of(tmp_path / "a.parquet", limit_row_bytes=1000)
    assert [record.text for record in good] == ["a", "b"]
    assert [str(each) for each in problems] == [f"{tmp_path / 'a.parquet'}:2: the row is longer than 1000 bytes"]


# ------------------------------------------------------------------------------------------------- headers


def tensors(table: object, size: int, *, length: int | None = None) -> bytes:
    header = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + bytes(size)


def entry(start: int = 0, end: int = 8, shape: object = (2,), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "cut short"),
        (b"\1\0\0", "cut short"),
        (tensors({}, 0, length=2**63), "cut short"),
        (struct.pack("<Q", 2**27) + b"{}", "cut short"),
        (tensors(b"{", 0), "no JSON"),
        (tensors(b"\xff\xfe", 0), "no JSON"),
        (tensors(b"[" * 100_000, 0), "no JSON"),
        (tensors([], 0), "no object"),
        (tensors({"a": 3}, 8), "no type, shape and place"),
        (tensors({"a": {"dtype": "F32"}}, 8), "no type, shape and place"),
        (tensors({"a": entry(shape=None)}, 8), "no type, shape and place"),
        (tensors({"a": entry(dtype=[])}, 8), "no type, shape and place"),
        (tensors({"a": entry(shape=[-2])}, 8), "impossible shape"),
        (tensors({"a": entry(shape=[2.0])}, 8), "impossible shape"),
        (tensors({"a": entry(8, 0)}, 8), "impossible shape or place"),
        (tensors({"a": entry(shape=[2**62, 2**62])}, 8), "which its shape does not take"),
        (tensors({"a": entry(), "b": entry(4, 12)}, 12), "overlap"),
        (tensors({"a": entry(), "b": entry(16, 24)}, 24), "bytes between them"),
        (tensors({"a": entry()}, 5), "cut short"),
        (tensors({"a": entry()}, 9), "1 bytes that its header does not know"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    ],
)
def test_a_safetensors_header_is_checked(tmp_path: Path, content: bytes, expected: str) -> None:
    assert expected in damage(write(tmp_path, "model.safetensors", content))


def test_a_sound_header_is_sound(tmp_path: Path, yuan_folder: Path) -> None:
    assert damage(yuan_folder / "model.safetensors") == ""
    assert damage(write(tmp_path, "a.safetensors", tensors({"__metadata__": {"a": "b"}, "a": entry()}, 8))) == ""
    assert damage(write(tmp_path, "b.safetensors", tensors({"b": entry(8, 16), "a": entry()}, 16))) == ""


# ------------------------------------------------------------------------------------------------- the eye


def test_no_control_character_reaches_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console = PlainConsole(force_terminal=True, color_system=None, width=80, emoji=False)
    console.print(f"note: {CLEAR}", markup=False)
    table = Table(title=CLEAR)
    table.add_column(CLEAR)
    table.add_row(CLEAR)
    console.print(table)
    said = capsys.readouterr().out
    assert not set(said) & set("\x1b\x9b\u202e")
    assert said.count("\\u001b[2J") == 4


def test_texts_and_types_do_nothing_on_a_terminal_or_in_a_page(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    config_file: Path,  # noqa: F811
) -> None:
    """A run whose label types and texts are markup and control characters: all commands, and the report."""
    types = [EVIL, CLEAR, "[/bold]", "[link=file:///etc]x[/link]"]
    rows = [
        {"text": f"{text}{EVIL}{CLEAR}", "labels": {kind: [text[:2]]}}
        for (text, _), kind in zip(ROWS, types, strict=False)
    ]
    data = write(tmp_path, "evil.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    config = config_file.read_text("utf-8").replace(str(tmp_path / "rows.jsonl"), str(data))
    config_file.write_text(config.replace("template: resume-ner", "template: extract"), "utf-8")
    run = tmp_path / "run"
    for words in (
        ["data", "check", data],
        ["data", "show", data],
        ["train", config_file],
        ["generate", run, "--text", CLEAR + EVIL],
        ["generate", run, "--text", CLEAR + EVIL, "--raw"],
        ["generate", run, "--input", data],
        ["eval", run, "--data", data, "--name", "evil"],
        ["compare", run, run],
    ):
        code, out, err = command(capsys, *words)
        assert code == 0, (words, err)
        assert not set(out + err) & set("\x1b\x9b\u202e"), words
        assert "Traceback" not in err
    page = (run / "eval" / "evil" / "report.html").read_text("utf-8")
    assert EVIL not in page and page.count("<script>") == 1 and "\x1b" not in page
