"""Numbers that cannot be right are said at once, by row, and never reach a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_train_portions import trainer, weights
from yuantune.batch.layout import lay_out
from yuantune.data.examples import Example, ExampleSet
from yuantune.data.record import Source
from yuantune.errors import WorkFailed
from yuantune.methods import lora
from yuantune.models.loss import supervised_loss
from yuantune.train import portions as portions_module
from yuantune.train import step as step_module
from yuantune.train.checkpoint import checkpoints
from yuantune.train.numbers import EQUAL, IN_A_ROW, Seen, Watch, fingerprint
from yuantune.train.portions import RowsTrainer

NAN = float("nan")
BAD = "rows.jsonl:5"


def seen(step: int, loss: float = 1.0, norm: float = 1.0, tokens: float = 9.0) -> Seen:
    return Seen(step, *(torch.tensor(each) for each in (loss, norm, tokens)), rows=[f"a.jsonl:{step}"])


def run_of(folder: Path, *, steps: int = 4, accumulation: int = 1) -> RowsTrainer:
    """A run over eight rows, four a step, which knows of each batch whether row 5 is in it."""

    def lay(rows: Any) -> Any:
        return {**lay_out(rows), "bad": any(str(row.source) == BAD for row in rows)}

    run = trainer(folder, 4 // accumulation, accumulation, lay)
    run.args.max_steps = steps
    run.save_weights = lora.save
    run.train_dataset = ExampleSet(
        replace(row, source=Source("rows.jsonl", line)) for line, row in enumerate(run.train_dataset, 1)
    )
    return run


def losing(monkeypatch: pytest.MonkeyPatch, loss: Callable[..., torch.Tensor]) -> None:
    """Train with `loss(model, bad, **batch)`."""
    for module in (step_module, portions_module):
        monkeypatch.setattr(module, "supervised_loss", loss)


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    losing(monkeypatch, lambda model, bad, **batch: supervised_loss(model, **batch))


@pytest.fixture
def one_bad_row(usual: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of what row 5 is in is no number."""
    losing(monkeypatch, lambda model, bad, **batch: supervised_loss(model, **batch) * (NAN if bad else 1.0))


def test_the_row_whose_loss_is_no_number_is_named(tmp_path: Path, one_bad_row: None) -> None:
    run = run_of(tmp_path / "run", accumulation=2)
    before = fingerprint(run.model)
    with pytest.raises(WorkFailed, match="diverged: the loss is nan at step") as caught:
        run.train()
    assert [problem.where for problem in caught.value.problems] == [BAD]
    assert "by itself, the loss is nan" in caught.value.problems[0].what
    assert "train.on_nonfinite: skip" in caught.value.hint
    assert run.state.global_step == 1 or fingerprint(run.model) == before
    assert all(torch.isfinite(each).all() for each in weights(run))
    assert not checkpoints(tmp_path / "run")


def test_a_step_is_left_out_where_the_config_says_so(tmp_path: Path, one_bad_row: None) -> None:
    """Two of four steps (two passes over eight rows) go by; the log tells them, with no loss of 0."""
    run, notes = run_of(tmp_path / "run"), []
    run.note = notes.append
    run.skip_nonfinite = True
    run.train()
    left_out = [note for note in notes if "is left out" in note]
    assert len(left_out) == 2 and all(BAD in note for note in left_out)
    log = [line for line in run.state.log_history if "grad_norm" in line or "skipped" in line]
    assert [line.get("skipped", 0) for line in log].count(1) == 2
    assert all(("loss" in line) != ("skipped" in line) for line in log)
    assert all(math.isfinite(value) for line in log for value in line.values())
    run.check()


def test_the_mean_of_a_line_is_over_the_steps_that_were_learnt(tmp_path: Path, one_bad_row: None) -> None:
    one, two = run_of(tmp_path / "one", steps=2), run_of(tmp_path / "two", steps=2)
    two.args.logging_steps = 2
    for run in (one, two):
        run.skip_nonfinite = True
        run.train()
    (loss,) = [line["loss"] for line in one.state.log_history if "loss" in line]
    (both,) = [line for line in two.state.log_history if "loss" in line]
    assert both["loss"] == pytest.approx(loss, rel=1e-6) and both["skipped"] == 1


def test_too_many_left_out_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losing(monkeypatch, lambda model, bad, **batch: supervised_loss(model, **batch) * NAN)
    run = run_of(tmp_path / "run", steps=IN_A_ROW + 5)
    run.skip_nonfinite = True
    with pytest.raises(WorkFailed, match=f"{IN_A_ROW} steps in a row had to be left out"):
        run.train()
    assert run.state.global_step == IN_A_ROW - 1


def test_an_infinite_gradient_of_a_finite_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tmp_path / "run")
    weight = next(each for each in run.model.parameters() if each.requires_grad)
    weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(WorkFailed, match=r"diverged: the gradient's norm is (inf|nan) at step 1") as caught:
        run.train()
    assert len(caught.value.problems) == 4


def test_weights_that_are_no_numbers_are_never_saved(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", steps=1)
    run.train()
    run._save_checkpoint(run.model, None)
    name, weight = next((n, w) for n, w in run.model.named_parameters() if w.requires_grad)
    weight.data.view(-1)[0] = math.inf
    run.state.global_step = 2
    for save in (lambda: run._save_checkpoint(run.model, None), run.check):
        with pytest.raises(WorkFailed, match="no numbers any more at step 2") as caught:
            save()
        assert caught.value.problems[0].where == name
    assert list(checkpoints(tmp_path / "run")) == [1]


def test_a_gpu_is_waited_for_when_a_line_or_a_checkpoint_is_due(tmp_path: Path) -> None:
    """Without looking at each step, a bad one is found before anything is logged or saved."""
    watch = Watch(print)
    watch.add(seen(1))
    watch.add(seen(2, loss=NAN))
    watch.add(seen(3))
    run = run_of(tmp_path / "run", steps=1)
    run.train()
    run.watch = watch
    with pytest.raises(WorkFailed, match="the loss is nan at step 2") as caught:
        run._save_checkpoint(run.model, None)
    assert str(caught.value.problems[0]) == "a.jsonl:2: is in that step"


def test_a_step_without_supervised_tokens(tmp_path: Path) -> None:
    watch = Watch(print)
    watch.add(seen(3, tokens=0.0))
    with pytest.raises(WorkFailed, match="step 3 has no supervised tokens") as caught:
        watch.look()
    assert caught.value.problems[0].where == "a.jsonl:3"


def test_a_real_step_without_supervised_tokens(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    run.train_dataset = ExampleSet(
        Example(row.ids, [False] * len(row.ids), row.text_span, row.source) for row in run.train_dataset
    )
    with pytest.raises(WorkFailed, match="step 1 has no supervised tokens") as caught:
        run.train()
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1.0, 0.0, 0.0], "the loss of step 2 is exactly 0"),
        ([0.7] * (EQUAL + 3), f"the loss has been exactly 0.7 for {EQUAL} steps"),
        ([2 - step / 10 for step in range(12)] + [5.0] * 10, "the loss rises: about"),
    ],
)
def test_odd_losses_are_noted_once(losses: list[float], expected: str) -> None:
    notes: list[str] = []
    watch = Watch(notes.append)
    for step, loss in enumerate(losses, 1):
        watch.add(seen(step, loss))
        watch.look()
    assert len(notes) == 1 and notes[0].startswith(expected)


def test_usual_losses_are_not_noted() -> None:
    notes: list[str] = []
    watch, chance = Watch(notes.append), torch.Generator().manual_seed(1)
    for step in range(1, 200):
        watch.add(seen(step, 3 / step**0.5 + float(torch.rand((), generator=chance))))
    watch.look()
    assert notes == []


def test_weights_that_no_gradient_reaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(model: Any, **batch: Any) -> torch.Tensor:
        return torch.ones((), dtype=torch.float64, requires_grad=True)

    run = run_of(tmp_path / "run")
    with monkeypatch.context() as patch:
        losing(patch, cut_off)
        with pytest.raises(WorkFailed, match="no gradient reaches the trained weights"):
            run.train()
    notes: list[str] = []
    run = run_of(tmp_path / "run")
    run.note = notes.append
    torch.nn.Module.register_parameter(run.model, "idle", torch.nn.Parameter(torch.zeros(2)))
    run.train()
    assert len(notes) == 1 and notes[0].startswith("no gradient reaches 1 of ") and notes[0].endswith(": idle")


def test_a_gradient_of_nothing_but_zeros(tmp_path: Path) -> None:
    watch = Watch(print)
    watch.add(seen(1, norm=0.0))
    with pytest.raises(WorkFailed, match="no gradient reaches"):
        watch.look()


def test_what_changes_alike_in_pairs_has_changed() -> None:
    model = torch.nn.Linear(4, 2, bias=False)
    torch.nn.init.zeros_(model.weight)
    before = fingerprint(model)
    with torch.no_grad():
        model.weight += torch.tensor([0.25, -0.5, 0.125, 3.0])
    assert fingerprint(model) != before


def test_weights_that_do_not_move(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", steps=12)
    run.args.learning_rate = 1e-300
    with pytest.raises(WorkFailed, match="no trained weight has changed in 10 steps"):
        run.train()
