"""Bytes to lines: compression, encoding, damage."""

from __future__ import annotations

import gzip
import io
import lzma
import shlex
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from yuantune.data.problems import Problems
from yuantune.data.record import Source

COMPRESSED = (".gz", ".xz")

UNPACKED_FREELY = 64 << 20
"""Bytes that any compressed file may hold."""
UNPACKED_TIMES = 200
"""So many times its own bytes a larger one may hold: text comes to 3 to 30, nothing but repetition to 1,000."""
_HEAD = 1 << 16
_UTF16 = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def open_bytes(path: Path) -> IO[bytes]:
    """`path` opened for reading, decompressed where its suffix says so. Raises, also while it is read, what
    `DAMAGE` lists; so for a small file that unpacks to what would fill the disk or the memory."""
    if path.suffix not in COMPRESSED:
        return path.open("rb")
    unpack: Callable[..., Any] = gzip.open if path.suffix == ".gz" else lzma.open
    return cast(IO[bytes], io.BufferedReader(_Unpacked(unpack(path, "rb"), path.stat().st_size)))


class _Unpacked(io.RawIOBase):
    """What a compressed file of `size` bytes holds. Raises OSError where that grows beyond what text does."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._most = max(UNPACKED_FREELY, size * UNPACKED_TIMES)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        if self._file.tell() > self._most:
            raise OSError(f"unpacked it has more than {UNPACKED_TIMES} times its bytes, which no text has")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def suffix_of(path: Path) -> str:
    """The last suffix, in small letters, without that of a compression."""
    name = path.name.lower()
    for compressed in COMPRESSED:
        name = name.removesuffix(compressed)
    return Path(name).suffix


DAMAGE = (OSError, EOFError, lzma.LZMAError, zlib.error)
"""What reading from `open_bytes` raises where the file cannot be read, or is damaged, or cut."""


class Lines:
    """The lines of a UTF-8 text file, without their line ends, one in memory at a time.

    A line that cannot be decoded, holds a NUL byte or is longer than `limit` bytes is added to `problems` and
    left out. Where the file as a whole is in another encoding, that is one problem and the end of the lines.
    `number` is the 1-based line yielded last; `keep_ends` leaves line ends in place, for the csv module."""

    def __init__(self, path: Path, problems: Problems, *, limit: int, keep_ends: bool = False) -> None:
        self.path = path
        self.number = 0
        self._problems = problems
        self._limit = limit
        self._keep_ends = keep_ends
        self._seen_utf8 = False

    def source(self, line: int | None = None) -> Source:
        """Where line `line` (default: the one yielded last) stands."""
        return Source(str(self.path), self.number if line is None else line)

    def __iter__(self) -> Iterator[str]:
        try:
            with open_bytes(self.path) as file:
                head = file.read(_HEAD)
                if not head:
                    self._problems.add(self.path, "the file is empty")
                    return
                if encoding := utf16(head):
                    self._wrong_encoding(1, f"the text is {encoding}, not UTF-8", encoding)
                    return
                file.seek(0)
                yield from self._decoded(file)
        except DAMAGE as error:
            self._problems.add(self.source(self.number + 1), f"cannot be read from here on ({error})")

    def _decoded(self, file: IO[bytes]) -> Iterator[str]:
        while raw := file.readline(self._limit + 1):
            self.number += 1
            if len(raw) > self._limit and not raw.endswith(b"\n"):
                while raw and not raw.endswith(b"\n"):
                    raw = file.readline(1 << 20)
                self._problems.add(self.source(), f"the line is longer than {self._limit} bytes")
                continue
            if self.number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if (nul := raw.find(b"\0")) >= 0:
                self._problems.add(self.source(), f"a NUL byte at byte {nul + 1} (is the file text?)")
                continue
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                guess = guess_encoding(raw)
                what = f"byte 0x{raw[error.start]:02x} at byte {error.start + 1} is not UTF-8"
                if guess and not self._seen_utf8:
                    self._wrong_encoding(self.number, f"{what}; the file looks like {guess}", guess)
                    return
                self._problems.add(self.source(), what)
                continue
            self._seen_utf8 = self._seen_utf8 or not raw.isascii()
            yield text if self._keep_ends else text.rstrip("\r\n")

    def _wrong_encoding(self, line: int, what: str, encoding: str) -> None:
        name = self.path.name.removesuffix(".gz").removesuffix(".xz")
        command = f"iconv -f {encoding} -t UTF-8 {shlex.quote(name)} > {shlex.quote('utf8-' + name)}"
        self._problems.add(self.source(line), what, hint=f"convert it: {command}")


def utf16(head: bytes) -> str:
    """Which of UTF-16, UTF-16LE, UTF-16BE or UTF-32 a file that begins with `head` is in, or ""."""
    if head[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return "UTF-32"
    if head[:2] in _UTF16:
        return _UTF16[head[:2]]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    # Every ASCII character and line end of UTF-16 has one zero byte, always on the same side.
    if max(even, odd) * 20 > len(head) and min(even, odd) * 10 < max(even, odd):
        return "UTF-16LE" if odd > even else "UTF-16BE"
    return ""


def guess_encoding(raw: bytes) -> str:
    """Which Chinese encoding bytes that are not UTF-8 look like: "GB18030", "BIG5" or "".

    Nearly any pair of high bytes decodes as either, so common characters decide: those of GB 2312's first
    level (ordered by sound) and of Big5's (by strokes)."""
    for name, plain, first, last in (("GB18030", "gb2312", 0xA1, 0xD7), ("BIG5", "big5", 0xA1, 0xC6)):
        try:
            text = raw.decode(name)
        except UnicodeDecodeError:
            continue
        foreign = [character for character in text if ord(character) > 127]
        usual = 0
        for character in foreign:
            code = character.encode(plain, "ignore")
            usual += len(code) == 2 and first <= code[0] <= last
        if foreign and usual >= 0.8 * len(foreign):
            return name
    return ""
