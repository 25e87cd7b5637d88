"""Does the model recite its corpus? Beginnings of lines, continued by it, and what of that the corpus has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from recipes.yuan2_mini.files import TEXT, read_lines

PREFIX = 30
"""Characters that are given."""
NEW_TOKENS = 80
LIMIT = 50
"""A continuation may share fewer than so many characters in a row with the corpus."""
_BATCH = 50


def memory_test(model: Path, data: Path, *, count: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """`count` beginnings of lines from the training text, continued greedily; the longest run that the corpus has.

    Returns {"prefixes", "limit", "recited", "longest", "run"}: how many continuations reach the limit, and the
    longest run, as its length and itself."""
    files = sorted((data / TEXT).glob("*.xz"))
    lines = [line for file in files for line in read_lines(file)]
    long_enough = [line for line in lines if len(line) >= PREFIX + LIMIT]
    prefixes = [line[:PREFIX] for line in Random(seed).sample(long_enough, min(count, len(long_enough)))]
    continuations = continue_greedily(model, prefixes, say=say)
    run = longest_run(continuations, lines)
    recited = shared(continuations, lines, LIMIT)
    return {
        "prefixes": len(prefixes),
        "limit": LIMIT,
        "recited": sum(any(stretch in text for stretch in recited) for text in continuations),
        "longest": len(run),
        "run": run,
    }


def continue_greedily(model: Path, prefixes: Sequence[str], *, say: Callable[[str], None]) -> list[str]:
    """What the model in the folder `model` writes behind each prefix, NEW_TOKENS tokens at most."""
    import torch

    from yuantune.models.load import load_model, load_tokenizer

    tokenizer = load_tokenizer(model)
    loaded = load_model(model, device_map="cpu", dtype="float32")
    ids = [tokenizer(prefix, add_special_tokens=False)["input_ids"] for prefix in prefixes]
    written = [""] * len(prefixes)
    # Only rows of one length go together: without padding nothing has to be masked.
    order = sorted(range(len(ids)), key=lambda at: len(ids[at]))
    while order:
        size = len(ids[order[0]])
        batch = [at for at in order[:_BATCH] if len(ids[at]) == size]
        order = order[len(batch) :]
        with torch.inference_mode():
            rows = torch.tensor([ids[at] for at in batch])
            out = loaded.generate(
                rows,
                attention_mask=torch.ones_like(rows),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.eos_token_id,
            )
        for at, row in zip(batch, out, strict=True):
            written[at] = tokenizer.decode(row[size:], skip_special_tokens=True).removeprefix(" ")
        say(f"memory: {len(prefixes) - len(order):,} of {len(prefixes):,}")
    return written


def longest_run(texts: Sequence[str], lines: Sequence[str]) -> str:
    """The longest stretch of one of `texts` that occurs in one of `lines`; of several the first in sorted order."""
    run = ""
    low, high = 0, max(map(len, texts), default=0)
    # Every part of a shared stretch is shared: so halve the span in which the greatest length lies.
    while low < high:
        size = (low + high + 1) // 2
        found = shared(texts, lines, size)
        low, high = (size, high) if found else (low, size - 1)
        run = min(found, default=run)
    return run


def shared(texts: Iterable[str], lines: Iterable[str], size: int) -> set[str]:
    """Stretches of `size` characters that the texts share with the lines."""
    wanted = {stretch for text in texts for stretch in _stretches(text, size)}
    return {stretch for line in lines for stretch in _stretches(line, size) if stretch in wanted}


def _stretches(text: str, size: int) -> Iterator[str]:
    for start in range(len(text) - size + 1):
        yield text[start : start + size]
