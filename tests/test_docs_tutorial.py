"""The tutorial's code runs, in order, and prints what the tutorial says it prints.

A `python` block runs as a notebook cell, a `bash` block as commands of ours; a `text` block below one is its
output. After the language may stand: `no-run`; `exit=N` (the command has to end so); `varies` (the output depends
on the machine and is not compared); `head=N` (only that many lines are shown).

`python tests/test_docs_tutorial.py` runs the tutorial and writes all its outputs into both documents.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
CHINESE, ENGLISH = DOCS / "tutorial.zh-CN.md", DOCS / "tutorial.en.md"
FENCE = re.compile(r"^```(?P<info>\w.*)\n(?P<body>(?:.*\n)*?)```$", re.MULTILINE)

pytestmark = [
    # PEFT 0.21 asks a model by a name that transformers 5.23 has just replaced.
    pytest.mark.filterwarnings(r"ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its marks, its text, and the line where that begins."""

    language: str
    marks: dict[str, str]
    text: str
    line: int


def blocks_of(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    blocks = []
    for match in FENCE.finditer(text):
        language, *marks = match["info"].split()
        line = text.count("\n", 0, match.start("body")) + 1
        blocks.append(Block(language, dict(m.partition("=")[::2] for m in marks), match["body"], line))
    return blocks


def comparable(block: Block) -> str:
    """The block's code without its comments; they differ between the languages."""
    if block.language == "python":
        return ast.dump(ast.parse(block.text))
    if block.language == "bash":
        return str(commands(block.text))
    return block.text


def commands(text: str) -> list[list[str]]:
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


# ------------------------------------------------------------------------------------------------- running


def run_document(document: Path) -> Iterator[tuple[Block, str]]:
    """Run the blocks in order; yields every `text` block with the output of the block above it."""
    namespace: dict[str, Any] = {"__name__": "tutorial"}
    output = ""
    for block in blocks_of(document):
        if block.language == "text":
            yield block, output
        elif "no-run" not in block.marks and block.language == "python":
            output = run_cell(block, namespace, document)
        elif "no-run" not in block.marks and block.language == "bash":
            output = "".join(run_command(words, block) for words in commands(block.text))


def run_cell(block: Block, namespace: dict[str, Any], document: Path) -> str:
    """Run a cell as a notebook does: the value of an expression at its end is shown."""
    tree = ast.parse("\n" * (block.line - 1) + block.text)
    shown = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(tree, str(document), "exec"), namespace)
        if isinstance(shown, ast.Expr):
            value = eval(compile(ast.Expression(shown.value), str(document), "eval"), namespace)
            if value is not None:
                print(value if "\n" in repr(value) else repr(value))
    return printed.getvalue()


def run_command(words: list[str], block: Block) -> str:
    """Run one of our commands in this process; stdout and stderr come as a terminal shows them."""
    from yuantune.cli import main

    assert words[0] == "yuantune", f"line {block.line}: {words[0]} is no command of ours"
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        patch.setenv("COLUMNS", "110")
        patch.setattr(sys, "stdout", printed)
        patch.setattr(sys, "stderr", printed)
        with pytest.raises(SystemExit) as ended:
            main()
    expected = int(block.marks.get("exit", 0))
    assert (ended.value.code or 0) == expected, f"line {block.line}: {shlex.join(words)}\n{printed.getvalue()}"
    return printed.getvalue()


def as_shown(block: Block, output: str) -> str:
    """The output as a document has it: no trailing spaces, no path of this machine, cut where the block says so.

    Our commands silence transformers' bars before they import it; here it is imported, so the bars are left out."""
    from yuantune.resources import RESOURCES

    output = output.replace(str(RESOURCES.parent), "…/site-packages/yuantune")
    output = re.sub(r"\r?[^\r\n]*%\|[^\r\n]*\n?", "", output)
    lines = [line.rstrip() for line in output.strip("\n").splitlines()]
    head = int(block.marks.get("head", len(lines)))
    return "".join(line + "\n" for line in [*lines[:head], *(["…"] if len(lines) > head else [])])


# --------------------------------------------------------------------------------------------------- tests


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Two threads on two busy cores wait for each other: ten times slower. One is nearly as fast at this size."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_the_tutorial_runs_and_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block, output in run_document(CHINESE):
        if "varies" in block.marks:
            assert output.strip(), f"line {block.line}: no output"
        else:
            assert as_shown(block, output) == block.text, f"line {block.line}: the output differs"


def test_the_figures_for_the_published_tokenizer(test_data: Path) -> None:
    from yuantune.data.readers import read_all
    from yuantune.data.template import load_template
    from yuantune.models.load import load_tokenizer
    from yuantune.resources import RESOURCES

    tokenizer = load_tokenizer(test_data / "yuan2-tokenizer")
    bound = load_template("resume-ner").bind(tokenizer)
    records = read_all(RESOURCES / "resumes" / "train.jsonl")
    prompts = [len(bound.prompt(record).ids) for record in records]
    totals = [len(bound.example(record).ids) for record in records]
    characters = sum(len(record.text) for record in records)
    tokens = sum(len(tokenizer(record.text)["input_ids"]) for record in records)
    figures = [
        len(records),
        sum(total > 384 for total in totals),
        sum(prompt >= 256 for prompt in prompts),
        sum(total > 256 for total in totals),
        f"{characters / tokens:.2f}",
    ]
    assert figures == [240, 7, 13, 58, "1.46"], "sections 4.1 and 4.2 of both documents state these"


def test_both_languages_have_the_same_code_and_outputs() -> None:
    chinese, english = blocks_of(CHINESE), blocks_of(ENGLISH)
    for one, other in zip(chinese, english, strict=True):
        assert (one.language, one.marks) == (other.language, other.marks), f"lines {one.line} and {other.line}"
        assert comparable(one) == comparable(other), f"lines {one.line} and {other.line}"


def test_both_languages_have_the_same_sections() -> None:
    numbers = [
        re.findall(r"^#+ (\d[\d.]*) ", document.read_text(encoding="utf-8"), re.MULTILINE)
        for document in (CHINESE, ENGLISH)
    ]
    assert numbers[0] == numbers[1] and "2.5" in numbers[0]


def test_a_block_that_does_not_run_says_why() -> None:
    for block in blocks_of(CHINESE):
        if "no-run" in block.marks:
            assert "#" in block.text, f"line {block.line}"


# ------------------------------------------------------------------------------------------------- writing


def write_outputs() -> None:
    """Run the Chinese document and write its outputs into both."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        outputs = [as_shown(block, output) for block, output in run_document(CHINESE)]
        os.chdir(here)
    for document in (CHINESE, ENGLISH):
        waiting = iter(outputs)
        parts: list[str] = []
        end = 0
        text = document.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match["info"].startswith("text"):
                parts += [text[end : match.start("body")], next(waiting)]
                end = match.end("body")
        document.write_text("".join([*parts, text[end:]]), encoding="utf-8")


if __name__ == "__main__":
    write_outputs()
