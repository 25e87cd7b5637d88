"""Data sets that yuantune may not ship: fetched from where their authors put them, checked by hash."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from yuantune.data.writing import obstacle, written_whole
from yuantune.errors import DataError, UserError, WorkFailed, nearest

SUMS = "SHA256SUMS"
"""The file beside the data that keeps its hashes, as `sha256sum --check` reads it."""

_CHUNK = 1 << 16
_TIMEOUT = 60
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a data set; `sha256` is None where its hash was not known when this was written."""

    name: str
    url: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set that can be fetched, and what one must know before using it."""

    title: str
    notice: str
    citation: str
    files: tuple[RemoteFile, ...]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What `get` did: the files in the data set's order, the notice and citation to show, and remarks."""

    paths: tuple[Path, ...]
    notice: str
    notes: tuple[str, ...]


_RESUMENER = "https://raw.githubusercontent.com/jiesutd/LatticeLSTM/master/ResumeNER"

DATASETS = {
    "resumener": DataSet(
        title="ResumeNER: résumés of Chinese executives, 8 types of entities, BMES tags",
        notice=(
            "ResumeNER states no licence. It holds public résumés of real people, crawled from a finance"
            " site. Whether you may use it, and for what, is yours to judge; do not publish its rows, or"
            " models trained on it, without having judged that."
        ),
        citation=(
            "Yue Zhang and Jie Yang. Chinese NER Using Lattice LSTM. In Proceedings of the 56th Annual"
            " Meeting of the Association for Computational Linguistics (ACL), 2018."
        ),
        files=(
            RemoteFile(
                "train.char.bmes",
                f"{_RESUMENER}/train.char.bmes",
                "93b9bb0be5dd4730121587f9dc1378de3fbbe55cba1c575edec271f822c27be7",
            ),
            RemoteFile(
                "dev.char.bmes",
                f"{_RESUMENER}/dev.char.bmes",
                "1b0d67153e6e8543e9444936ed1b107bd843078c282533898085e1a9aa293952",
            ),
            RemoteFile("test.char.bmes", f"{_RESUMENER}/test.char.bmes", None),
        ),
    ),
}
"""What `get` knows, by name."""


def get(name: str, target: Path, *, accept: bool) -> Fetched:
    """Fetch data set `name` into the folder `target` (made where it is missing).

    Files that are there with the right hash are not fetched again. Where no hash is known here, the first one
    is recorded in `SHA256SUMS` beside the file, and the file held to that from then on.

    Raises UserError, with notice and citation, unless `accept`; DataError for an unknown name, or where
    another file is in the way; WorkFailed where a file cannot be fetched or is not what it should be. A
    file is written whole or not at all."""
    if name not in DATASETS:
        raise DataError(f"unknown data set '{name}'{nearest(name, DATASETS)}", hint=f"known: {', '.join(DATASETS)}")
    dataset = DATASETS[name]
    notice = f"{dataset.notice}\nCite: {dataset.citation}"
    if not accept:
        raise UserError(f"{dataset.title}\n{notice}", hint="say --accept to fetch it on these terms")
    if why := obstacle(target):
        raise DataError(f"the folder {target} cannot be made: {why}")
    with _made(target):
        return _get(dataset, target, notice)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Makes `folder`; where the block fails, it goes again, with those above it that were made, if it is empty."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with suppress(OSError):
            for path in new:
                path.rmdir()
        raise


def _get(dataset: DataSet, target: Path, notice: str) -> Fetched:
    recorded = _recorded(target / SUMS)
    missing = [file for file in dataset.files if not _is_there(target / file.name, _expected(file, recorded))]
    sums = {file.name: _hash(target / file.name) for file in dataset.files if file not in missing}
    for file in missing:
        sums[file.name] = _fetch(file, target / file.name, _expected(file, recorded))
    with written_whole(target / SUMS, overwrite=True) as out:
        out.write("".join(f"{sums[file.name]}  {file.name}\n" for file in dataset.files).encode())
    notes = [
        f"{file.name}: no hash to check against is known; recorded {sums[file.name]} in {SUMS}"
        for file in dataset.files
        if _expected(file, recorded) is None
    ]
    return Fetched(tuple(target / file.name for file in dataset.files), notice, tuple(notes))


def _expected(file: RemoteFile, recorded: dict[str, str]) -> str | None:
    return file.sha256 or recorded.get(file.name)


def _is_there(path: Path, sha256: str | None) -> bool:
    """Whether the file is there (any file, where no hash is known). Raises DataError where it is another."""
    if not path.exists():
        return False
    if path.is_file() and (sha256 is None or _hash(path) == sha256):
        return True
    raise DataError(f"{path} is there already, and is another file", hint="move it away, or name another folder")


def _fetch(file: RemoteFile, path: Path, sha256: str | None) -> str:
    """Write the file from its address, and return its hash."""
    digest = hashlib.sha256()
    with written_whole(path) as out:
        for chunk in _download(file):
            digest.update(chunk)
            out.write(chunk)
        if sha256 is not None and digest.hexdigest() != sha256:
            raise WorkFailed(
                f"{file.url} is not the file that is known: SHA-256 {digest.hexdigest()}, expected {sha256}",
                hint="the file may have been changed by its authors, or damaged on the way",
            )
    return digest.hexdigest()


def _download(file: RemoteFile) -> Iterator[bytes]:
    size = 0
    try:
        with urllib.request.urlopen(file.url, timeout=_TIMEOUT) as response:
            while chunk := response.read(_CHUNK):
                size += len(chunk)
                if size > _MAX_BYTES:
                    raise WorkFailed(f"{file.url}: more than {_MAX_BYTES >> 30} GiB, which it should not be")
                yield chunk
    except (OSError, HTTPException) as error:  # Also URLError, timeouts, broken connections.
        raise WorkFailed(
            f"{file.url}: cannot be fetched ({error})",
            hint=f"fetch it by other means, as {file.name} in the folder, and run this again",
        ) from error


def _recorded(path: Path) -> dict[str, str]:
    """Hashes by file name, from an earlier time; none where there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error})", hint="move it away") from error
    pairs = [line.split("  ", 1) for line in lines if "  " in line]
    return {name: sha256 for sha256, name in pairs}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
