"""README in both languages: every file and command is named, and both say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from yuantune.cli import app

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "README.zh-CN.md")


@pytest.mark.parametrize("name", READMES)
def test_the_tree_names_every_file(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    tree = [line.split()[0] for line in text.splitlines() if line.startswith("      ") and line.split()]
    named = sorted(Path(entry).name for entry in tree if entry.endswith(".py"))
    files = [path for path in (ROOT / "src" / "yuantune").rglob("*.py") if path.name != "__init__.py"]
    assert named == sorted(path.name for path in files)


@pytest.mark.parametrize("name", READMES)
def test_the_table_names_every_command(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    group = typer.main.get_command(app)
    commands = set()
    for command, inner in group.commands.items():  # type: ignore[attr-defined]
        subcommands = getattr(inner, "commands", None)
        commands |= {f"{command} {each}" for each in subcommands} if subcommands else {command}
    named = set(re.findall(r"^\| `yuantune ([a-z]+(?: [a-z0-9]+)?)", text, flags=re.MULTILINE))
    assert named == commands


def test_both_show_the_same_code() -> None:
    def fences(name: str) -> list[str]:
        text = (ROOT / name).read_text(encoding="utf-8")
        return [block for block in re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL)]

    assert fences(READMES[0]) == fences(READMES[1])
    headings = [
        len(re.findall(r"^#+ ", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)) for name in READMES
    ]
    assert headings[0] == headings[1]


def test_relative_links_lead_somewhere() -> None:
    for document in [*(ROOT / name for name in READMES), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
