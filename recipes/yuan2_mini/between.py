"""What is done to the weights themselves between the parts of the training.

Before `refined`, embeddings that have run together are set apart again. A piece that hardly ever occurs is pushed
the same way as all others of its kind, and ends where they end (decision 0009). It cannot be told from them then,
whatever the layers learn. Each gets a random vector of its own.

After it, the mean is taken of what it began with and what it came to, and `lists` goes on with that: two models of
one descent that were each annealed are better in the middle. Source: Wortsman et al., "Model soups"
(arXiv:2203.05482)."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.yuan2_mini.files import MANIFEST, read_json

from yuantune.data.writing import write_text

if TYPE_CHECKING:
    from torch import Tensor

ALIKE = 0.8
"""Cosine to the mean direction, from which an embedding is one of those that ran together."""
KEPT = 2.0
"""The most that such an embedding keeps of the mean direction: it tells the head that the piece is rare."""
BASE = "base.json"
"""In such a model's folder: what it was made from, and how many embeddings were set apart."""


def spread_model(model: Path | str, target: Path, *, seed: int) -> int:
    """Write the model, its rare pieces set apart, with its tokenizer into `target`; how many pieces those are."""
    import torch

    from yuantune.models.load import load_model, load_tokenizer, resolve

    folder = resolve(model)
    loaded = load_model(model, device_map="cpu", dtype="float32")
    with torch.no_grad():
        count = spread(loaded.get_input_embeddings().weight, seed=seed)
    target.mkdir(parents=True, exist_ok=True)
    load_tokenizer(model).save_pretrained(str(target))
    _describe(target, {**_origin(folder), "spread": count})
    loaded.save_pretrained(str(target))
    return count


def take_base(model: str, target: Path) -> None:
    """Write a finished model, to go on with it, and its tokenizer into `target`."""
    from yuantune.models.load import load_model, load_tokenizer, resolve

    target.mkdir(parents=True, exist_ok=True)
    load_tokenizer(model).save_pretrained(str(target))
    _describe(target, _origin(resolve(model)))
    load_model(model, device_map="cpu", dtype="float32").save_pretrained(str(target))


def _origin(folder: Path) -> dict[str, Any]:
    """The weights' hash, and what the folder's manifest says of how they were made: all that came before too."""
    origin: dict[str, Any] = {"weights": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()}
    if (folder / MANIFEST).is_file():
        made = read_json(folder / MANIFEST)
        origin |= {name: made[name] for name in ("training", "versions", "data", "base") if name in made}
    return origin


def _describe(target: Path, origin: dict[str, Any]) -> None:
    write_text(target / BASE, json.dumps(origin, ensure_ascii=False, indent=2) + "\n")


def mean_model(one: Path, other: Path, target: Path) -> None:
    """Write the model whose weights are the mean of two models' of one shape, with `one`'s tokenizer."""
    import torch

    from yuantune.models.load import load_model, load_tokenizer

    mean, second = (load_model(folder, device_map="cpu", dtype="float32") for folder in (one, other))
    with torch.no_grad():
        for weight, theirs in zip(mean.parameters(), second.parameters(), strict=True):
            weight.lerp_(theirs, 0.5)
    target.mkdir(parents=True, exist_ok=True)
    load_tokenizer(one).save_pretrained(str(target))
    shutil.copyfile(one / BASE, target / BASE)
    mean.save_pretrained(str(target))


def spread(embeddings_VD: Tensor, *, seed: int) -> int:
    """Set apart, in place, the rows that all point along the mean direction; how many those are.

    Such a row keeps what it has across that direction and KEPT of what it has along it, and gets a random vector
    of norm 1 (about what the rows of frequent pieces have)."""
    import torch

    size_V1 = embeddings_VD.norm(dim=1, keepdim=True).clamp(min=1e-6)
    mean_D = (embeddings_VD / size_V1).mean(0)
    mean_D = mean_D / mean_D.norm().clamp(min=1e-6)
    along_V1 = (embeddings_VD @ mean_D)[:, None]
    alike_V1 = along_V1 / size_V1 > ALIKE
    draw = torch.Generator().manual_seed(seed)
    own_VD = torch.randn(embeddings_VD.shape, generator=draw) / embeddings_VD.shape[1] ** 0.5
    apart_VD = embeddings_VD + (along_V1.clamp(max=KEPT) - along_V1) * mean_D + own_VD
    embeddings_VD.copy_(torch.where(alike_V1, apart_VD, embeddings_VD))
    return int(alike_V1.sum())
