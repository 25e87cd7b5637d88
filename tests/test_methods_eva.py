"""EVA against principal components by a plain singular value decomposition."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from tests.test_methods_lora import options, tiny
from yuantune.data.examples import Example
from yuantune.data.record import Source
from yuantune.errors import ConfigError
from yuantune.methods import eva, lora

RANK = 3


def examples(count: int, answer: int) -> list[Example]:
    draw = random.Random(0)
    made = []
    for number in range(count):
        prompt = draw.randint(2, 6)
        ids = [draw.randint(2, 39) for _ in range(prompt + answer)]
        made.append(Example(ids, [False] * prompt + [True] * answer, (0, prompt), Source("text", number)))
    return made


@pytest.mark.parametrize("kind", ["yuan", "llama"])
def test_a_holds_the_principal_components_of_the_supervised_tokens(kind: str) -> None:
    rows = examples(6, 5)
    model = lora.apply(tiny(kind, torch.float32), options(r=RANK, init_lora_weights="eva"))
    before = torch.random.get_rng_state()
    eva.begin(model, rows, rows=6, pad_id=0)
    assert torch.equal(torch.random.get_rng_state(), before)
    layers = {name: each for name, each in model.named_modules() if hasattr(each, "lora_A")}
    read: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    for name, layer in layers.items():
        layer.register_forward_hook(lambda _, inputs, __, name=name: read[name].append(inputs[0]))
    with torch.no_grad():
        for row in rows:  # One at a time: nothing is padded.
            model(input_ids=torch.tensor([row.ids]))
    supervised = torch.tensor([flag for row in rows for flag in row.supervised])
    for name, layer in layers.items():
        read_NI = torch.cat([each[0] for each in read[name]])[supervised].double()
        _, size, components = torch.linalg.svd(read_NI - read_NI.mean(0))
        found_RI = layer.lora_A["default"].weight.detach().double()
        torch.testing.assert_close(found_RI @ found_RI.T, torch.eye(RANK).double(), atol=1e-4, rtol=0)
        # Components of like size may be mixed: how much of the inputs they hold is what counts.
        held = (read_NI - read_NI.mean(0)) @ found_RI.T
        assert float(held.square().sum()) > 0.99 * float(size[:RANK].square().sum()), name
        if float(size[0]) > 1.2 * float(size[1]):
            assert abs(float(found_RI[0] @ components[0])) > 0.98, name
        assert not layer.lora_B["default"].weight.any()


def test_few_tokens_a_row_are_put_together() -> None:
    batches = eva._Batches(examples(7, 1), 2, 3, pad_id=0)
    supervised = [int((batch["labels"] != -100).sum()) for batch in batches]
    assert supervised == [3, 4] and len(batches) == 2
    (one,) = eva._Batches(examples(2, 1), 4, 3, pad_id=0)
    assert one["input_ids"].shape == one["labels"].shape == one["attention_mask"].shape
    assert int(one["attention_mask"].sum()) == sum(len(row.ids) for row in examples(2, 1))


@pytest.mark.parametrize(
    ("changes", "rows", "expected"),
    [
        ({"r": 4}, examples(3, 1), "the rows have 3 answer tokens"),
        ({"r": 500}, examples(200, 5), "the narrowest layer"),
    ],
)
def test_more_components_than_there_are(changes: dict[str, Any], rows: list[Example], expected: str) -> None:
    model = lora.apply(tiny("llama", torch.float32), options(init_lora_weights="eva", **changes))
    with pytest.raises(ConfigError, match=f"lora.r: .*{expected}"):
        eva.begin(model, rows, rows=4, pad_id=0)
