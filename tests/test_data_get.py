"""Fetching data sets: consent, hashes, and whole files; served from a folder of the test's own."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path
from shutil import which

import pytest

from yuantune.data import get as module
from yuantune.data.get import DATASETS, SUMS, RemoteFile, get
from yuantune.errors import DataError, UserError, WorkFailed

CONTENT = {"train.char.bmes": b"\xe5\xbc\xa0 S-NAME\n", "dev.char.bmes": b"a O\n", "test.char.bmes": b"b O\n"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder from which the data set's files are served; its own hashes, but none for the test split."""
    folder = tmp_path / "server"
    folder.mkdir()
    files = []
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
        known = None if name.startswith("test") else sha256(content)
        files.append(RemoteFile(name, (folder / name).as_uri(), known))
    monkeypatch.setitem(DATASETS, "resumener", replace(DATASETS["resumener"], files=tuple(files)))
    return folder


def test_nothing_without_consent(server: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        get("resumener", tmp_path / "out", accept=False)
    assert caught.value.exit_code == 2
    assert "states no licence" in caught.value.message
    assert "Chinese NER Using Lattice LSTM" in caught.value.message
    assert "--accept" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_fetched_checked_and_recorded(server: Path, tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    fetched = get("resumener", out, accept=True)
    assert [path.name for path in fetched.paths] == list(CONTENT)
    assert [path.read_bytes() for path in fetched.paths] == list(CONTENT.values())
    assert "states no licence" in fetched.notice
    assert "Yue Zhang and Jie Yang" in fetched.notice
    assert len(fetched.notes) == 1
    assert fetched.notes[0].startswith("test.char.bmes: no hash to check against is known; recorded ")
    assert (out / SUMS).read_text() == "".join(f"{sha256(content)}  {name}\n" for name, content in CONTENT.items())
    if which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=out, check=True)
    assert sorted(path.name for path in out.iterdir()) == sorted([*CONTENT, SUMS])


def test_what_is_there_is_not_fetched_again(server: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    get("resumener", out, accept=True)
    for name in CONTENT:
        (server / name).unlink()
    assert get("resumener", out, accept=True).notes == ()
    (out / "dev.char.bmes").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"dev\.char\.bmes is there already, and is another file"):
        get("resumener", out, accept=True)
    assert (out / "dev.char.bmes").read_bytes() == b"mine"


def test_the_recorded_hash_holds(server: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    get("resumener", out, accept=True)
    (out / "test.char.bmes").unlink()
    (server / "test.char.bmes").write_bytes(b"changed")
    with pytest.raises(WorkFailed, match="is not the file that is known"):
        get("resumener", out, accept=True)
    assert not (out / "test.char.bmes").exists()


def test_a_file_fetched_by_other_means(server: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "test.char.bmes").write_bytes(b"by hand")
    assert sha256(b"by hand") in get("resumener", out, accept=True).notes[0]
    assert (out / "test.char.bmes").read_bytes() == b"by hand"


def test_another_file_is_not_kept(server: Path, tmp_path: Path) -> None:
    (server / "train.char.bmes").write_bytes(b"changed")
    with pytest.raises(WorkFailed, match="expected") as caught:
        get("resumener", tmp_path / "out", accept=True)
    assert caught.value.exit_code == 1
    assert not (tmp_path / "out").exists()


def test_failures_to_fetch(server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (server / "dev.char.bmes").unlink()
    with pytest.raises(WorkFailed, match="cannot be fetched") as caught:
        get("resumener", tmp_path / "out", accept=True)
    assert "by other means" in caught.value.hint
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train.char.bmes"]
    monkeypatch.setattr(module, "_MAX_BYTES", 3)
    with pytest.raises(WorkFailed, match="which it should not be"):
        get("resumener", tmp_path / "other", accept=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be made: .*file is a file"):
        get("resumener", tmp_path / "file" / "out", accept=True)


def test_a_failure_leaves_no_empty_folder(server: Path, tmp_path: Path) -> None:
    (server / "train.char.bmes").unlink()
    (tmp_path / "mine").mkdir()
    for folder in (tmp_path / "data" / "resumener", tmp_path / "mine"):
        with pytest.raises(WorkFailed, match="cannot be fetched"):
            get("resumener", folder, accept=True)
    assert not (tmp_path / "data").exists()
    assert (tmp_path / "mine").is_dir()


def test_unknown_names() -> None:
    with pytest.raises(DataError, match=r"unknown data set 'resumner' \(did you mean 'resumener'\?\)"):
        get("resumner", Path("nowhere"), accept=True)


def test_the_registry(test_data: Path) -> None:
    files = {file.name: file for file in DATASETS["resumener"].files}
    assert all(file.url.startswith("https://") for file in files.values())
    for name in ("train.char.bmes", "dev.char.bmes"):
        assert files[name].sha256 == sha256((test_data / "data" / "resumener" / name).read_bytes())
