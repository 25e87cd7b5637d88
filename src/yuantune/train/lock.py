"""One writer a run folder: a lock that the system takes back when its process ends, however it ends."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from yuantune.errors import RunError

LOCK_FILE = ".lock"


class RunLock:
    """The right to write to a run folder. `take` takes it; as a context manager it is given back at the end.

    It is flock(2) on `RUN/.lock`, which goes with it. Where a file system or the platform has no such locks,
    nothing is locked: that is no reason not to train."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / LOCK_FILE
        self._file: int | None = None

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def take(self) -> None:
        """Raises RunError where another process (or thread) writes to the folder, OSError where the lock's file
        cannot be made."""
        if self._file is not None:
            return
        while True:
            # Never through a link: what it leads to would be written over.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
            file = os.open(self.path, flags, 0o644)
            try:
                locked = _lock(file)
                # Its owner may have removed it since it was opened: that one would lock nothing.
                if not locked or os.path.samestat(os.fstat(file), os.stat(self.path)):
                    break
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(file)
                raise
            os.close(file)
        if not locked:
            owner = ""
            with suppress(OSError, ValueError):
                owner = f" ({os.read(file, 200).decode().strip()})"
            os.close(file)
            raise RunError(
                f"another process{owner} is writing to {self.folder}",
                hint="wait for it to end, or stop it; or choose another output_dir",
            )
        self._file = file
        _held.add(self)
        with suppress(OSError):
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def release(self) -> None:
        """Give it back, if it was taken."""
        if self._file is not None:
            with suppress(OSError):
                self.path.unlink()
            _held.discard(self)
            os.close(self._file)
            self._file = None


def _lock(file: int) -> bool:
    """Whether the file is locked now; True too where there are no locks."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


_held: set[RunLock] = set()


def _close_all() -> None:
    for lock in _held:
        if lock._file is not None:
            os.close(lock._file)
            lock._file = None
    _held.clear()


# A process that loads data would hold the lock on after its parent was killed.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
