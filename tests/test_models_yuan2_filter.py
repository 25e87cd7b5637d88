"""The localized filter and the lineage it goes by, on random trees, rows and chunks."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import DynamicCache

from tests.yuan2_reference import (
    EOD,
    close,
    parameters_of,
    reference_convolution,
    reference_logits,
    tiny_model,
)
from yuantune.models.yuan2.lineage import trace
from yuantune.models.yuan2.localized_filter import LocalizedFilter, preceding

WIDTH = 6


def strong_filter() -> LocalizedFilter:
    torch.manual_seed(0)
    gate = LocalizedFilter(WIDTH, 1e-6).double()
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.copy_(torch.randn(parameter.shape) + 0.5)
    return gate


GATE = strong_filter()


def reference_filter(x: Tensor) -> Tensor:
    """The filter over one sequence [n, D], by two Conv2d and a norm written out."""
    middle = reference_convolution(GATE.conv1.weight, GATE.conv1.bias, x)
    summed = reference_convolution(GATE.conv2.weight, GATE.conv2.bias, middle) + x
    return summed / (summed.square().mean(-1, keepdim=True) + 1e-6).sqrt() * GATE.output_layernorm.weight


@st.composite
def forests(draw: st.DrawFn) -> list[list[int]]:
    """Parents of 2 rows of tokens, a predecessor always earlier in memory."""
    length = draw(st.integers(1, 12))
    rows = 2
    return [[draw(st.integers(-1, token - 1)) for token in range(length)] for _ in range(rows)]


def path_to(parents: list[int], token: int) -> list[int]:
    path = [token]
    while parents[path[-1]] >= 0:
        path.append(parents[path[-1]])
    return path[::-1]


def inputs(rows: int, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randn(rows, length, WIDTH, generator=generator, dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(forests(), st.data())
def test_each_token_is_filtered_along_its_own_path(forest: list[list[int]], data: st.DataObject) -> None:
    x = inputs(len(forest), len(forest[0]))
    expected = torch.stack(
        [
            torch.stack([reference_filter(row[path_to(parents, token)])[-1] for token in range(len(parents))])
            for row, parents in zip(x, forest, strict=True)
        ]
    )
    parents = torch.tensor(forest)
    close(GATE(x, parents)[0], expected)
    # Another order in memory: the tokens are the same, wherever they lie.
    order = torch.tensor(data.draw(st.permutations(range(x.shape[1]))))
    place = order.argsort()
    moved = torch.where(parents < 0, -1, place[parents.clamp(min=0)])[:, order]
    close(GATE(x[:, order], moved)[0], expected[:, order])
    # In two calls, the first one's states handed to the second.
    cut = data.draw(st.integers(1, x.shape[1]))
    first, middle = GATE(x[:, :cut], parents[:, :cut])
    second, _ = GATE(x[:, cut:], parents[:, cut:], (x[:, :cut], middle))
    close(torch.cat((first, second), 1), expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.data())
def test_a_line_needs_no_parents(length: int, data: st.DataObject) -> None:
    x = inputs(2, length)
    expected = torch.stack([reference_filter(row) for row in x])
    close(GATE(x)[0], expected)
    line = torch.arange(-1, length - 1).expand(2, -1)
    close(GATE(x, line)[0], expected)
    cut = data.draw(st.integers(1, length))
    first, middle = GATE(x[:, :cut])
    second, _ = GATE(x[:, cut:], None, (x[:, cut - 1 : cut], middle[:, -1:]))
    close(torch.cat((first, second), 1), expected)


def test_a_missing_predecessor_is_0_in_the_second_convolution_too() -> None:
    x = inputs(1, 1)
    taps = (GATE.conv1.weight[:, :, 1, 0], GATE.conv2.weight[:, :, 1, 0])
    middle = x @ taps[0].T + GATE.conv1.bias
    close(GATE(x)[0], GATE.output_layernorm(middle @ taps[1].T + GATE.conv2.bias + x))
    assert (preceding(x, torch.tensor([[-1]]), None) == 0).all()


def test_gradients_flow_to_every_branch_of_a_predecessor() -> None:
    x = inputs(1, 4).requires_grad_()
    parents = torch.tensor([[-1, 0, 0, 1]])
    assert torch.autograd.gradcheck(lambda x: GATE(x, parents)[0], (x,))


@st.composite
def rows_of_sequences(draw: st.DrawFn) -> tuple[list[list[list[int]]], list[list[int]]]:
    """For two rows: sequences of ids, ends of documents among them; the padding before each and at the end."""
    rows, gaps = [], []
    for _ in range(2):
        count = draw(st.integers(1, 3))
        ids = st.sampled_from([EOD, 7, 8, 9, 10])
        rows.append([draw(st.lists(ids, min_size=1, max_size=4)) for _ in range(count)])
        gaps.append([draw(st.integers(0, 2)) for _ in range(count + 1)])
    return rows, gaps


def laid_out(rows: list[list[list[int]]], gaps: list[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and restarting positions [2, T] of rows of sequences with padding between."""
    lines = []
    for row, gap in zip(rows, gaps, strict=True):
        line: list[tuple[int, int, int]] = []
        for sequence, space in zip([*row, []], gap, strict=True):
            line += [(EOD, 0, 0)] * space + [(token, 1, place) for place, token in enumerate(sequence)]
        lines.append(line)
    width = max(map(len, lines))
    lines = [line + [(EOD, 0, 0)] * (width - len(line)) for line in lines]
    ids, mask, positions = torch.tensor(lines).unbind(-1)
    return ids, mask, positions


def documents_of(sequence: list[int]) -> list[list[int]]:
    documents: list[list[int]] = [[]]
    for token in sequence:
        documents[-1].append(token)
        if token == EOD:
            documents.append([])
    return [document for document in documents if document]


MODELS = {resets: tiny_model(reset_attention_mask=resets, reset_position_ids=resets) for resets in (False, True)}


@settings(max_examples=40, deadline=None)
@given(rows_of_sequences(), st.booleans(), st.booleans(), st.data())
def test_whatever_shares_a_row_each_sequence_is_computed_alone(
    layout: tuple[list[list[list[int]]], list[list[int]]], resets: bool, packed: bool, data: st.DataObject
) -> None:
    """Padding anywhere, packed sequences, documents, and all of it in chunks through a cache."""
    rows, gaps = layout
    if not packed:  # without positions, a row is one sequence with holes
        rows = [[sum(row, [])] for row in rows]  # noqa: RUF017 (a few short lists)
        gaps = [[gap[0], gap[-1]] for gap in gaps]
    ids, mask, positions = laid_out(rows, gaps)
    model = MODELS[resets]
    given_positions = {"position_ids": positions} if packed else {}
    expected = torch.cat(
        [
            reference_logits(parameters_of(model), model.config, document)
            for row in rows
            for sequence in row
            for document in (documents_of(sequence) if resets else [sequence])
        ]
    )
    with torch.no_grad():
        close(model(ids, attention_mask=mask, **given_positions).logits[mask.bool()], expected)
        cache, logits, end = DynamicCache(config=model.config), [], 0
        while end < ids.shape[1]:
            start, end = end, data.draw(st.integers(end + 1, ids.shape[1]))
            here = {name: value[:, start:end] for name, value in given_positions.items()}
            chunk = model(ids[:, start:end], attention_mask=mask[:, :end], past_key_values=cache, **here)
            logits.append(chunk.logits)
        close(torch.cat(logits, 1)[mask.bool()], expected)


@settings(max_examples=60, deadline=None)
@given(forests(), st.booleans())
def test_a_mask_of_ancestors_names_the_parents(forest: list[list[int]], with_depths: bool) -> None:
    length = len(forest[0])
    mask = torch.zeros(len(forest), 1, length, length, dtype=torch.bool)
    depths = torch.zeros(len(forest), length, dtype=torch.long)
    for row, parents in enumerate(forest):
        for token in range(length):
            path = path_to(parents, token)
            mask[row, 0, token, path], depths[row, token] = True, len(path) - 1
    for kind in (mask, torch.zeros(mask.shape).masked_fill(~mask, -torch.inf), mask.expand(-1, 3, -1, -1)):
        lineage = trace(
            len(forest),
            length,
            torch.device("cpu"),
            attention_mask=kind,
            position_ids=depths if with_depths else None,
        )
        assert lineage.parents_BN is not None
        assert lineage.parents_BN.tolist() == forest


def test_a_plain_batch_costs_no_lookup() -> None:
    device = torch.device("cpu")
    line = torch.arange(5)[None]
    assert trace(2, 5, device).parents_BN is None
    assert trace(2, 5, device, attention_mask=torch.ones(2, 5), position_ids=line).parents_BN is None
    padded = nn.functional.pad(torch.ones(2, 4), (1, 0))
    assert trace(2, 5, device, attention_mask=padded).parents_BN is not None
