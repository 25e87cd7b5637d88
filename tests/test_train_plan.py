"""What a run does about memory is decided before its first step, by what costs less."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

from tests.test_models_grouped import built, typical
from yuantune.batch.collate import collate
from yuantune.batch.layout import lay_out
from yuantune.data.examples import ExampleSet
from yuantune.models.memory import tokens_that_fit
from yuantune.train.plan import MemoryPlan, fitting, longest, plan_rows, plan_tokens

ROWS = typical(8)
TOKENS = lay_out(ROWS)["input_ids"].numel()
LONGEST = max(len(row.ids) for row in ROWS)


def plan(
    kept: int | None, again: int | None, asked: bool | str = "auto", most: int | None = None, **more: Any
) -> MemoryPlan:
    return plan_rows(asked, most, {False: kept, True: again}, ROWS, more.pop("lay_out", lay_out), **more)


def test_activations_are_kept_where_the_step_fits() -> None:
    assert plan(TOKENS, 9 * TOKENS) == MemoryPlan(TOKENS, False, may_turn_on=True)


def test_two_portions_of_padded_rows_cost_less_than_computing_all_again() -> None:
    padded = functools.partial(collate, pad_id=0)
    found = plan(4 * LONGEST, 99 * LONGEST, lay_out=padded)
    assert (found.checkpointing, found.most_tokens) == (False, 4 * LONGEST)


def test_a_prompt_in_each_row_costs_more_than_computing_all_again() -> None:
    found = plan(LONGEST, 9 * TOKENS)
    assert (found.checkpointing, found.most_tokens) == (True, 9 * TOKENS)
    assert f"about {LONGEST:,} tokens" in found.turned_on and "gradient_checkpointing: false" in found.turned_on


@pytest.mark.parametrize("again", [LONGEST - 1, LONGEST])
def test_a_row_that_does_not_fit(again: int) -> None:
    assert plan(LONGEST - 1, again).checkpointing


def test_what_is_asked_for_is_done() -> None:
    assert plan(1, 2, asked=False) == MemoryPlan(1, False)
    assert plan(99 * TOKENS, 100 * TOKENS, asked=True) == MemoryPlan(100 * TOKENS, True)
    assert plan(99 * TOKENS, 100 * TOKENS, asked=True, most=7) == MemoryPlan(7, True)
    assert plan(99 * TOKENS, 100 * TOKENS, most=30) == MemoryPlan(30, False, may_turn_on=True)


def test_where_nothing_is_known_activations_are_kept() -> None:
    assert plan(None, None) == MemoryPlan(None, False)
    assert plan(None, None, most=30) == MemoryPlan(30, False)
    assert plan_tokens("auto", 10, {False: None, True: None}) == MemoryPlan(None, False)


def test_batches_that_are_not_cut() -> None:
    fits = {False: 100, True: 200}
    assert [plan_tokens("auto", tokens, fits).checkpointing for tokens in (100, 101)] == [False, True]
    assert plan_tokens(True, 1, fits).checkpointing
    assert [plan(kept, 9 * TOKENS, whole=True).checkpointing for kept in (TOKENS, TOKENS - 1)] == [False, True]


def test_longest_rows() -> None:
    lengths = sorted((len(row.ids) for row in ROWS), reverse=True)
    assert [len(row.ids) for row in longest(ExampleSet(ROWS), 3)] == lengths[:3]
    assert len(longest(ExampleSet(ROWS), 99)) == len(ROWS)


def test_fitting_is_the_estimate() -> None:
    model, cpu = built("llama").float(), torch.device("cpu")
    found = fitting(model, cpu)
    assert found == {each: tokens_that_fit(model, device=cpu, checkpointing=each) for each in (False, True)}
    assert found[True] > found[False]  # type: ignore[operator]
