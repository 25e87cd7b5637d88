"""yuan2-mini as it ships: it extracts without having been fine-tuned, and does not recite what it read."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest
from recipes.yuan2_mini.files import read_lines
from recipes.yuan2_mini.memory import LIMIT, PREFIX, continue_greedily, shared
from recipes.yuan2_mini.sources import SOURCES, Source

from yuantune.data.readers import read
from yuantune.data.template import load_template
from yuantune.infer.extractor import Extractor
from yuantune.models.load import load_model, load_tokenizer, resolve
from yuantune.train.evaluate import scores_of
from yuantune.train.quickstart import SAMPLE


def test_it_extracts_untrained() -> None:
    """A floor far under the card's figures: what falls below it is a broken model, not an unlucky one."""
    records = list(read(Path(str(SAMPLE / "test.jsonl"))))[:16]
    template = load_template("resume-ner").bind(load_tokenizer("yuan2-mini"))
    extractor = Extractor(
        load_model("yuan2-mini", device_map="cpu"), template, max_new_tokens=256, batch_size=len(records)
    )
    scores = scores_of(extractor, records, list(extractor.predict(records)), None)
    assert scores is not None and scores["micro"]["f1"] > 0.4 and scores["valid"] == scores["grounded"] == 1


def test_its_manifest_names_its_files() -> None:
    folder = resolve("yuan2-mini")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert "model.safetensors" in manifest["files"]
    for name, sha256 in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256, name
    assert manifest["memory"]["recited"] == 0
    held_out = manifest["data"]["held_out"]
    assert held_out["windows_found"] == 0 and held_out["windows_looked_at"] > 10**8


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_it_does_not_recite(source: Source, test_data: Path) -> None:
    """Other beginnings than the recipe's own test took."""
    lines = list(read_lines(test_data / "corpus" / source.file))
    long_enough = [line for line in lines if len(line) >= PREFIX + LIMIT]
    prefixes = [line[:PREFIX] for line in random.Random(7).sample(long_enough, 12)]
    continuations = continue_greedily(resolve("yuan2-mini"), prefixes, say=lambda _: None)
    assert any(continuations)
    assert not shared(continuations, lines, LIMIT)
