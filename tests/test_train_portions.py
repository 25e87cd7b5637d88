"""A step in portions is the step: bounded, laid out over an accumulation, or begun again when memory ends."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from tests.test_batch_layout import batches
from tests.test_models_grouped import built, typical
from tests.test_train_step import plain_steps
from yuantune.batch.collate import collate
from yuantune.batch.layout import lay_out
from yuantune.data.examples import Example, ExampleSet
from yuantune.errors import RunError
from yuantune.models.memory import memory_of, tokens_that_fit
from yuantune.train import portions as portions_module
from yuantune.train import step as step_module
from yuantune.train.portions import PORTIONS_FILE, RowsTrainer, cut

PADDED = functools.partial(collate, pad_id=0)


@given(batches(), st.integers(1, 60), st.booleans())
def test_portions_hold_every_row_once_within_the_bound(rows: list[Example], most: int, grouped: bool) -> None:
    lay: Any = lay_out if grouped else PADDED
    parts = cut(rows, lay, most)
    labels = sorted(label for part in parts for label in part["label_S"].tolist())
    assert labels == sorted(lay(rows)["label_S"].tolist())
    counts = [part["layout"].examples if grouped else len(part["input_ids"]) for part in parts]
    assert sum(counts) == len(rows)
    for part, count in zip(parts, counts, strict=True):
        assert count == 1 or part["input_ids"].numel() <= most


def trainer(folder: Path, batch: int, accumulation: int, lay: Any = lay_out, **more: Any) -> RowsTrainer:
    args = plain_steps(folder, batch, accumulation, max_steps=2, learning_rate=0.1, seed=3)
    tuned = get_peft_model(
        built("yuan"),
        LoraConfig(task_type="CAUSAL_LM", target_modules=["v_proj", "up_proj"], init_lora_weights=False),
    ).double()
    rows = ExampleSet(typical(8))
    return RowsTrainer(lay, model=tuned, args=args, train_dataset=rows, eval_dataset=rows, **more)


def weights(run: RowsTrainer) -> list[torch.Tensor]:
    return [each.detach().clone() for each in run.model.parameters() if each.requires_grad]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[torch.Tensor], list[Any]]:
    """Two steps of padded rows in one go."""
    run = trainer(tmp_path_factory.mktemp("whole"), 8, 1, PADDED)
    run.train()
    return weights(run), run.state.log_history


def check(run: RowsTrainer, whole: tuple[list[torch.Tensor], list[Any]]) -> None:
    for mine, theirs in zip(weights(run), whole[0], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)
    losses, expected = (
        [line["loss"] for line in log if "loss" in line] for log in (run.state.log_history, whole[1])
    )
    assert losses == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("batch", "accumulation"), [(8, 1), (2, 4), (1, 8)])
@pytest.mark.parametrize("most", [None, 40, 1])
@pytest.mark.parametrize("lay", [lay_out, PADDED])
def test_two_steps_are_two_steps_however_they_are_cut(
    tmp_path: Path, whole: Any, batch: int, accumulation: int, most: int | None, lay: Any
) -> None:
    run = trainer(tmp_path, batch, accumulation, lay, most_tokens=most)
    run.train()
    assert run.state.global_step == 2
    check(run, whole)


def test_an_accumulation_shares_its_prompt(tmp_path: Path) -> None:
    tokens: list[int] = []

    def lay(rows: Any) -> Any:
        batch = lay_out(rows)
        tokens.append(batch["input_ids"].numel())
        return batch

    trainer(tmp_path, 2, 4, lay).train()
    assert tokens == [lay_out(typical(8))["input_ids"].numel()] * 2


def test_a_step_that_does_not_fit_begins_again(tmp_path: Path, whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    run = trainer(tmp_path, 8, 1)
    run.note = notes.append
    run.model.train()
    compute, room = step_module.supervised_loss, 33  # The longest row has 31 tokens.
    backward: list[int] = []

    def full(model: Any, input_ids: torch.Tensor, **batch: Any) -> torch.Tensor:
        if input_ids.numel() > room and len(backward) > 0:
            raise torch.OutOfMemoryError("out of memory")
        backward.append(input_ids.numel())
        return compute(model, input_ids, **batch)

    # The first portion is computed, and the second one ends memory: what the first gave must go.
    run.most_tokens = 60
    monkeypatch.setattr(step_module, "supervised_loss", full)
    run.train()
    check(run, whole)
    assert len(notes) == 1 and "step 1 did not fit into memory" in notes[0]
    assert f"data.max_batch_tokens: {run.most_tokens}" in notes[0]
    run.save_weights = lambda model, folder: None
    run._save(str(tmp_path / "checkpoint"))
    again = trainer(tmp_path / "again", 8, 1)
    again.restore(tmp_path / "checkpoint")
    assert again.most_tokens == run.most_tokens
    (tmp_path / "checkpoint" / PORTIONS_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match="damaged"):
        again.restore(tmp_path / "checkpoint")


@pytest.mark.parametrize("most", [None, 1])
def test_activations_are_computed_again_where_portions_would_cost_more(
    tmp_path: Path, whole: Any, monkeypatch: pytest.MonkeyPatch, most: int | None
) -> None:
    """In one portion (the next smaller ones compute the prompt too often), and in portions of single rows."""
    notes: list[str] = []
    run = trainer(tmp_path, 8, 1, most_tokens=most, may_checkpoint=True)
    run.note = notes.append
    compute = step_module.supervised_loss

    def full(model: Any, *args: Any, **batch: Any) -> torch.Tensor:
        if not model.base_model.model.is_activation_checkpointing:
            raise torch.OutOfMemoryError("out of memory")
        return compute(model, *args, **batch)

    monkeypatch.setattr(step_module, "supervised_loss", full)
    monkeypatch.setattr(portions_module, "COMPUTED_AGAIN", 1.01)
    run.train()
    check(run, whole)
    assert (
        len(notes) == 1 and "step 1 did not fit into memory; it begins again with gradient checkpoint" in notes[0]
    )
    run.save_weights = lambda model, folder: None
    run._save(str(tmp_path / "checkpoint"))
    again = trainer(tmp_path / "again", 8, 1, may_checkpoint=True)
    again.restore(tmp_path / "checkpoint")
    assert again.args.activation_checkpointing and again.most_tokens == most
    again.train()
    assert len(notes) == 1


def test_a_row_that_does_not_fit_alone_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **batch: Any) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(step_module, "supervised_loss", full)
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        trainer(tmp_path, 8, 1).train()


def test_evaluation_that_does_not_fit_goes_on_by_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute, sizes = step_module.supervised_loss, []
    run = trainer(tmp_path, 8, 1)
    whole = run.sum_losses(run.model, [list(run.train_dataset)[:5]])

    def full(model: Any, input_ids: torch.Tensor, **batch: Any) -> torch.Tensor:
        sizes.append(input_ids.numel())
        if input_ids.numel() >= sizes[0]:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return compute(model, input_ids=input_ids, **batch)

    monkeypatch.setattr(step_module, "supervised_loss", full)
    again = run.sum_losses(run.model, [list(run.train_dataset)[:5]])
    assert len(sizes) == 3 and again[1:] == whole[1:]
    assert again[0] == pytest.approx(whole[0], rel=1e-5)


def test_another_error_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*args: Any, **batch: Any) -> torch.Tensor:
        raise RuntimeError("shapes")

    monkeypatch.setattr(step_module, "supervised_loss", wrong)
    notes: list[str] = []
    with pytest.raises(RuntimeError, match="shapes"):
        run = trainer(tmp_path, 8, 1)
        run.note = notes.append
        run.train()
    assert not notes


def test_evaluation_in_portions(tmp_path: Path) -> None:
    losses = [
        trainer(tmp_path, 8, 1, lay, most_tokens=most).evaluate()["eval_loss"]
        for lay, most in ((PADDED, None), (lay_out, None), (lay_out, 30))
    ]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-12)


def test_tokens_that_fit() -> None:
    model, cpu = built("llama").float(), torch.device("cpu")
    fits = tokens_that_fit(model, device=cpu)
    assert fits is not None and 1 <= fits < memory_of(cpu)
    assert fits < (tokens_that_fit(model, device=cpu, checkpointing=True) or 0)
    frozen = copy.deepcopy(model).requires_grad_(False)
    assert tokens_that_fit(frozen, device=cpu) is None  # No gradient reaches anything.
    frozen.model.layers[-1].requires_grad_(True)
    assert (tokens_that_fit(frozen, device=cpu) or 0) > fits
