"""Yuan2 written as naively as can be, to compare the real one with: Conv2d, one sequence at a time, no cache,
no masks, a loop over heads. It shares no line with the package and takes the model's own parameters by name.

Also the tiny model and the small checks that the Yuan2 tests share.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from yuantune.models.yuan2.config import YuanConfig
from yuantune.models.yuan2.model import YuanForCausalLM

Prefix = Sequence[tuple[Tensor, Tensor]]
"""A tuned prefix: keys and values [heads, p, E] of each layer, seen by every token, untouched by the filter."""
PAD, EOD = 0, 2
LENGTHS = (5, 1, 8, 2)
"""Of the sequences that `sequences` makes."""
TINY: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "pad_token_id": PAD,
    "bos_token_id": EOD,
    "eos_token_id": EOD,
    "dtype": "float64",
}


def tiny_model(seed: int = 0, **changes: Any) -> YuanForCausalLM:
    """A float64 model whose every parameter matters: biases and norms are random too, the filter is strong."""
    model = YuanForCausalLM(YuanConfig(**{**TINY, **changes})).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(1 + 0.3 * noise if "norm" in name else 0.4 * noise)
    return model


def random_ids(rows: int, length: int, seed: int = 0) -> Tensor:
    """[rows, length] ids, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, TINY["vocab_size"], (rows, length), generator=generator)


def parameters_of(model: YuanForCausalLM) -> dict[str, Tensor]:
    """The model's parameters by their published names; the tied head counts once."""
    return dict(model.named_parameters())


def reference_logits(
    weights: Mapping[str, Tensor],
    config: YuanConfig,
    ids: Sequence[int] | Tensor,
    positions: Sequence[int] | Tensor | None = None,
    prefix: Prefix | None = None,
) -> Tensor:
    """Logits [n, V] of one sequence of n ids."""
    embedding = weights["model.embed_tokens.weight"]
    ids = torch.as_tensor(ids)
    return reference_from_embeddings(
        weights, config, F.embedding(ids, embedding, config.pad_token_id), positions, prefix
    )


def reference_from_embeddings(
    weights: Mapping[str, Tensor],
    config: YuanConfig,
    x: Tensor,
    positions: Sequence[int] | Tensor | None = None,
    prefix: Prefix | None = None,
) -> Tensor:
    """Logits [n, V] of one sequence of n embeddings [n, D]."""
    start = prefix[0][0].shape[1] if prefix else 0
    places = torch.arange(start, start + len(x)) if positions is None else torch.as_tensor(positions)

    def norm(name: str, x: Tensor) -> Tensor:
        return x / ((x**2).mean(-1, keepdim=True) + config.rms_norm_eps) ** 0.5 * weights[f"{name}.weight"]

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T

    for index in range(config.num_hidden_layers):
        name = f"model.layers.{index}"
        tuned = prefix[index] if prefix else None
        y = norm(f"{name}.input_layernorm", x)
        attended = _attention(weights, config, name, y, places, linear, norm, tuned)
        x = x + linear(f"{name}.self_attn.o_proj", attended)
        y = norm(f"{name}.post_attention_layernorm", x)
        up = linear(f"{name}.mlp.up_proj", y)
        x = x + linear(f"{name}.mlp.down_proj", linear(f"{name}.mlp.gate_proj", y) * (up * torch.sigmoid(up)))
    return norm("model.norm", x) @ weights.get("lm_head.weight", weights["model.embed_tokens.weight"]).T


def _attention(
    weights: Mapping[str, Tensor],
    config: YuanConfig,
    name: str,
    x: Tensor,
    places: Tensor,
    linear: Any,
    norm: Any,
    tuned: tuple[Tensor, Tensor] | None,
) -> Tensor:
    gate = f"{name}.self_attn.lf_gate"
    once = reference_convolution(weights[f"{gate}.conv1.weight"], weights[f"{gate}.conv1.bias"], x)
    twice = reference_convolution(weights[f"{gate}.conv2.weight"], weights[f"{gate}.conv2.bias"], once)
    filtered = norm(f"{gate}.output_layernorm", twice + x)
    both = torch.cat([linear(f"{name}.self_attn.{part}_proj", filtered) for part in ("q", "k")], -1)
    values = linear(f"{name}.self_attn.v_proj", x)
    width = config.hidden_size // config.num_attention_heads
    heads = []
    for head in range(config.num_attention_heads):
        own = both[:, head * 2 * width : (head + 1) * 2 * width]
        query, key = _turned(own[:, :width], places), _turned(own[:, width:], places)
        value = values[:, head * width : (head + 1) * width]
        if tuned is not None:
            key, value = torch.cat([tuned[0][head], key]), torch.cat([tuned[1][head], value])
        scores = query @ key.T / width**0.5
        hidden = torch.ones(len(x), len(key), dtype=torch.bool).triu(1 + len(key) - len(x))
        heads.append(torch.softmax(scores.masked_fill(hidden, -torch.inf), -1) @ value)
    return torch.cat(heads, -1)


def _turned(x: Tensor, places: Tensor) -> Tensor:
    """RoPE as it is defined: the pair (i, i + half) is a complex number, turned by place * 10000 ** (-i / half)."""
    half = x.shape[-1] // 2
    speed = 10000.0 ** (-torch.arange(half, dtype=x.dtype) / half)
    turned = torch.complex(x[:, :half], x[:, half:]) * torch.exp(1j * places[:, None] * speed)
    return torch.cat([turned.real, turned.imag], -1)


def reference_convolution(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """The causal two-tap convolution of [n, in] over time, by Conv2d with kernel (2, 1) and padding (1, 0)."""
    return F.conv2d(x.T[None, :, :, None], weight, bias, padding=(1, 0))[0, :, : len(x), 0].T


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    """Equal up to rounding, and not by being empty or not a number."""
    assert actual.shape == expected.shape
    assert actual.numel()
    assert torch.isfinite(actual).all()
    difference = (actual - expected).abs().max().item()
    assert difference <= tolerance, f"off by {difference:.2e}"


def padded(rows: Sequence[Tensor], side: str) -> tuple[Tensor, Tensor]:
    """Ids and mask [B, T] of sequences of unequal length."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), PAD)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        where = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[index, where], mask[index, where] = row, 1
    return ids, mask


def sequences(seed: int = 0) -> list[Tensor]:
    return [random_ids(1, length, seed + length)[0] for length in LENGTHS]


def references(model: YuanForCausalLM, rows: Sequence[Tensor]) -> Tensor:
    """Logits of each row alone, one after the other."""
    return torch.cat([reference_logits(parameters_of(model), model.config, row) for row in rows])


def packed(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Ids and restarting positions [1, T]."""
    return torch.cat(list(rows))[None], torch.cat([torch.arange(len(row)) for row in rows])[None]


def probed_loss(logits: Tensor) -> Tensor:
    """A scalar that depends on every logit differently, so that no gradient can hide behind a symmetry."""
    weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view_as(logits).sin()
    return (torch.log_softmax(logits, -1) * weights).sum()


def gradients(model: YuanForCausalLM, logits: Tensor) -> dict[str, Tensor]:
    names = list(parameters_of(model))
    return dict(zip(names, torch.autograd.grad(probed_loss(logits), list(model.parameters())), strict=True))


def same_gradients(model: YuanForCausalLM, actual: Tensor, expected: Tensor) -> None:
    reference = gradients(model, expected)
    for name, gradient in gradients(model, actual).items():
        scale = max(1.0, reference[name].abs().max().item())
        assert reference[name].abs().max() > 0, f"{name} has no gradient to compare"
        close(gradient / scale, reference[name] / scale)


def tree() -> tuple[list[list[int]], Tensor]:
    """The paths of a tree of 12 tokens from root to leaf, as memory indices, and the parents [1, 12].

    Two roots; one branches twice, once in the middle of a branch."""
    paths = [[0, 1, 2, 3, 4], [0, 1, 2, 5, 6, 7], [0, 1, 2, 5, 8], [9, 10], [9, 11]]
    parents = torch.full((1, 12), -1)
    for path in paths:
        for before, after in itertools.pairwise(path):
            parents[0, after] = before
    return paths, parents


def ancestors(parents: Tensor) -> Tensor:
    """The 4-D mask of a tree: each token sees itself and its ancestors."""
    length = parents.shape[1]
    mask = torch.zeros(1, 1, length, length, dtype=torch.bool)
    for token in range(length):
        seen = token
        while seen >= 0:
            mask[0, 0, token, seen] = True
            seen = int(parents[0, seen])
    return mask


def by_path(model: YuanForCausalLM, ids: Tensor, paths: list[list[int]], depths: bool = True) -> Tensor:
    """Reference logits of every token of a tree, from the paths that run through it."""
    found: dict[int, Tensor] = {}
    for path in paths:
        positions = None if depths else path
        logits = reference_logits(parameters_of(model), model.config, ids[0, path], positions)
        found |= {token: logits[depth] for depth, token in enumerate(path)}
    return torch.stack([found[token] for token in range(ids.shape[1])])
