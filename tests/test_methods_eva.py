"""EVA against principal components by a plain singular value decomposition."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from tests.test_methods_lora import options, tiny
from yuantune.data.examples import Example
from yuantune.data.record import Source
from yuantune.errors import ConfigError, WorkFailed
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


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings")
@pytest.mark.parametrize("more", [{}, {"use_dora": True}, {"target_modules": ["q_proj", "lm_head"]}])
@pytest.mark.parametrize("size", [2, 6])
@pytest.mark.parametrize("kind", ["yuan", "llama"])
def test_a_holds_the_principal_components_of_the_supervised_tokens(
    kind: str, size: int, more: dict[str, Any]
) -> None:
    rows = examples(6, 5)
    model = lora.apply(tiny(kind, torch.float32), options(r=RANK, init_lora_weights="eva", **more))
    before = torch.random.get_rng_state()
    trained = [name for name, each in model.named_parameters() if each.requires_grad]
    model.train()
    read_batches = eva.begin(model, rows, rows=size, pad_id=0, seed=1)
    assert 2 <= read_batches <= eva.MOST_BATCHES and model.training
    assert trained == [name for name, each in model.named_parameters() if each.requires_grad]
    model.eval()
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
        _, values, components = torch.linalg.svd(read_NI - read_NI.mean(0))
        found_RI = layer.lora_A["default"].weight.detach().double()
        torch.testing.assert_close(found_RI @ found_RI.T, torch.eye(RANK).double(), atol=1e-4, rtol=0)
        # Components of like size may be mixed: how much of the inputs they hold is what counts.
        held = (read_NI - read_NI.mean(0)) @ found_RI.T
        assert float(held.square().sum()) > (0.97 if size == 6 else 0.93) * float(values[:RANK].square().sum()), (
            name
        )
        if float(values[0]) > 1.2 * float(values[1]):
            assert abs(float(found_RI[0] @ components[0])) > 0.95, name
        assert not layer.lora_B["default"].weight.any()


def test_batches_are_bounded_and_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = examples(5, 2)
    longest = max(len(row.ids) for row in rows)
    monkeypatch.setattr(eva, "_MOST_TOKENS", 2 * longest)
    batches = eva._batches(rows, [4, 0, 2, 1, 3], 9, pad_id=0)
    seen: list[list[int]] = []
    while len(seen) < 10:  # Round and round.
        batch = next(batches)
        ids_BT, mask_BT = batch["input_ids"], batch["attention_mask"]
        assert ids_BT.numel() <= 2 * longest and ids_BT.shape == mask_BT.shape
        assert len(batch["position_S"]) == 2 * len(ids_BT)
        seen += [ids[mask.bool()].tolist() for ids, mask in zip(ids_BT, mask_BT, strict=True)]
    assert seen[:10] == [rows[at].ids for at in (4, 0, 2, 1, 3)] * 2


def test_what_is_no_number_is_named() -> None:
    model = tiny("llama", torch.float32)
    model.model.embed_tokens.weight.data[7] = torch.nan
    tuned = lora.apply(model, options(init_lora_weights="eva"))
    with pytest.raises(WorkFailed, match=r"q_proj reads what is no number"):
        eva.begin(tuned, examples(20, 5), rows=4, pad_id=0, seed=0)


@pytest.mark.parametrize(
    ("changes", "rows", "expected"),
    [
        ({"r": 4}, examples(3, 1), "the rows have 3 answer tokens"),
        ({"r": 500}, examples(200, 5), "a layer reads"),
    ],
)
def test_more_components_than_there_are(changes: dict[str, Any], rows: list[Example], expected: str) -> None:
    model = lora.apply(tiny("llama", torch.float32), options(init_lora_weights="eva", **changes))
    with pytest.raises(ConfigError, match=f"lora.r: .*{expected}"):
        eva.begin(model, rows, rows=4, pad_id=0, seed=0)
