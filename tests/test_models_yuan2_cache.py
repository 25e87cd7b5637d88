"""Yuan2's cache: steps and chunks against the naive reference, and every way of `generate` against no cache."""

from __future__ import annotations

import copy
import itertools
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache, StaticCache

from tests.yuan2_reference import (
    EOD,
    PAD,
    ancestors,
    by_path,
    close,
    packed,
    padded,
    parameters_of,
    random_ids,
    reference_logits,
    references,
    sequences,
    tiny_model,
    tree,
)
from yuantune.errors import ModelError
from yuantune.models.yuan2.cache import YuanCacheLayer
from yuantune.models.yuan2.model import YuanForCausalLM

CHUNKS = [(9,), (1,) * 9, (3, 6), (2, 2, 5), (8, 1), (1, 7, 1)]
NEW = 8


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    """As `generate` runs; caches that carry gradients cannot be copied."""
    with torch.no_grad():
        yield


def in_chunks(
    model: YuanForCausalLM, ids: Tensor, chunks: tuple[int, ...], cache: Any = None, **given: Tensor
) -> Tensor:
    """Logits [B, T, V] of tokens fed a chunk at a time; `given` are masks over all tokens and positions."""
    cache = DynamicCache(config=model.config) if cache is None else cache
    logits, end = [], 0
    for size in chunks:
        start, end = end, end + size
        sliced = {
            name: value[:, :end] if name == "attention_mask" else value[:, start:end]
            for name, value in given.items()
        }
        logits.append(model(ids[:, start:end], past_key_values=cache, **sliced).logits)
    assert end == ids.shape[1]
    return torch.cat(logits, 1)


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_steps_and_chunks_equal_the_reference(chunks: tuple[int, ...], implementation: str) -> None:
    model = tiny_model()
    model.set_attn_implementation(implementation)
    ids = random_ids(2, 9)
    expected = torch.stack([reference_logits(parameters_of(model), model.config, row) for row in ids])
    close(in_chunks(model, ids, chunks), expected)
    close(in_chunks(model, ids, chunks, DynamicCache()), expected)
    close(in_chunks(model, ids, chunks, position_ids=torch.arange(9)[None]), expected)


@pytest.mark.parametrize("chunks", [(8,), (1,) * 8, (3, 5), (2, 1, 4, 1)])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows_in_chunks(chunks: tuple[int, ...], side: str) -> None:
    model = tiny_model()
    rows = sequences()
    ids, mask = padded(rows, side)
    close(in_chunks(model, ids, chunks, attention_mask=mask)[mask.bool()], references(model, rows))


@pytest.mark.parametrize("chunks", [(1, 1, 1), (3,), (2, 1)])
def test_a_right_padded_prompt_goes_on(chunks: tuple[int, ...]) -> None:
    """The predecessor of the first new token is then not the last token in memory."""
    model = tiny_model()
    rows = sequences()
    ids, mask = padded(rows, "right")
    more = random_ids(len(rows), 3, seed=7)
    mask = torch.cat((mask, torch.ones_like(more)), 1)
    actual = in_chunks(model, torch.cat((ids, more), 1), (8, *chunks), attention_mask=mask)[:, 8:]
    expected = [references(model, [torch.cat((row, new))])[-3:] for row, new in zip(rows, more, strict=True)]
    close(actual, torch.stack(expected))


@pytest.mark.parametrize("chunks", [(16,), (1,) * 16, (5, 11), (6, 8, 2), (3, 4, 4, 5)])
def test_packed_sequences_in_chunks(chunks: tuple[int, ...]) -> None:
    model = tiny_model()
    ids, positions = packed(sequences())
    close(in_chunks(model, ids, chunks, position_ids=positions), references(model, sequences())[None])
    # Positions that are not given go on with the row's last sequence.
    cache = DynamicCache(config=model.config)
    in_chunks(model, ids, chunks, cache, position_ids=positions)
    more = random_ids(1, 2, seed=9)
    expected = references(model, [torch.cat((sequences()[-1], more[0]))])[-2:]
    close(model(more, past_key_values=cache).logits[0], expected)


def test_branches_grow_on_a_cached_prefix() -> None:
    model = tiny_model()
    paths, parents = tree()
    ids, mask = random_ids(1, 12), ancestors(parents)
    depths = mask.sum(-1)[:, 0] - 1
    expected = by_path(model, ids, paths)
    for cuts in ((3, 12), (3, 7, 12), (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)):
        cache = DynamicCache(config=model.config)
        logits = [
            model(
                ids[:, start:end],
                attention_mask=mask[:, :, start:end, :end],
                position_ids=depths[:, start:end],
                past_key_values=cache,
            ).logits[0]
            for start, end in itertools.pairwise((0, *cuts))
        ]
        close(torch.cat(logits), expected)


def test_a_predecessor_that_the_cache_let_go_is_an_error() -> None:
    model = tiny_model()
    cache = DynamicCache(config=model.config)
    model(random_ids(1, 4), past_key_values=cache)
    with pytest.raises(ModelError, match="no longer in the cache"):
        model(random_ids(1, 2), parents=torch.tensor([[1, 4]]), past_key_values=cache)


@pytest.mark.parametrize("resets", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("chunks", [(9,), (1,) * 9, (3, 6), (4, 5), (2, 3, 4)])
def test_documents_end_with_eod(resets: tuple[bool, bool], chunks: tuple[int, ...]) -> None:
    model = tiny_model(reset_attention_mask=resets[0], reset_position_ids=resets[1])
    documents = [[5, 9, EOD], [7, 8, 11, EOD], [12, 13]]
    ids = torch.tensor([list(itertools.chain(*documents))])
    if resets[0]:
        expected = references(model, [torch.tensor(document) for document in documents])
    else:
        positions = [0, 1, 2, 0, 1, 2, 3, 0, 1]
        expected = reference_logits(parameters_of(model), model.config, ids[0], positions)
    close(in_chunks(model, ids, chunks)[0], expected)
    # Left padding with the same id, as published models have it, ends nothing.
    mask = nn.functional.pad(torch.ones_like(ids), (2, 0))
    ids = nn.functional.pad(ids, (2, 0), value=EOD)
    close(in_chunks(model, ids, (2 + chunks[0], *chunks[1:]), attention_mask=mask)[0, 2:], expected)
    # Without the resets, nothing ends.
    plain = tiny_model()
    assert not torch.allclose(plain(ids, attention_mask=mask).logits[0, 2:], expected)


def test_crop_goes_back() -> None:
    model = tiny_model()
    ids = random_ids(2, 9)
    expected = model(ids).logits
    cache = DynamicCache(config=model.config)
    cache.activate_past_recording()
    in_chunks(model, torch.cat((ids[:, :5], random_ids(2, 3, seed=5)), 1), (2, 6), cache)
    cache.crop(-3)
    close(model(ids[:, 5:7], past_key_values=cache).logits, expected[:, 5:7])
    model(random_ids(2, 1, seed=6), past_key_values=cache)
    cache.crop(-2)
    cache.crop(0)
    close(model(ids[:, 6:], past_key_values=cache).logits, expected[:, 6:])
    assert all(layer.history <= 4 for layer in cache.layers)  # crop forgets what can no longer be taken back
    cache.crop(-9)
    close(model(ids, past_key_values=cache).logits, expected)


def test_crop_without_a_record_is_an_error_not_a_wrong_answer() -> None:
    model = tiny_model()
    cache = DynamicCache(config=model.config)
    model(random_ids(1, 4), past_key_values=cache)
    with pytest.raises(ModelError, match="activate_past_recording"):
        cache.crop(-1)
    with pytest.raises(ModelError, match="negative"):
        cache.crop(1)
    assert cache.get_seq_length() == 4
    cache.crop(-4)
    ids = random_ids(1, 6)
    close(model(ids, past_key_values=cache).logits, model(ids).logits)


def test_rows_can_be_chosen_repeated_copied_and_forgotten() -> None:
    model = tiny_model()
    ids, more = random_ids(3, 5), random_ids(6, 2, seed=3)
    cache = DynamicCache(config=model.config)
    model(ids, past_key_values=cache)
    kept = copy.deepcopy(cache)
    cache.batch_select_indices(torch.tensor([2, 0, 1]))
    cache.batch_repeat_interleave(2)
    cache.reorder_cache(torch.tensor([5, 4, 3, 2, 1, 0]))
    rows = ids[[2, 0, 1]].repeat_interleave(2, 0).flip(0)
    close(model(more, past_key_values=cache).logits, model(torch.cat((rows, more), 1)).logits[:, 5:])
    close(model(more[:3], past_key_values=kept).logits, model(torch.cat((ids, more[:3]), 1)).logits[:, 5:])
    cache.reset()
    close(model(more[:1], past_key_values=cache).logits, model(more[:1]).logits)


def test_the_filter_costs_one_token_of_memory() -> None:
    model = tiny_model()
    cache = model(random_ids(2, 9), use_cache=True).past_key_values
    assert [type(layer) for layer in cache.layers] == [YuanCacheLayer] * 3
    assert [layer.history for layer in cache.layers] == [1, 1, 1]
    assert model(random_ids(2, 9), use_cache=False).past_key_values is None


def test_a_config_alone_is_enough_for_a_cache() -> None:
    code = (
        "from yuantune.models.yuan2.config import YuanConfig; from transformers import DynamicCache;"
        "print(DynamicCache(config=YuanConfig(num_hidden_layers=2)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "DynamicCache(layers=[YuanCacheLayer, YuanCacheLayer])"


def test_caches_that_cannot_work_are_refused() -> None:
    model = tiny_model()
    ids = random_ids(1, 4)
    with pytest.raises(ModelError, match="no static cache"):
        StaticCache(config=model.config, max_cache_len=8)
    with pytest.raises(ModelError, match="no static cache"):
        model.generate(ids, max_new_tokens=2, cache_implementation="static")
    with pytest.raises(ModelError, match="must be a DynamicCache"):
        model(ids, past_key_values=((ids, ids),))
    with pytest.raises(ModelError, match="has 2 layers, the model 3"):
        model(ids, past_key_values=DynamicCache(config=tiny_model(num_hidden_layers=2).config))
    paged = tiny_model()
    paged.config._attn_implementation = "paged|sdpa"
    with pytest.raises(ModelError, match="continuous batching"):
        paged(ids)
    model.train().activation_checkpointing_enable()
    assert model(ids, use_cache=True).past_key_values is None
    filled = tiny_model()(ids).past_key_values
    with pytest.raises(ModelError, match="gradient checkpointing"):
        model(ids, past_key_values=filled)


@pytest.mark.parametrize("chunks", [(8,), (1,) * 8, (2, 6)])
def test_a_plain_cache_with_a_tuned_prefix(chunks: tuple[int, ...]) -> None:
    """Keys and values that never were tokens: seen by attention, nobody's predecessor."""
    model = tiny_model()
    prefix = [tuple(torch.randn(2, 4, 3, 4, dtype=torch.float64)) for _ in range(3)]
    rows = sequences()
    ids, mask = padded(rows, "left")
    cache, logits, end = (
        DynamicCache([tuple(part.expand(4, -1, -1, -1) for part in pair) for pair in prefix]),
        [],
        0,
    )
    for size in chunks:
        start, end = end, end + size
        whole = nn.functional.pad(mask[:, :end], (3, 0), value=1)
        logits.append(model(ids[:, start:end], attention_mask=whole, past_key_values=cache).logits)
    weights = parameters_of(model)
    expected = [reference_logits(weights, model.config, row, prefix=prefix) for row in rows]
    close(torch.cat(logits, 1)[mask.bool()], torch.cat(expected))


def by_hand(model: YuanForCausalLM, prompt: Tensor) -> Tensor:
    """Greedy decoding of one row with the reference: no cache, no mask."""
    ids = prompt
    for _ in range(NEW):
        logits = reference_logits(parameters_of(model), model.config, ids)[-1]
        ids = torch.cat((ids, logits.argmax()[None]))
        if ids[-1] == EOD:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("prefill_chunk_size", [None, 3])
def test_left_padded_batches_generate_what_each_row_would_alone(
    implementation: str, prefill_chunk_size: int | None
) -> None:
    model = tiny_model()
    model.set_attn_implementation(implementation)
    rows = sequences()
    ids, mask = padded(rows, "left")
    options = {"max_new_tokens": NEW, "do_sample": False, "prefill_chunk_size": prefill_chunk_size}
    generated = model.generate(ids, attention_mask=mask, **options)[:, ids.shape[1] :]
    for row, answer in zip(rows, generated, strict=True):
        expected = by_hand(model, row)
        assert answer[: len(expected)].tolist() == expected.tolist()
        assert (answer[len(expected) :] == PAD).all()
        alone = model.generate(row[None], **options)[0, len(row) :]
        assert alone.tolist() == expected.tolist()


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": False},
        {"do_sample": True, "temperature": 0.7},
        {"do_sample": True, "num_return_sequences": 3},
        {"do_sample": False, "num_beams": 4, "num_return_sequences": 2},
        {"do_sample": True, "num_beams": 3},
    ],
)
def test_generate_does_not_depend_on_the_cache(options: dict[str, Any]) -> None:
    model = tiny_model()
    ids, mask = padded(sequences(), "left")
    answers = []
    for use_cache in (True, False):
        torch.manual_seed(11)
        answers.append(model.generate(ids, attention_mask=mask, max_new_tokens=NEW, use_cache=use_cache, **options))
    assert answers[0].tolist() == answers[1].tolist()


@pytest.mark.parametrize("prompt", [[7, 8, 9, 7, 8, 9, 7, 8], [7], [7, 8, EOD, 7, 8, EOD, 7, 8]])
@pytest.mark.parametrize("resets", [False, True])
def test_assisted_decoding_equals_greedy(prompt: list[int], resets: bool) -> None:
    # One id for both, as published: else transformers takes a pad that the model says for padding.
    changes: dict[str, Any] = {"reset_attention_mask": resets, "reset_position_ids": resets, "pad_token_id": EOD}
    model, assistant = tiny_model(**changes), tiny_model(num_hidden_layers=1, **changes)
    ids = torch.tensor([prompt])
    options: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    expected = model.generate(ids, use_cache=False, **options).tolist()
    assert model.generate(ids, **options).tolist() == expected
    assert model.generate(ids, prompt_lookup_num_tokens=3, **options).tolist() == expected
    assert model.generate(ids, assistant_model=assistant, **options).tolist() == expected
    close_relative = copy.deepcopy(model)  # mostly right, so that drafts are accepted too
    close_relative.model.norm.weight.mul_(1.01)
    assert model.generate(ids, assistant_model=close_relative, **options).tolist() == expected


def test_a_document_that_ends_inside_a_generated_batch_stays_apart() -> None:
    """A row that has answered is fed `<eod>` while the others go on."""
    model = tiny_model(reset_attention_mask=True, reset_position_ids=True)
    ids, mask = padded([torch.tensor([5, EOD, 7, 8]), torch.tensor([9, 4])], "left")
    options: dict[str, Any] = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": None}
    answers = model.generate(ids, attention_mask=mask, **options)[:, 4:]
    for row, answer in zip(([7, 8], [9, 4]), answers, strict=True):
        assert answer.tolist() == model.generate(torch.tensor([row]), **options)[0, 2:].tolist()


def test_generation_goes_on_from_its_cache() -> None:
    model = tiny_model()
    ids = random_ids(1, 5)
    options: dict[str, Any] = {"do_sample": False, "eos_token_id": None}
    whole = model.generate(ids, max_new_tokens=9, **options)
    cache = DynamicCache(config=model.config)
    half = model.generate(ids, max_new_tokens=4, past_key_values=cache, **options)
    assert model.generate(half, max_new_tokens=5, past_key_values=cache, **options).tolist() == whole.tolist()
