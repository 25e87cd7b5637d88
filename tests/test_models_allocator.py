"""The allocator keeps what is freed, unless somebody has said how it shall behave."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import sys, psutil, torch
from yuantune.models.allocator import give_freed_memory_back, keep_freed_memory
kept = keep_freed_memory()
before = psutil.Process().memory_info().rss
block = torch.ones(64 << 20, dtype=torch.uint8)
del block
if "back" in sys.argv:
    kept = give_freed_memory_back()
print(kept, (psutil.Process().memory_info().rss - before) >> 20)
"""


def run(*arguments: str, **more: str) -> tuple[str, int]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=environment | more,
    )
    kept, mebibytes = done.stdout.split()
    return kept, int(mebibytes)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_freed_memory_is_kept() -> None:
    kept, mebibytes = run()
    assert kept == "True" and mebibytes >= 48
    given, mebibytes = run("back")
    assert given == "True" and mebibytes < 48


def test_who_has_chosen_is_left_alone() -> None:
    kept, mebibytes = run(MALLOC_TRIM_THRESHOLD_="131072")
    assert kept == "False" and mebibytes < 48
