"""The C library's allocator, told to keep what is freed.

A training step frees its activations and asks for as many again. glibc gives large blocks back to the kernel, and
takes them anew page by page, each page zeroed: a tenth to a third of a small model's step on a CPU
(docs/benchmarks.md). Kept, they are used again as they are."""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h."""
_OWN = ("GLIBC_TUNABLES", "LD_PRELOAD", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
"""Who sets one of these has chosen an allocator, or how it behaves."""


def keep_freed_memory() -> bool:
    """From now on, this process keeps the memory that it frees. Whether that could be had: with glibc, unless the
    environment says how its allocator shall behave."""
    if any(name in os.environ for name in _OWN):
        return False
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  (musl and macOS have none, and other numbers.)
        mallopt = libc.mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, -1))
