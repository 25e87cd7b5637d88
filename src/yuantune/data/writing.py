"""Writing files that are whole or absent."""

from __future__ import annotations

import errno
import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from yuantune.errors import DataError, DiskFailed


@contextmanager
def written_whole(path: Path, *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """A file that appears under `path` when the block ends without an exception, or not at all.

    Raises DataError where `path` exists (unless `overwrite`) or its folder does not, DiskFailed where the
    disk refuses."""
    check_target(path, overwrite=overwrite)
    try:
        with replacing(path) as file:
            yield file
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        why = "no space left on the disk" if full else f"cannot be written ({error.strerror or error})"
        raise DiskFailed(f"{path}: {why}; nothing was written") from error


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path`, on the disk as well, when the block ends without an exception.

    Raises OSError where the disk refuses."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk: a new name may else be lost with the power, its file being there.

    Raises OSError where the disk refuses; file systems that know no such thing are left alone."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def growing(path: Path) -> Iterator[Callable[[str], None]]:
    """A new file and what appends to it: whatever ends the work, all that was written until then is in it.

    Raises DataError where `path` exists or its folder does not, DiskFailed where the disk refuses."""
    check_target(path)
    try:
        file = path.open("x", encoding="utf-8")
    except OSError as error:
        raise DiskFailed(f"{path}: cannot be written ({error.strerror or error})") from error

    def write(text: str) -> None:
        try:
            file.write(text)
            file.flush()
        except OSError as error:
            raise DiskFailed(f"{path}: cannot be written on ({error.strerror or error})") from error

    with suppress(OSError), file:  # What closing may refuse to write, `write` has said.
        yield write


def check_target(path: Path, *, overwrite: bool = False) -> None:
    """Raises DataError where `path` exists (unless `overwrite`), is a folder, or has no folder to go to."""
    if why := obstacle(path.parent):
        raise DataError(f"{path} cannot be written: {why}")
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder, not a file to write")
        if path.exists() and not overwrite:
            raise DataError(f"{path} exists already", hint="choose another name, or overwrite it on purpose")
        if not path.parent.is_dir():
            hint = f"mkdir -p {shlex.quote(str(path.parent))}"
            raise DataError(f"{path}: the folder {path.parent} does not exist", hint=hint)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error


def obstacle(folder: Path) -> str:
    """Why `folder` can neither be made nor, if it is there, be written to; an empty string where it can."""
    try:
        place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not place.is_dir():
            return f"{place} is a file"
        return "" if os.access(place, os.W_OK | os.X_OK) else f"{place} may not be written to"
    except OSError as error:  # A name that is too long, a folder that may not be entered.
        return error.strerror or str(error)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text in place of what is there; a reader sees the old file or the new one, never half."""
    write_lines(path, [text])


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON objects, one a line, as `write_lines` does."""
    write_lines(path, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_lines(path: Path, chunks: Iterable[str]) -> None:
    """Write chunks of UTF-8 text, one after the other, into one file that appears when all are written. Its folder
    is made. Raises as `written_whole`."""
    if why := obstacle(path.parent):
        raise DataError(f"{path} cannot be written: {why}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskFailed(f"{path}: the folder {path.parent} cannot be made: {error.strerror}") from error
    with written_whole(path, overwrite=True) as file:
        for chunk in chunks:
            file.write(chunk.encode())
