"""Packing: every token once, no example cut, shares by weight, no padding beside text, and nothing leaks in a
row."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
)

from yuantune.batch.pack import LOOK_AHEAD, Packer, Row, collate_rows
from yuantune.data.documents import NOTHING, Tokens
from yuantune.data.stream import DocumentStream
from yuantune.models.loss import supervised_loss
from yuantune.models.packed import keeps_apart

PAD = 7


class Made:
    """A source of ready-made documents: each is a number, of which `tokens` makes its tokens."""

    path = "made"
    unreadable = 0

    def __init__(self, lengths: Sequence[int], *, cuttable: bool, first: int = 0) -> None:
        self.cuttable = cuttable
        self.documents = list(document(length, first + 1000 * i, cuttable) for i, length in enumerate(lengths))

    def rows(self) -> Iterator[int]:
        return iter(range(len(self.documents)))

    def encode(self, rows: Sequence[int]) -> list[Tokens | None]:
        return [self.documents[row] for row in rows]


def document(length: int, first: int, whole: bool = True) -> Tokens:
    """A document of `length` input tokens, all different."""
    ids = list(range(first + 10, first + 11 + length))
    return Tokens.learning(ids, None if whole else [i >= length // 2 for i in range(length + 1)])


def packer(*sources: Made, weights: Sequence[float] = (), length: int = 16, endless: bool = False) -> Packer:
    streams = [
        DocumentStream(source, seed=str(i), shuffle_buffer=1, longest=length, endless=endless)
        for i, source in enumerate(sources)
    ]
    return Packer(streams, weights or [1.0] * len(streams), length=length, pad_id=PAD)


def pieces(row: Row) -> list[tuple[list[int], list[int]]]:
    """The documents and parts of documents of a row: ids and labels; padding is left out."""
    end = len(row.ids) - row.padding
    starts = [i for i in range(end) if row.positions[i] == 0]
    return [
        (row.ids[start:stop].tolist(), row.labels[start:stop].tolist())
        for start, stop in itertools.pairwise([*starts, end])
    ]


lengths = st.lists(st.integers(1, 40), min_size=1, max_size=30)
short = st.lists(st.integers(1, 16), min_size=1, max_size=80)


@given(lengths, short)
def test_every_token_is_seen_and_learnt_once(texts: list[int], examples: list[int]) -> None:
    text, instructions = Made(texts, cuttable=True), Made(examples, cuttable=False, first=10**6)
    rows = list(packer(text, instructions))
    assert all(len(row.ids) == len(row.labels) == len(row.positions) == 16 for row in rows)
    seen = [pair for row in rows for ids, labels in pieces(row) for pair in zip(ids, labels, strict=True)]
    wanted = [
        pair
        for source in (text, instructions)
        for each in source.documents
        for pair in zip(each.ids.tolist(), each.labels.tolist(), strict=True)
    ]
    assert Counter(seen) == Counter(wanted)
    for row in rows:
        assert row.ids[16 - row.padding :].tolist() == [PAD] * row.padding
        assert row.labels[16 - row.padding :].tolist() == [NOTHING] * row.padding


@given(lengths, short)
def test_an_example_is_never_cut_and_text_goes_on_in_order(texts: list[int], examples: list[int]) -> None:
    text, instructions = Made(texts, cuttable=True), Made(examples, cuttable=False, first=10**6)
    parts = [ids for row in packer(text, instructions) for ids, _ in pieces(row)]
    whole = {tuple(each.ids.tolist()) for each in instructions.documents}
    assert {tuple(ids) for ids in parts if ids[0] >= 10**6} == whole
    joined = [token for ids in parts if ids[0] < 10**6 for token in ids]
    assert joined == [token for each in text.documents for token in each.ids.tolist()]


@given(short)
def test_beside_text_there_is_no_padding(examples: list[int]) -> None:
    made = packer(Made([100], cuttable=True), Made(examples, cuttable=False), endless=True)
    assert all(row.padding == 0 for row in itertools.islice(made, 40))


@settings(max_examples=40)
@given(st.lists(st.floats(0.7, 10), min_size=3, max_size=3))
def test_shares_are_by_tokens_as_weighted(weights: list[float]) -> None:
    """Text, long and short; and examples, which fill a row together: to within the longest document and a row,
    where the weights leave text as much as fills the gaps behind examples, a token in sixteen here."""
    sources = (Made([300, 5], cuttable=True), Made([3], cuttable=True), Made([2, 9, 4], cuttable=False))
    made = packer(*sources, weights=weights, endless=True)
    for _ in range(1200):
        next(made)
    shares = np.array(made.drawn) / sum(made.drawn)
    assert shares == pytest.approx(np.array(weights) / sum(weights), abs=316 / sum(made.drawn))


def test_long_examples_get_their_turn() -> None:
    """What only an empty row can hold comes, although something shorter fits every gap."""
    made = packer(Made([1000], cuttable=True), Made([16, 2, 2, 3], cuttable=False), endless=True)
    parts = [len(ids) for row in itertools.islice(made, 200) for ids, labels in pieces(row) if NOTHING in labels]
    assert parts.count(16) == pytest.approx(len(parts) / 4, abs=LOOK_AHEAD)


@given(lengths, short, st.integers(0, 60), st.integers(1, 40))
def test_goes_on_from_any_row(texts: list[int], examples: list[int], at: int, buffer: int) -> None:
    def made() -> Packer:
        sources = (Made(texts, cuttable=True), Made(examples, cuttable=False, first=10**6))
        streams = [DocumentStream(each, seed="s", shuffle_buffer=buffer, longest=16) for each in sources]
        return Packer(streams, [1.0, 2.0], length=16, pad_id=PAD)

    whole = made()
    for _ in range(at):
        next(whole)
    state = json.loads(json.dumps(whole.state()))
    again = made()
    again.restore(state)
    for _ in range(30):
        one, other = next(whole), next(again)
        assert one.ids.tolist() == other.ids.tolist()
        assert one.labels.tolist() == other.labels.tolist()
    assert again.state() == whole.state()


# ---------------------------------------------------------------------------------------- documents and the model


@pytest.fixture(params=["yuan", "llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(0)
    if request.param == "gpt2":
        config = GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=4, n_positions=64)
        return GPT2LMHeadModel(config).double().eval()
    folder = request.getfixturevalue(f"{request.param}_folder")
    built: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    return built.eval()


def rows_of_documents() -> tuple[list[Tokens], list[Row]]:
    generator = np.random.default_rng(0)
    documents = [Tokens.learning(generator.integers(1, 60, size).tolist()) for size in (9, 2, 6, 12, 5, 4, 3)]
    source = Made([], cuttable=False)
    source.documents = documents
    return documents, list(packer(source, length=14))


def test_a_packed_document_is_as_if_alone(model: PreTrainedModel) -> None:
    documents, rows = rows_of_documents()
    assert any(row.padding for row in rows)
    batch = collate_rows(rows)
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
        for row, of_row in zip(rows, logits, strict=True):
            at = 0
            for ids, _ in pieces(row):
                alone = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
                torch.testing.assert_close(of_row[at : at + len(ids)], alone, rtol=1e-9, atol=1e-9)
                at += len(ids)
    assert sum(len(pieces(row)) for row in rows) == len(documents)


def test_the_loss_of_a_packed_batch_is_that_of_its_documents(model: PreTrainedModel) -> None:
    documents, rows = rows_of_documents()
    batch: Any = collate_rows(rows)
    loss = supervised_loss(model, **batch)
    expected = torch.zeros((), dtype=torch.float64)
    for each in documents:
        logits = model(input_ids=torch.from_numpy(each.ids)[None].long()).logits[0]
        labels = torch.from_numpy(each.labels).long()
        expected = expected + torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    torch.testing.assert_close(loss, expected)


def test_who_keeps_documents_apart(model: PreTrainedModel) -> None:
    assert keeps_apart(model)
    recurrent = MambaForCausalLM(MambaConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, state_size=4))
    assert not keeps_apart(recurrent)
