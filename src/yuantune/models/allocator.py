"""The C library's allocator, told to keep what is freed.

A training step frees its activations and asks for as many again. glibc gives large blocks back to the kernel, and
takes them anew page by page, each page zeroed: a tenth to a third of a small model's step on a CPU
(docs/benchmarks.md). Kept, they are used again as they are.

Not so with gradient checkpointing: each layer's input, which stays, is put into a hole that a wide block has left,
and the next layer asks for a new one. Twelve layers of the 2B shape held 2.5 GiB beside their weights for 0.9.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""M_TRIM_THRESHOLD and so on, of malloc.h."""
_LARGEST_THRESHOLD = 32 * 2**20
"""Where glibc's own threshold for a mapping ends up by itself; that for trimming is twice as high."""
_OWN = ("GLIBC_TUNABLES", "LD_PRELOAD", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
"""Who sets one of these has chosen an allocator, or how it behaves."""


def keep_freed_memory() -> bool:
    """From now on, this process keeps the memory that it frees. Whether that could be had: with glibc, unless the
    environment says how its allocator shall behave."""
    libc = _glibc()
    return libc is not None and bool(libc.mallopt(_MMAP_MAX, 0)) and bool(libc.mallopt(_TRIM_THRESHOLD, -1))


def give_freed_memory_back() -> bool:
    """What was kept, and what is freed from now on. Whether that could be had."""
    libc = _glibc()
    if libc is None:
        return False
    told = (_MMAP_MAX, 65536), (_MMAP_THRESHOLD, _LARGEST_THRESHOLD), (_TRIM_THRESHOLD, 2 * _LARGEST_THRESHOLD)
    done = all([bool(libc.mallopt(name, value)) for name, value in told])
    libc.malloc_trim(0)
    return done


def _glibc() -> Any:
    """The C library, where it is glibc and nobody has said how its allocator shall behave."""
    if any(name in os.environ for name in _OWN):
        return None
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  (musl and macOS have none, and other numbers.)
        libc.mallopt  # noqa: B018
    except (AttributeError, OSError, TypeError):
        return None
    return libc
