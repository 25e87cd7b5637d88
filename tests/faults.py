"""A disk that refuses: the calls that write are counted, and the one of a given number fails."""

from __future__ import annotations

import builtins
import errno
import io
import os
import resource
from collections.abc import Callable
from typing import Any

import pytest

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)
LITTLE = 100
"""Bytes that a file may grow to where a library's own code, below Python, writes it: that write fails then."""


class Faults:
    """While it is entered, call `number` (from 0) of those that open for writing, write, sync, make or rename fails
    with `error`, and, `for_good`, all later ones. `happened` says whether there was such a call.

    torch and safetensors write by themselves: their `native` functions, `(owner, name)`, meet a limit on file
    sizes."""

    def __init__(
        self, number: int, error: int, *, for_good: bool = False, native: tuple[tuple[Any, str], ...] = ()
    ) -> None:
        self.number, self.error, self.for_good, self.native = number, error, for_good, native
        self.calls = 0
        self.happened = False

    def __enter__(self) -> Faults:
        self.patch = pytest.MonkeyPatch()
        real = builtins.open
        for module in (builtins, io):
            self.patch.setattr(module, "open", self._opening(real))
        for name in ("fsync", "mkdir", "rename", "replace", "open"):
            self.patch.setattr(os, name, self._failing(getattr(os, name)))
        for owner, name in self.native:
            self.patch.setattr(owner, name, self._short(getattr(owner, name)))
        return self

    def __exit__(self, *_: object) -> None:
        self.patch.undo()

    def _due(self) -> bool:
        """Whether this call is to fail."""
        self.calls += 1
        due = self.calls > self.number if self.for_good else self.calls == self.number + 1
        self.happened = self.happened or due
        return due

    def check(self) -> None:
        """A call."""
        if self._due():
            raise OSError(self.error, os.strerror(self.error))

    def _failing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            self.check()
            return function(*args, **more)

        return call

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
            if not set(mode) & set("wax+"):
                return real(file, mode, *args, **more)
            self.check()
            return _File(real(file, mode, *args, **more), self)

        return call

    def _short(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if not self._due():
                return function(*args, **more)
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (LITTLE, before[1]))
            try:
                return function(*args, **more)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)

        return call


class _File:
    """An open file whose writes are calls."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, content: Any) -> Any:
        self._faults.check()
        return self._file.write(content)
