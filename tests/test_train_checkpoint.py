"""Folders that are whole or absent: how they are written, found, passed over and removed; and the lock."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import ERRORS, Faults
from tests.test_cli_run import run as command
from yuantune.errors import RunError
from yuantune.train import folder as run_folder
from yuantune.train.checkpoint import (
    FORMER,
    MARKER,
    TEMPORARY,
    begin,
    checkpoints,
    examine,
    flaws,
    newest_checkpoint,
    newest_whole,
    prune,
    publish,
    tidy,
)
from yuantune.train.lock import LOCK_FILE, RunLock


def write(run: Path, step: int, content: bytes = b"weights", *, name: str = "") -> Path:
    """A checkpoint of three files, one of them in a folder."""
    run.mkdir(exist_ok=True)
    name = name or f"checkpoint-{step}"
    made = begin(run) / name
    (made / "more").mkdir(parents=True)
    (made / "more" / "part.bin").write_bytes(content * 100)
    (made / "adapter_model.safetensors").write_bytes(content)
    (made / "trainer_state.json").write_text(json.dumps({"global_step": step}), "utf-8")
    publish(run, name, step)
    return run / name


def test_the_marker_has_every_file(tmp_path: Path) -> None:
    path = write(tmp_path / "run", 6)
    marker = json.loads((path / MARKER).read_text("utf-8"))
    assert marker["step"] == 6 and marker["versions"]["torch"]
    assert marker["files"] == {
        name: {"size": len(data := (path / name).read_bytes()), "sha256": hashlib.sha256(data).hexdigest()}
        for name in ("adapter_model.safetensors", "more/part.bin", "trainer_state.json")
    }
    assert flaws(path) == []
    assert [each.name for each in (tmp_path / "run").iterdir()] == ["checkpoint-6"]


def test_all_is_on_the_disk_before_the_marker_and_the_marker_before_anything_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the calls: every file, its folder, the new name, the marker."""
    calls: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def name_of(descriptor: int) -> str:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}")).name

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append(f"sync {name_of(file)}"), fsync(file)))
    monkeypatch.setattr(os, "rename", lambda a, b: (calls.append(f"rename to {Path(b).name}"), rename(a, b)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append(f"rename to {Path(b).name}"), replace(a, b)))
    run = tmp_path / "run"
    write(run, 1)
    calls.clear()
    prune(run, write(run, 2), 1, None)
    assert calls[:4] == [
        "sync adapter_model.safetensors", "sync more", "sync part.bin", "sync trainer_state.json",
    ]  # fmt: skip
    assert calls[4:7] == ["sync checkpoint-2", "rename to checkpoint-2", "sync run"]
    assert calls[7].startswith(f"sync .{MARKER}.")
    assert calls[8:] == [f"rename to {MARKER}", "sync checkpoint-2", "rename to checkpoint-1"]
    assert list(checkpoints(run)) == [2]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def altered(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


@pytest.mark.parametrize(
    ("file", "harm", "expected", "by_size"),
    [
        ("adapter_model.safetensors", flip, "is damaged: its content is not what was written", False),
        ("more/part.bin", flip, "is damaged", False),
        ("more/part.bin", lambda path: path.write_bytes(b"weights"), "has 7 bytes, and was written with 700", True),
        ("more/part.bin", Path.unlink, "is missing", True),
        ("more", shutil.rmtree, "is missing", True),
        (MARKER, Path.unlink, "its writing was cut short", True),
        (MARKER, lambda path: path.write_bytes(path.read_bytes()[:-9]), "is damaged", True),
        (MARKER, lambda path: path.write_text("[]"), "is damaged: it lacks", True),
        (MARKER, lambda path: path.write_bytes(b"\xff\xfe"), "is damaged", True),
        (MARKER, lambda path: altered(path, step=5), "is that of step 5", True),
        (MARKER, lambda path: altered(path, files={"../a": {"size": 1, "sha256": ""}}), "outside of its", True),
        (MARKER, lambda path: altered(path, files={"/etc/a": {"size": 1, "sha256": ""}}), "outside of its", True),
    ],
)
def test_what_is_damaged_is_named_and_passed_over(
    tmp_path: Path, file: str, harm: Callable[[Path], object], expected: str, by_size: bool
) -> None:
    run = tmp_path / "run"
    before = write(run, 3)
    last = write(run, 6)
    harm(last / file)
    checkpoint, problems = newest_whole(run)
    assert checkpoint == before
    assert len(problems) == 1 and expected in problems[0].what
    where = last if expected.startswith("its writing") else last / (file if file != "more" else "more/part.bin")
    assert problems[0].where == str(where)
    assert newest_checkpoint(run) == (before if by_size else last)
    examined = {each.name: each.problems for each in examine(run)}
    assert examined == {"checkpoint-3": [], "checkpoint-6": problems}


def test_a_checkpoint_without_marker_counts_where_nothing_whole_is_left(tmp_path: Path) -> None:
    """As earlier versions wrote them, and as long as nothing seems to be missing."""
    import torch
    from safetensors.torch import save_file

    run = tmp_path / "run"
    for step in (3, 6, 9):
        path = run / f"checkpoint-{step}"
        path.mkdir(parents=True)
        save_file({"a": torch.zeros(9)}, path / "adapter_model.safetensors")
        torch.save({}, path / "optimizer.pt")
        (path / "trainer_state.json").write_text(json.dumps({"global_step": step}), "utf-8")
    (run / "checkpoint-9" / "trainer_state.json").unlink()
    whole = (run / "checkpoint-6" / "optimizer.pt").read_bytes()
    assert newest_whole(run)[0] == run / "checkpoint-6"
    (run / "checkpoint-6" / "optimizer.pt").write_bytes(whole[:-50])
    checkpoint, problems = newest_whole(run)
    assert checkpoint == run / "checkpoint-3"
    nine, six, three = (run / f"checkpoint-{step}" for step in (9, 6, 3))
    assert [problem.where for problem in problems] == [
        str(path) for path in (nine, nine / "trainer_state.json", six, six / "optimizer.pt", three)
    ]
    (run / "checkpoint-6" / "optimizer.pt").write_bytes(whole)
    checkpoint, problems = newest_whole(run)
    assert checkpoint == six and not any(problem.where == str(three) for problem in problems)
    # An older one with a marker is sure.
    write(run, 1)
    assert newest_whole(run)[0] == run / "checkpoint-1"


@pytest.mark.parametrize(
    ("steps", "unmarked", "newest", "limit", "best", "left"),
    [
        ((1, 2, 3), (), 3, None, None, {1, 2, 3}),
        ((1, 2, 3), (), 3, 2, None, {2, 3}),
        ((1, 2, 10), (), 10, 1, None, {10}),
        ((1, 2, 3), (), 3, 2, 1, {1, 3}),
        ((1, 2, 3, 4), (), 4, 3, 1, {1, 3, 4}),
        ((1, 2, 3), (), 3, 1, 2, {2, 3}),  # The newest to go on from, the best to end with.
        ((1, 2, 3), (), 3, 1, 9, {3}),  # The best is not there.
        ((1, 2, 9), (), 2, 2, None, {1, 2}),  # Passed over by a resume that has come to 2.
        ((1, 2, 3, 4), (3,), 4, 2, None, {2, 4}),
        ((1, 2, 3), (1, 2), 3, 2, None, {2, 3}),
    ],
)
def test_which_checkpoints_go(
    tmp_path: Path,
    steps: tuple[int, ...],
    unmarked: tuple[int, ...],
    newest: int,
    limit: int | None,
    best: int | None,
    left: set[int],
) -> None:
    run = tmp_path / "run"
    for step in steps:
        path = write(run, step)
        if step in unmarked:
            (path / MARKER).unlink()
    prune(run, run / f"checkpoint-{newest}", limit, best)
    assert checkpoints(run).keys() == left
    assert not (run / TEMPORARY).exists()


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run, 3)
    write(run, 6, name="adapter")
    (begin(run) / "checkpoint-6").mkdir()
    tidy(run)
    assert sorted(path.name for path in run.iterdir()) == ["adapter", "checkpoint-3"]
    # Stopped before the new one was there, before its marker was there, and before the former one was removed.
    for new in (None, "half", "whole"):
        other = write(tmp_path / "other", 7, b"other", name="adapter")
        (run / FORMER).mkdir()
        (run / "adapter").rename(run / FORMER / "adapter")
        if new is not None:
            other.rename(run / "adapter")
        if new == "half":
            (run / "adapter" / MARKER).unlink()
        tidy(run)
        content = (run / "adapter" / "adapter_model.safetensors").read_bytes()
        assert content == (b"other" if new == "whole" else b"weights")
        assert sorted(path.name for path in run.iterdir()) == ["adapter", "checkpoint-3"]
        assert flaws(run / "adapter") == []


@pytest.mark.parametrize("for_good", [False, True])
@pytest.mark.parametrize("error", ERRORS)
def test_the_former_one_is_whole_whatever_fails(tmp_path: Path, error: int, for_good: bool) -> None:
    """Each call of a save over an existing folder fails in turn, once or from then on."""
    run = tmp_path / "run"
    write(run, 3, name="adapter")
    failed = 0
    for number in range(1000):
        faults = Faults(number, error, for_good=for_good)
        try:
            with faults:
                write(run, 6, b"other", name="adapter")
        except OSError as caught:
            assert caught.errno == error
            failed += 1
        tidy(run)
        assert flaws(run / "adapter") == []
        assert [path.name for path in run.iterdir()] == ["adapter"]
        if not faults.happened:
            break
        if (run / "adapter" / "adapter_model.safetensors").read_bytes() == b"other":
            write(run, 3, name="adapter")
    assert failed > 15


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with RunLock(tmp_path) as lock:
        lock.take()
        lock.take()
        with RunLock(tmp_path) as other, pytest.raises(RunError, match="is writing to") as caught:
            other.take()
        assert f"process {os.getpid()} on " in caught.value.message
        assert (tmp_path / LOCK_FILE).exists()
    assert not (tmp_path / LOCK_FILE).exists()
    with RunLock(tmp_path) as other:
        other.take()


HOLD = """
import os, sys, time
from pathlib import Path
from yuantune.train.lock import RunLock
RunLock(Path(sys.argv[1])).take()
if os.fork() == 0:
    print("locked", flush=True)
    sys.stdin.read()
else:
    time.sleep(600)
"""


def test_a_killed_writer_blocks_nobody_though_its_children_live(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with RunLock(tmp_path) as lock, pytest.raises(RunError, match=f"process {process.pid} on"):
            lock.take()
        process.kill()
        process.wait()
        with RunLock(tmp_path) as lock:
            lock.take()


def test_a_lock_that_was_removed_meanwhile_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner has ended between our opening the file and our locking it."""
    from yuantune.train import lock as module

    locked, times = module._lock, []

    def late(file: int) -> bool:
        times.append(file)
        if len(times) == 1:
            (tmp_path / LOCK_FILE).unlink()
        return locked(file)

    monkeypatch.setattr(module, "_lock", late)
    with RunLock(tmp_path) as lock:
        lock.take()
        assert len(times) == 2
        with RunLock(tmp_path) as other, pytest.raises(RunError):
            other.take()


def test_of_two_that_begin_at_once_one_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with RunLock(run) as first, RunLock(run) as second:
        run_folder.make(run, first)
        with pytest.raises(RunError, match="is writing to"):
            run_folder.make(run, second)
        write(run, 1)
    # The second came when the first had ended.
    with RunLock(run) as second, pytest.raises(RunError, match="already exists"):
        run_folder.make(run, second)


def test_verify(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert command(capsys, "verify", run)[0] == 2
    run.mkdir()
    assert command(capsys, "verify", run)[0] == 2
    for step in (3, 12):
        write(run, step)
    write(run, 12, name="adapter")
    code, out, err = command(capsys, "verify", run)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{name}: whole (3 files, 0.0 MiB)" for name in ("checkpoint-3", "checkpoint-12", "adapter")
    ]
    flip(run / "checkpoint-12" / "more" / "part.bin")
    (run / "adapter" / MARKER).unlink()
    code, out, err = command(capsys, "verify", run)
    assert code == 1
    assert out.splitlines()[0] == "checkpoint-3: whole (3 files, 0.0 MiB)"
    assert f"checkpoint-12: not whole: {run / 'checkpoint-12' / 'more' / 'part.bin'} is damaged" in out
    assert f"adapter: not whole: {run / 'adapter'} has no {MARKER}" in out
    assert f"2 of 3 in {run} are not whole" in err
    code, out, _ = command(capsys, "verify", run, "--json")
    assert code == 1
    folders = json.loads(out)["folders"]
    assert [folder["whole"] for folder in folders] == [True, False, False]
    assert folders[0]["files"] == 3 and folders[0]["bytes"] == 707 + len('{"global_step": 3}')
    assert folders[1]["problems"][0]["where"].endswith("part.bin")


def test_folders_that_cannot_be_synced_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems do not know of it; one that has lost the data says so."""
    from yuantune.data.writing import sync_folder

    def fail(number: int) -> Callable[[int], None]:
        def fsync(file: int) -> None:
            raise OSError(number, os.strerror(number))

        return fsync

    monkeypatch.setattr(os, "fsync", fail(errno.EINVAL))
    sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        sync_folder(tmp_path)
