"""A sweep's file: options listed or drawn, and everything that is wrong with it said before anything is trained."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yuantune.config import Config
from yuantune.config_file import commented_config
from yuantune.errors import ConfigError
from yuantune.study.leaderboard import Score, Standing, ranked, read_standing, rows_of
from yuantune.study.sweep_picture import draw_sweep
from yuantune.study.sweep_plan import METHODS, draw, plan
from yuantune.sweep_config import Range, SweepConfig, load_sweep, read_sweep

RUN = {"data": {"train": "a.jsonl", "eval": "b.jsonl"}, "eval": {"every": "epoch"}}


def config(**changes: Any) -> SweepConfig:
    return SweepConfig.model_validate({"run": RUN, **changes})


def refused(path: Path, text: str, *settings: str) -> str:
    """What is said of a sweep file."""
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        plan(*read_sweep(path, settings))
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_grid_is_every_combination() -> None:
    tried = {"train.learning_rate": ["1e-4", 1e-3], "train": {"seed": [1, 2, 3]}, "method": ["lora", "full"]}
    trials, same = plan(config(options=tried))
    assert [tuple(trial.options.values()) for trial in trials] == list(
        itertools.product([1e-4, 1e-3], [1, 2, 3], ["lora", "full"])
    )
    assert [trial.number for trial in trials] == list(range(1, 13)) and same == 0
    assert all(trial.config.train.seed == trial.options["train.seed"] for trial in trials)


def test_an_option_of_another_method_makes_no_trial() -> None:
    trials, same = plan(config(options={"method": ["lora", "full", "ia3"], "lora.r": [4, 8]}))
    assert [str(trial) for trial in trials] == [
        "method=lora, lora.r=4", "method=lora, lora.r=8", "method=full", "method=ia3",
    ]  # fmt: skip
    assert same == 2
    assert set(METHODS) < set(Config.model_fields) and set(METHODS) < set(
        Config.model_fields["method"].annotation.__args__  # type: ignore[union-attr]
    )


def test_random_is_seeded_and_draws_no_two_alike() -> None:
    tried = {"train.seed": {"low": 1, "high": 6, "int": True}, "method": ["lora", "full"]}
    all_of_them = plan(config(options=tried, strategy="random", trials=12))[0]
    assert len({str(trial) for trial in all_of_them}) == 12
    one, same, other = (plan(config(options=tried, strategy="random", trials=5, seed=s))[0] for s in (1, 1, 2))
    assert one == same != other


@given(
    low=st.integers(1, 10**6),
    width=st.integers(1, 10**6),
    scale=st.sampled_from(["linear", "log"]),
    whole=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_what_is_drawn_lies_in_the_range(low: int, width: int, scale: str, whole: bool, seed: int) -> None:
    tried = Range.model_validate({"low": low, "high": low + width, "scale": scale, "int": whole})
    value = draw(tried, random.Random(seed))
    assert low <= value <= low + width
    assert isinstance(value, int if whole else float)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_draws_are_even_on_their_scale(scale: str) -> None:
    tried = Range.model_validate({"low": 1e-4, "high": 1.0, "scale": scale})
    rng = random.Random(0)
    values = [draw(tried, rng) for _ in range(2000)]
    middle = 1e-2 if scale == "log" else 0.5
    # Four standard deviations of a fair coin.
    assert abs(sum(value < middle for value in values) - 1000) < 4 * math.sqrt(2000) / 2


def test_every_problem_at_once_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    text = refused(
        path,
        "options:\n  train: {learning_rat: [1]}\n  lora: [3]\n  eval.every: [1]\n  output_dir: [a, b]\n"
        "  train.seed: []\n  lora.r: [8, 8]\n",
    )
    for expected in (
        "s.yaml:2: unknown option train.learning_rat (did you mean 'train.learning_rate'?)",
        "s.yaml:3: lora is a section: say which of its options",
        "s.yaml:4: eval.every cannot be tried: trials are compared evaluation by evaluation",
        "s.yaml:5: output_dir cannot be tried",
        "s.yaml:6: train.seed: no values to try",
        "s.yaml:7: lora.r: 8 stands there twice",
    ):
        assert expected in text


def test_every_trials_config_is_checked(tmp_path: Path) -> None:
    run = "run:\n  data: {train: a.jsonl, eval: b.jsonl}\n  eval: {every: epoch}\n"
    path = tmp_path / "s.yaml"
    text = refused(
        path,
        run + "  trian: {}\noptions:\n  train.learning_rate: [1, -1, -2]\n  method: [lora, lore]\n",
        "run.train.seed=x",
    )
    assert "5 problems in the sweep" in text
    assert "s.yaml:4: unknown option trian" in text
    assert "s.yaml:6: train.learning_rate: input should be greater than 0, not -1" in text
    assert "s.yaml:6: train.learning_rate: input should be greater than 0, not -2" in text
    assert "s.yaml:7: method: input should be" in text and "'lore'" in text
    assert "--set run.train.seed=x: train.seed" in text
    text = refused(path, run + "options:\n  method: [lora, full]\n  model.dtype: [float16, float32]\n")
    assert "  method=full, model.dtype=float16: model.dtype: float16" in text and "method=lora" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "nothing is tried"),
        ("options: {train.seed: [1]}", "eval.every: no: nothing would be scored"),
        ("options: {train.seed: 3}", "should be a valid list, not 3"),
        ("options: {train.seed: [1]}\ntrials: 2", "trials is for strategy: random"),
        ("options: {train.seed: {low: 1, high: 2}}", "a grid needs values, not a range (train.seed)"),
        ("strategy: random\noptions: {train.seed: [1]}", "say trials: 20"),
        ("strategy: random\ntrials: 3\noptions: {train.seed: [1, 2]}", "but there are 2 combinations"),
        ("options: {train.seed: {low: 0, high: 2, scale: log}}", "scale: log needs low above 0"),
        ("options: {train.seed: {low: 2, high: 2}}", "low: 2 is not below high: 2"),
        ("options: {train.seed: {low: 1, high: 2.5, int: true}}", "int: true needs whole numbers"),
        ("options: {train.seed: [1], train: {seed: [2]}}", "train.seed stands there twice"),
        ("halving: {first: 2}", "halving.first means nothing without halving.factor"),
        ("halving: {factor: 1}", "should be greater than 1"),
        ("tirals: 3", "unknown option tirals (did you mean 'trials'?)"),
        ("run: nowhere.yaml", "there is no config file nowhere.yaml"),
        (
            "run: {data: {train: a, eval: b}, eval: {every: 9}, train: {max_steps: 3}}\noptions: {train.seed: [1]}",
            "a trial of train.max_steps: 3 ends before",
        ),
        (
            "run: {data: {train: a, split: 2}, eval: {every: 1}}\noptions: {train.seed: [1, 2]}",
            "data.split holds out other rows for each",
        ),
    ],
)
def test_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refused(tmp_path / "s.yaml", text)


def test_a_run_in_a_file_of_its_own(tmp_path: Path) -> None:
    run, path = tmp_path / "run.yaml", tmp_path / "s.yaml"
    run.write_text("output_dir: x\ndata: {train: a, eval: b}\neval: {every: epoch}\ntrain: {seed: y}\n", "utf-8")
    path.write_text(f"run: {run}\noptions: {{train.learning_rate: [1, 2]}}\n", "utf-8")
    assert f"{run}:4: train.seed" in refused(path, path.read_text("utf-8"))
    swept = load_sweep(path, ["run.train.seed=3", "options.train.learning_rate=[5]", "options.lora.r=[2]"])
    (trial,) = plan(swept)[0]
    assert trial.config.train.seed == 3 and trial.options == {"train.learning_rate": 5.0, "lora.r": 2}
    assert plan(SweepConfig(run=str(run), options={"train.seed": [1]}))[0][0].config.eval.every == "epoch"


def test_the_written_sweep_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(commented_config({"run": RUN, "options": {"lora.r": [1]}}, SweepConfig), "utf-8")
    assert load_sweep(path) == config(options={"lora.r": [1]})
    for field in SweepConfig.model_fields:
        assert SweepConfig.model_fields[field].description or field == "halving"


# ------------------------------------------------------------------------------------------------- the leaderboard


def standing(trial: int, *scores: float | None, state: Any = "finished", **more: Any) -> Standing:
    seen = [Score(step, score, 1.0) for step, score in enumerate(scores, 1)]
    return Standing(trial, {"train.seed": trial, "method": "lora"}, "f1", state, seen, **more)


def test_ranked() -> None:
    some = [
        standing(1, 0.2, 0.9),
        standing(2, 0.5, 0.4),
        standing(3, 0.99, state="failed"),
        standing(4),
        standing(5, math.nan, 0.1),
        standing(6, 0.5, state="stopped", rung=1),
    ]
    assert [each.trial for each in ranked(some)] == [1, 2, 6, 5]
    assert [each.trial for each in ranked(some, 1)] == [2, 6, 1, 5]
    losses = [standing(1, 0.2), standing(2, 0.1)]
    for each in losses:
        each.metric = "loss"
    assert [each.trial for each in ranked(losses)] == [2, 1]
    rows = rows_of(some, ["method"])
    assert [(row["rank"], row["trial"]) for row in rows] == [(1, 1), (2, 2), (3, 6), (4, 5), (None, 3), (None, 4)]
    assert rows[0]["step"] == 2 and rows[2]["state"] == "stopped at rung 1"


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=2, max_size=9))
def test_who_goes_on_is_never_behind_who_was_stopped(scores: list[list[float]]) -> None:
    """What the ranking of a halved sweep rests on: a trial's best is never worse than it was at a rung."""
    at_rung = ranked([standing(trial, *each) for trial, each in enumerate(scores)], 1)
    ahead = at_rung[: len(at_rung) // 2 or 1]
    for each in at_rung[len(ahead) :]:
        each.state, each.rung, each.evaluations = "stopped", 1, each.evaluations[:1]
    assert {each.trial for each in ranked(at_rung)[: len(ahead)]} == {each.trial for each in ahead}


def test_a_standing_is_read_as_it_was_written(tmp_path: Path) -> None:
    one = standing(3, 0.5, None, math.inf, state="failed", reason="x")
    one.save(tmp_path / "003.json")
    assert read_standing(tmp_path / "003.json") == one


def test_the_picture_takes_any_options(tmp_path: Path) -> None:
    some = [standing(1, 0.2), standing(2, 0.5, state="stopped", rung=1), standing(3, state="failed")]
    for name, scales in enumerate(
        ({"train.seed": "log"}, {"method": "values"}, {"train.seed": "values", "method": ""})
    ):
        draw_sweep(some, scales, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
