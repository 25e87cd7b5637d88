"""Rows side by side in slots against each row alone, computed anew: logits in float64."""

from __future__ import annotations

import random

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel

from tests.test_models_grouped import LORA, MODELS, built
from yuantune.models.slots import Chunk, Slots


class Rows:
    """Random rows in slots, each beside its ids; every logits are compared with those of the row alone."""

    def __init__(self, model: PreTrainedModel, seed: int) -> None:
        self.model, self.draw, self.slots = model, random.Random(seed), Slots(model)
        self.held: list[list[int]] = []

    def ids(self, count: int) -> list[int]:
        return [self.draw.randint(2, 39) for _ in range(count)]

    def add(self) -> None:
        assert self.slots.add() == len(self.held)
        self.held.append([])

    def remove(self, row: int) -> None:
        self.slots.remove(row)
        self.held[row] = self.held[-1]
        self.held.pop()

    def step(self) -> None:
        """Each row gets a few tokens and keeps some of them."""
        counts = [self.draw.choice((1, 1, 2, 5) if row else (3, 4, 9)) for row in self.held]
        chunks = [Chunk(self.ids(count), self.draw.randint(1, count)) for count in counts]
        logits_NV = self.slots.step(chunks)
        at, kept = 0, [self.draw.randint(1, count) for count in counts]
        for row, chunk in enumerate(chunks):
            whole = [*self.slots.prefix, *self.held[row], *chunk.ids]
            with torch.no_grad():
                expected_TV = self.model(input_ids=torch.tensor([whole]), use_cache=False).logits[0]
            found_LV = logits_NV[at : at + chunk.logits]
            torch.testing.assert_close(found_LV, expected_TV[-chunk.logits :], rtol=1e-9, atol=1e-9)
            at += chunk.logits
            self.held[row] += chunk.ids[: kept[row]]
        self.slots.keep(kept)
        assert self.slots.lengths == [len(held) for held in self.held]


@pytest.fixture(scope="module", params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return built(request.param)


@pytest.mark.parametrize("prefix", [0, 1, 7])
@pytest.mark.parametrize("seed", [0, 1])
def test_rows_that_come_and_go(model: PreTrainedModel, prefix: int, seed: int) -> None:
    rows = Rows(model, seed)
    for _ in range(2):  # The second time with another prefix.
        rows.slots.share(rows.ids(prefix))
        for _ in range(12):
            for _ in range(rows.draw.choice((0, 1, 3) if rows.held else (1, 4))):
                rows.add()
            rows.step()
            while rows.held and rows.draw.random() < 0.4:
                rows.remove(rows.draw.randrange(len(rows.held)))
        while rows.held:
            rows.remove(rows.draw.randrange(len(rows.held)))


@pytest.mark.parametrize("kind", sorted(LORA))
def test_with_an_adapter(kind: str) -> None:
    tuned = get_peft_model(
        built(kind), LoraConfig(task_type="CAUSAL_LM", target_modules=LORA[kind], init_lora_weights=False)
    )
    tuned.double().eval()
    rows = Rows(tuned, 3)
    rows.slots.share(rows.ids(5))
    for _ in range(3):
        rows.add()
    for _ in range(4):
        rows.step()


def test_the_model_is_as_before_afterwards(model: PreTrainedModel) -> None:
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        before = model(input_ids=ids).logits
    own = model.config._attn_implementation
    slots = Slots(model)
    slots.share([5, 6])
    slots.add()
    slots.step([Chunk([7])])
    assert model.config._attn_implementation == own
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, before)


def test_yuan2_keeps_its_own_cache() -> None:
    from transformers.cache_utils import DynamicCache

    from yuantune.models.yuan2.cache import YuanCacheLayer

    assert {type(layer) for layer in DynamicCache(config=built("yuan").config).layers} == {YuanCacheLayer}


def test_the_same_prefix_is_computed_once() -> None:
    slots = Slots(built("llama"))
    slots.share([5, 6, 7])
    keys = slots._prefix_keys
    slots.share((5, 6, 7))
    assert slots._prefix_keys is keys
    slots.share([5, 6])
    assert slots.prefix == (5, 6) and slots._prefix_keys[0].shape[1] == 2
    assert slots.bytes_per_token == 2 * 2 * 16 * 8  # Layers, keys and values, hidden size, bytes.
