"""The tokenizer of yuan2-mini: one piece for each Chinese character, few and long pieces for JSON and Markdown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from recipes.yuan2_mini.files import EXERCISES, TEXT, read_lines
from recipes.yuan2_mini.wordlists import COMMON_CHARACTERS, RARE_CHARACTERS

from yuantune.models.tokenizer_training import sample, save_tokenizer, train_tokenizer

VOCAB_SIZE = 8192
SAMPLED = {"laws": 40_000, "histories-modern": 40_000, "kdconv": 33_000, "csl": 13_000, "paddle": 1_000}
"""Lines of text by source. With Chinese characters apart, text gives only pieces of Latin script and punctuation;
few lines of `paddle`, or its identifiers fill the vocabulary."""
ROWS = 60_000
"""Exercises: their questions and answers give the pieces of JSON."""
BEYOND_GB2312 = 440
"""Han characters that GB 2312 lacks, the most frequent ones of text and exercises (such as 喆, 镕, 堃)."""


def make_tokenizer(data: Path, folder: Path, *, seed: int, say: Callable[[str], None]) -> None:
    """Train it on what `make_data` wrote into `data`, and save it into `folder`, which is made."""
    lines: list[str] = []
    for name, count in SAMPLED.items():
        lines += sample(read_lines(data / TEXT / f"{name}.txt.xz"), count, seed=seed)
    exercises = list(_exercise_lines(data / EXERCISES))
    required = _characters(data, exercises)
    lines += sample(exercises, ROWS, seed=seed)
    Random(seed).shuffle(lines)
    say(f"tokenizer: {len(lines):,} lines")
    model = train_tokenizer(lines, vocab_size=VOCAB_SIZE, characters=True, required=required, coverage=0.98)
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(model, folder)


def _exercise_lines(path: Path) -> Iterator[str]:
    for line in read_lines(path):
        row = json.loads(line)
        yield row["input"].rpartition("\n")[2] + "\n" + row["output"]


def _characters(data: Path, exercises: list[str]) -> str:
    """GB 2312 and the most frequent Han characters beyond it."""
    counts: Counter[str] = Counter()
    for file in sorted((data / TEXT).glob("*.xz")):
        counts.update("".join(read_lines(file)))
    counts.update("".join(exercises))
    known = COMMON_CHARACTERS + RARE_CHARACTERS
    beyond = (char for char, _ in counts.most_common() if "\u3400" <= char <= "\u9fff" and char not in set(known))
    return known + "".join(char for char, _ in zip(beyond, range(BEYOND_GB2312), strict=False))
