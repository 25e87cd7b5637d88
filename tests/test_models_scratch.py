"""New models: their weights come from the seed, and from nothing else."""

from __future__ import annotations

import torch

from yuantune.models.load import load_tokenizer
from yuantune.models.scratch import new_model

FIELDS = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}


def made(seed: int) -> torch.Tensor:
    model = new_model(FIELDS, load_tokenizer("yuan2-mini"), positions=32, seed=seed, device_map="cpu")
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = made(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(first, made(0))
    assert not torch.equal(first, made(1))
