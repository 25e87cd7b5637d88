"""The wheel: it holds its resources, and the commands work from it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel's contents, unpacked where Python finds them before this checkout."""
    from hatchling.builders.wheel import WheelBuilder

    folder = tmp_path_factory.mktemp("wheel")
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    site = folder / "site"
    zipfile.ZipFile(wheel).extractall(site)
    return site


def test_it_holds_the_resources(installed: Path) -> None:
    resources = installed / "yuantune" / "resources"
    source = ROOT / "src" / "yuantune" / "resources"
    files = {path.relative_to(source) for path in source.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert files == {path.relative_to(resources) for path in resources.rglob("*") if path.is_file()}
    assert (installed / "yuantune" / "py.typed").is_file()
    metadata = (next(installed.glob("*.dist-info")) / "METADATA").read_text("utf-8")
    assert "License-Expression: Apache-2.0" in metadata
    assert {"ui", "ray", "tracking", "peers", "schema", "nf4", "gguf", "dev"} == {
        line.split()[1] for line in metadata.splitlines() if line.startswith("Provides-Extra")
    }
    assert "yuantune = yuantune.cli:main" in (next(installed.glob("*.dist-info")) / "entry_points.txt").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["env"],
        ["init", "new.yaml"],
        ["demo", "--set", "train.max_steps=1", "--set", "generate.max_new_tokens=1"],
    ],
)
def test_commands_work_from_it(installed: Path, tmp_path: Path, words: list[str]) -> None:
    code = "import sys, yuantune.cli as c; sys.stderr.write(c.__file__ + '\\n'); c.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(str(installed))
    if words[0] == "demo":
        assert (tmp_path / "runs" / "demo-1" / "adapter" / "adapter_model.safetensors").is_file()
