"""What ships: weights in bfloat16, their tokenizer, the losses of their training, and a manifest of it all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from recipes.yuan2_mini.between import BASE
from recipes.yuan2_mini.curves import plot, read_parts
from recipes.yuan2_mini.files import MANIFEST, read_json

from yuantune.data.writing import write_text
from yuantune.train.folder import PRETRAINING_FILE

CURVES = "loss.png"
WEIGHTS = "model.safetensors"
TOKENIZER_FILES = ("tokenizer.model", "tokenizer_config.json")


def install_model(model: Path, tokenizer: Path, target: Path) -> None:
    """Write `target`'s config, weights (bfloat16 safetensors) and tokenizer; other files there stay."""
    import torch

    from yuantune.models.load import load_model

    loaded = load_model(model, device_map="cpu", dtype="float32").to(torch.bfloat16)
    loaded.config._name_or_path = ""
    target.mkdir(parents=True, exist_ok=True)
    loaded.save_pretrained(str(target))
    (target / WEIGHTS).chmod(0o644)
    (target / "generation_config.json").unlink(missing_ok=True)  # It repeats the config's token ids.
    config = read_json(target / "config.json")
    config.pop("transformers_version", None)
    write_text(target / "config.json", json.dumps(config, indent=2) + "\n")
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer / name, target / name)


def describe(runs: Sequence[Path], data: Path, memory: Path, base: Path, target: Path) -> None:
    """Write `target`'s manifest and picture of the losses.

    They come from the data's manifest, the runs' logs and versions, the memorisation test's result, what the last
    part went on with (the model in `base`), and the files of the model in `target`."""
    parts = read_parts(runs)
    plot(parts, target / CURVES)
    names = sorted(("config.json", WEIGHTS, *TOKENIZER_FILES))
    manifest = {
        "data": read_json(data / MANIFEST),
        "base": read_json(base / BASE),
        "training": [part.figures() for part in parts],
        "versions": read_json(runs[0] / PRETRAINING_FILE)["versions"],
        "memory": read_json(memory),
        "files": {name: hashlib.sha256((target / name).read_bytes()).hexdigest() for name in names},
    }
    write_text(target / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
