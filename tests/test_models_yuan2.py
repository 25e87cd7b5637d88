"""Yuan2 against the naive reference: logits and gradients, whatever shares the batch."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.yuan2_reference import (
    EOD,
    PAD,
    close,
    gradients,
    packed,
    padded,
    parameters_of,
    probed_loss,
    random_ids,
    reference_from_embeddings,
    reference_logits,
    references,
    same_gradients,
    sequences,
    tiny_model,
)
from yuantune.errors import ModelError
from yuantune.models.yuan2.config import YuanConfig
from yuantune.models.yuan2.model import YuanMLP
from yuantune.models.yuan2.rms_norm import YuanRMSNorm


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("heads", [1, 3, 4])
def test_logits_and_every_gradient_equal_the_reference(implementation: str, heads: int) -> None:
    model = tiny_model(num_attention_heads=heads, hidden_size=8 * heads)
    model.set_attn_implementation(implementation)
    ids = random_ids(1, 9)
    ids[0, 4] = PAD  # the embedding's padding row: seen, but not trained as an input
    expected = reference_logits(parameters_of(model), model.config, ids[0])
    actual = model(ids).logits[0]
    close(actual, expected)
    same_gradients(model, actual, expected)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("use_cache", [False, True])
def test_padding_changes_nothing(side: str, implementation: str, use_cache: bool) -> None:
    model = tiny_model()
    model.set_attn_implementation(implementation)
    rows = sequences()
    ids, mask = padded(rows, side)
    expected = references(model, rows)
    actual = model(ids, attention_mask=mask, use_cache=use_cache).logits[mask.bool()]
    close(actual, expected)
    same_gradients(model, actual, expected)


def test_padding_within_a_row_changes_nothing() -> None:
    model = tiny_model()
    ids = random_ids(1, 7)[0]
    expected = reference_logits(parameters_of(model), model.config, ids)
    mask = torch.tensor([[0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1, 0]])
    holed = torch.full((1, 12), EOD)
    holed[mask.bool()] = ids
    close(model(holed, attention_mask=mask).logits[mask.bool()], expected)
    # Positions that count the holes too: only the turns differ.
    places = torch.arange(12)[None]
    expected = reference_logits(parameters_of(model), model.config, ids, places[mask.bool()])
    close(model(holed, attention_mask=mask, position_ids=places).logits[mask.bool()], expected)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("use_cache", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_packed_sequences_do_not_see_each_other(
    implementation: str, batch: int, use_cache: bool, masked: bool
) -> None:
    model = tiny_model()
    model.set_attn_implementation(implementation)
    packs = [sequences(seed) for seed in range(batch)]
    if batch > 1:
        packs[1] = [torch.cat(packs[1][:2]), *packs[1][2:]]  # each row is cut elsewhere
    ids, positions = (torch.cat(part) for part in zip(*map(packed, packs), strict=True))
    mask = torch.ones_like(ids) if masked else None
    actual = model(ids, position_ids=positions, attention_mask=mask, use_cache=use_cache).logits
    expected = torch.stack([references(model, pack) for pack in packs])
    close(actual, expected)
    same_gradients(model, actual, expected)


def test_packed_rows_may_be_padded_too() -> None:
    model = tiny_model()
    rows = sequences()
    ids, positions = packed(rows)
    blank = torch.zeros(1, 3, dtype=torch.long)
    mask = torch.cat((blank, torch.ones_like(ids), blank), 1)
    ids, positions = (torch.cat((blank, part, blank), 1) for part in (ids, positions))
    actual = model(ids, position_ids=positions, attention_mask=mask).logits[mask.bool()]
    close(actual, references(model, rows))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_no_gradient(reentrant: bool) -> None:
    model = tiny_model().train()
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    rows = sequences()
    ids, mask = padded(rows, "left")
    probed_loss(model(ids, attention_mask=mask, use_cache=False).logits[mask.bool()]).backward()
    reference = gradients(model, references(model, rows))
    for name, parameter in parameters_of(model).items():
        close(parameter.grad, reference[name], 1e-9 * max(1.0, reference[name].abs().max().item()))


def test_embeddings_as_input() -> None:
    model = tiny_model()
    embeddings = torch.randn(2, 6, 16, dtype=torch.float64, requires_grad=True)
    actual = model(inputs_embeds=embeddings).logits[1]
    expected = reference_from_embeddings(parameters_of(model), model.config, embeddings[1])
    close(actual, expected)
    pair = [torch.autograd.grad(probed_loss(logits), embeddings)[0] for logits in (actual, expected)]
    close(pair[0] / 100, pair[1] / 100)
    with pytest.raises(ModelError, match="either"):
        model()
    with pytest.raises(ModelError, match="either"):
        model(torch.tensor([[3]]), inputs_embeds=embeddings)


def test_only_wanted_logits() -> None:
    model = tiny_model()
    ids = random_ids(2, 6)
    every = model(ids).logits
    close(model(ids, logits_to_keep=2).logits, every[:, -2:])
    close(model(ids, logits_to_keep=torch.tensor([0, 3])).logits, every[:, [0, 3]])
    rows = torch.tensor([[0, 1, 0, 1, 1, 0], [1, 0, 0, 0, 0, 0]]).bool()
    close(model(ids, logits_to_keep=rows).logits, every[rows])


def test_loss_is_the_mean_or_a_share_of_the_batch() -> None:
    model = tiny_model()
    rows = sequences()
    ids, mask = padded(rows, "right")
    labels = ids.masked_fill(mask == 0, -100)
    losses = [
        nn.functional.cross_entropy(
            reference_logits(parameters_of(model), model.config, row)[:-1], row[1:], reduction="sum"
        )
        for row in rows
        if len(row) > 1
    ]
    total, count = torch.stack(losses).sum(), sum(len(row) - 1 for row in rows)
    mean = model(ids, attention_mask=mask, labels=labels).loss
    share = model(ids, attention_mask=mask, labels=labels, num_items_in_batch=torch.tensor(50)).loss
    close(mean, total / count, 1e-5)  # transformers computes the loss in float32
    close(share, total / 50, 1e-5)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_autocast_lowers_all_of_attention(implementation: str) -> None:
    model = tiny_model().float()
    model.set_attn_implementation(implementation)
    rows = sequences()
    ids, mask = padded(rows, "left")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = model(ids, attention_mask=mask)
        more = model(
            ids[:, -1:],
            attention_mask=nn.functional.pad(mask, (0, 1), value=1),
            past_key_values=output.past_key_values,
        )
    exact = references(tiny_model(), rows)
    assert (output.logits[mask.bool()] - exact).norm() < 0.2 * exact.norm()
    layer = more.past_key_values.layers[0]
    assert (layer.keys.dtype, layer.values.dtype) == (torch.bfloat16, torch.bfloat16)


def test_weights_and_hidden_states_can_be_had() -> None:
    model = tiny_model()
    model.set_attn_implementation("eager")
    output = model(random_ids(2, 5), output_attentions=True, output_hidden_states=True)
    assert len(output.hidden_states) == 4
    assert [weights.shape for weights in output.attentions] == [(2, 4, 5, 5)] * 3
    close(output.attentions[0].sum(-1), torch.ones(2, 4, 5, dtype=torch.float64))


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.2)])
def test_lower_precision_stays_near(implementation: str, dtype: torch.dtype, tolerance: float) -> None:
    model = tiny_model()
    rows = sequences()
    ids, mask = padded(rows, "left")
    exact = model(ids, attention_mask=mask).logits[mask.bool()]
    model.to(dtype).set_attn_implementation(implementation)
    rough = model(ids, attention_mask=mask).logits
    assert rough.dtype == dtype
    assert (rough[mask.bool()].double() - exact).norm() < tolerance * exact.norm()


def test_flash_attention_is_told_where_sequences_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in that does what flash attention's variable-length kernel does."""

    def flash(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **rest: Any
    ) -> tuple[Tensor, None]:
        assert mask is None
        assert "position_ids" not in rest  # it would guess sequences from them
        starts = rest.get(
            "cu_seq_lens_q", torch.arange(0, query.shape[0] * query.shape[2] + 1, query.shape[2])
        ).tolist()
        flat = [part.transpose(1, 2).flatten(0, 1) for part in (query, key, value)]
        pieces = []
        for begin, end in itertools.pairwise(starts):
            piece = [part[begin:end].transpose(0, 1) for part in flat]
            attended = nn.functional.scaled_dot_product_attention(*piece, is_causal=True, scale=rest["scaling"])
            pieces.append(attended.transpose(0, 1))
        return torch.cat(pieces).view(query.transpose(1, 2).shape), None

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "flash_attention_2", flash)
    model = tiny_model()
    model.config._attn_implementation = "flash_attention_2"
    close(
        model(random_ids(2, 6)).logits[1], reference_logits(parameters_of(model), model.config, random_ids(2, 6)[1])
    )
    packs = [sequences(0), [torch.cat(sequences(1)[:2]), *sequences(1)[2:]]]
    ids, positions = (torch.cat(part) for part in zip(*map(packed, packs), strict=True))
    close(model(ids, position_ids=positions).logits, torch.stack([references(model, pack) for pack in packs]))
    mask = torch.ones_like(ids)
    mask[0, 0] = 0
    with pytest.raises(ModelError, match="packed sequences"):
        model(ids, position_ids=positions, attention_mask=mask)
    with pytest.raises(ModelError, match="4-D"):
        model(ids, attention_mask=torch.ones(2, 1, 16, 16))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attention_mask": torch.ones(2, 4)}, "attention_mask has the shape"),
        ({"attention_mask": torch.ones(2, 1, 5, 6)}, "attention_mask has the shape"),
        ({"position_ids": torch.arange(4)[None]}, "position_ids has the shape"),
        ({"parents": torch.zeros(1, 5)}, "parents has the shape"),
        ({"parents": torch.full((2, 5), 5)}, "parents must be"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(arguments: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        tiny_model()(random_ids(2, 5), **arguments)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 2e-2)])
def test_a_norms_gradients_by_its_formula(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    norm = YuanRMSNorm(24, 1e-3).to(dtype)
    norm.weight.data.normal_()
    x, slope = torch.randn(2, 5, 24, dtype=dtype, requires_grad=True), torch.randn(2, 5, 24, dtype=dtype)
    found = torch.autograd.grad(norm(x), (x, norm.weight), slope)
    wide, weight = (each.detach().double().requires_grad_() for each in (x, norm.weight))
    plain = weight * wide / (wide.square().mean(-1, keepdim=True) + 1e-3).sqrt()
    for one, other in zip(found, torch.autograd.grad(plain, (wide, weight), slope.double()), strict=True):
        assert one.dtype == dtype and (one.double() - other).norm() <= tolerance * other.norm()
    with torch.no_grad():
        assert torch.equal(norm(x), norm(x.detach().requires_grad_()).detach())


def test_what_autograd_keeps_of_norm_and_gate() -> None:
    """Their inputs and one number a token, nothing in between, in bfloat16 too."""
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.nbytes)
        return tensor

    norm, x = YuanRMSNorm(24, 1e-6).bfloat16(), torch.randn(2, 5, 24, dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        norm(x)
    assert sorted(kept) == [10 * 4, 24 * 2, x.nbytes]
    kept.clear()
    mlp = (
        YuanMLP(YuanConfig(hidden_size=24, intermediate_size=40, num_attention_heads=4))
        .bfloat16()
        .requires_grad_(False)
    )
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        mlp(x)
    assert sorted(kept)[:2] == [10 * 40 * 2] * 2 and len([each for each in kept if each == 10 * 40 * 2]) == 2
