"""The corpus: which files, their hashes and licences, and how their lines are cleaned."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from recipes.yuan2_mini.held_out import HeldOut

from yuantune.errors import DataError, Problem

EVAL_LINES = 2
"""Lines in a thousand that go to validation, by their own hash."""
REPEAT = 40
"""A line is left out where this many characters of it in a row (seen by one window in `THINNING`) were in an
earlier line: statutes copy each other, and what is read often is learnt by heart (Lee et al., "Deduplicating
training data makes language models better", ACL 2022)."""
THINNING = 16


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the corpus. `loose` says that its lines hold stray spaces between Chinese characters."""

    file: str
    sha256: str
    origin: str
    licence: str
    loose: bool = False

    @property
    def name(self) -> str:
        """The file's name without its suffixes."""
        return self.file.removesuffix(".txt.xz")


SOURCES = (
    Source(
        "histories-modern.txt.xz",
        "46879f29609606bf21d887d6a3871568bae6e5ccb59b28ca2a29d59f4912fc4c",
        "NiuTrans/Classical-Modern, the modern-Chinese side",
        "MIT, as the repository states it; gathered from the web, so the tag may not cover every translator",
        loose=True,
    ),
    Source(
        "laws.txt.xz",
        "43cdd9fbe94f1a6eb83151e33a54f4802fae4a16d8a4bedce0e7be8d6f85ad55",
        "LawRefBook/Laws",
        "none stated; statutes are not subject to copyright in the PRC",
    ),
    Source(
        "kdconv.txt.xz",
        "35c282e8f5e2cdf693b848ce0cc2fed5edf003d70941d900bb9ea625e9d42175",
        "thu-coai/KdConv",
        "Apache-2.0",
    ),
    Source(
        "csl.txt.xz",
        "abd68ee0e7832bf9ed37bb6ad9c82ea6b664532fa6ded6c334897943c1fa4738",
        "ydli-ai/CSL",
        "Apache-2.0",
    ),
    Source(
        "paddle.txt.xz",
        "a600997e48811194c35ec9e65b91be89f9b075bc0b2093c3858174156113d8b4",
        "PaddlePaddle/docs, Chinese pages",
        "Apache-2.0",
    ),
)
NAMES = Source(
    "names/company-short-names.txt.xz",
    "b09c5d529c1090537373d2343e8704a963986c71c512b9eb0154ecba885024f5",
    "wainshine/Company-Names-Corpus, short names of companies",
    "Apache-2.0",
)
"""Encyclopedia passages (cmrc.txt.xz) are left out: their licence, CC BY-SA 4.0, would be the weights' too."""

_SPACES = re.compile("[\t\u00a0\u2000-\u200a\u202f\u205f\u3000]+")
_LOOSE = re.compile("(?<=[^\x00-\x7f]) +(?=[^\x00-\x7f])")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]")
_DAMAGED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ue000-\uf8ff\ufffd\U000f0000-\U0010ffff]|锟斤拷")
_HAN = re.compile("[\u3400-\u9fff]")


def check_hashes(corpus: Path) -> dict[str, str]:
    """SHA-256 of every source in the folder `corpus`. Raises DataError where one is missing or another file."""
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for source in (*SOURCES, NAMES):
        path = corpus / source.file
        if not path.is_file():
            problems.append(Problem(str(path), "is not there"))
            continue
        found[source.file] = hashlib.sha256(path.read_bytes()).hexdigest()
        if found[source.file] != source.sha256:
            problems.append(Problem(str(path), f"has SHA-256 {found[source.file]}, not {source.sha256}"))
    if problems:
        raise DataError("the corpus is not the one that this recipe was written for", problems=problems)
    return found


def tidy(line: str, *, loose: bool) -> str:
    """The line with plain spaces and nothing invisible, or nothing where it is damaged or not Chinese."""
    line = _SPACES.sub(" ", _INVISIBLE.sub("", line)).strip()
    if _DAMAGED.search(line):
        return ""
    if loose:
        line = _LOOSE.sub("", line)
    return line if 2 * len(_HAN.findall(line)) >= len(line) else ""


def for_validation(line: str) -> bool:
    """Whether this line is kept for validation: the same answer in every run."""
    return zlib.crc32(line.encode()) % 1000 < EVAL_LINES


class Cleaner:
    """Cleans the lines of one source after another; `counts` says what became of them, by source."""

    def __init__(self, held_out: HeldOut) -> None:
        self._held_out = held_out
        self._lines: set[bytes] = set()
        self._windows: set[bytes] = set()
        self.counts: dict[str, Counter[str]] = {}

    def clean(self, source: Source, lines: Iterable[str]) -> Iterator[str]:
        """The lines that pretraining reads, in their order."""
        counts = self.counts.setdefault(source.name, Counter())
        for raw in lines:
            line = tidy(raw, loose=source.loose)
            fate = self._fate(line)
            counts[fate] += 1
            if fate == "kept":
                counts["characters"] += len(line)
                yield line

    def _fate(self, line: str) -> str:
        if not line:
            return "damaged"
        key = _key(line.encode("utf-16-le"))
        if key in self._lines:
            return "repeated"
        self._lines.add(key)
        windows = set(_some_windows(line))
        if not windows.isdisjoint(self._windows):
            return "repeated in part"
        if self._held_out.touches(line):
            return "held out"
        self._windows |= windows
        return "kept"


def _some_windows(line: str) -> Iterator[bytes]:
    """Keys of about one in THINNING windows of REPEAT characters, chosen by their own content."""
    raw = line.encode("utf-16-le")
    size = 2 * REPEAT
    for at in range(0, len(raw) - size + 1, 2):
        window = raw[at : at + size]
        if not zlib.crc32(window) % THINNING:
            yield _key(window)


def _key(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=8).digest()
