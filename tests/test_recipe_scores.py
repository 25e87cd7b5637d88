"""The recipe's scoring stage: which rows it chooses on, what a setting runs, what the table says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipes.yuan2_mini import __main__ as commands
from recipes.yuan2_mini import scores
from typer.testing import CliRunner

from yuantune.config import Config
from yuantune.config_file import build_as
from yuantune.data.readers import read
from yuantune.data.record import Record, Source
from yuantune.errors import ConfigError


def records(texts: list[str]) -> list[Record]:
    return [Record(source=Source("row", number), text=text) for number, text in enumerate(texts, 1)]


def result(name: str, seed: int, f1: float, before: float | None = None) -> dict[str, object]:
    return {
        "name": name,
        "seed": seed,
        "before": None if before is None else {"f1": before},
        "after": {"f1": f1},
        "seconds": 10 * seed,
    }


def test_every_setting_is_a_config_of_the_product() -> None:
    rows = scores.settings()
    assert [row.name for row in rows] == ["resumener-200-lora", "resumener-lora", "resumener-full", "sample-lora"]
    for row in rows:
        config = build_as(Config, row.config)
        assert config.template == "resume-ner"
        assert config.method == ("full" if row.name.endswith("full") else "lora")
        assert config.data.limit == (200 if "200" in row.name else None)
    assert {row.name: len(row.seeds) for row in rows} == {
        "resumener-200-lora": 3,
        "resumener-lora": 1,
        "resumener-full": 1,
        "sample-lora": 3,
    }


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(ConfigError, match="no setting other"):
        scores.settings(["other", "sample-lora"])


@given(
    st.lists(st.text("甲乙丙", min_size=1, max_size=4), min_size=30, max_size=80).filter(lambda x: len(set(x)) > 1)
)
def test_a_text_that_is_chosen_on_is_not_trained_on(texts: list[str]) -> None:
    train, tenth = scores.chosen_on(records(texts))
    found = [record.text for record in (*train, *tenth)]
    assert sorted(found) == sorted(set(texts))
    assert len(tenth) == max(1, round(len(set(texts)) / 10))
    assert scores.chosen_on(records(texts)) == (train, tenth)


def test_choosing_looks_at_train_rows_only(tmp_path: Path) -> None:
    train, test = scores.data_files("sample", None, tmp_path, choose=False)
    most, tenth = scores.data_files("sample", None, tmp_path, choose=True)
    texts = {path: {record.text for record in read(path)} for path in (train, test, most, tenth)}
    assert texts[most] | texts[tenth] == texts[train]
    assert not texts[most] & texts[tenth] and not texts[test] & texts[train]


def test_resumener_has_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ResumeNER is needed"):
        scores.data_files("resumener", None, tmp_path, choose=False)


def test_the_table_has_medians_and_extremes() -> None:
    rows = scores.table([result("a", 1, 0.5, 0.1), result("a", 2, 0.75), result("a", 3, 0.7), result("b", 4, 0.9)])
    assert rows == [
        {"name": "a", "seeds": [1, 2, 3], "before": 10, "after": 70, "least": 50, "greatest": 75, "seconds": 20},
        {"name": "b", "seeds": [4], "before": None, "after": 90, "least": 90, "greatest": 90, "seconds": 40},
    ]


SHORT = ["train.max_steps=1", "data.limit=2", "generate.max_new_tokens=2", "lora.r=1"]


def test_a_trial_is_kept_and_compares_what_training_gives(tmp_path: Path) -> None:
    words = ["scores", "--to", str(tmp_path), "--only", "sample-lora", "--trial", "short"]
    for option in SHORT:
        words += ["--set", option]
    done = CliRunner().invoke(commands.app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    kept = sorted((tmp_path / "scores" / "short").glob("sample-lora-*/result.json"))
    assert len(kept) == 3
    first = json.loads(kept[0].read_text(encoding="utf-8"))
    assert first["before"] is None and first["after"]["rows"] == 80
    again = CliRunner().invoke(commands.app, words, catch_exceptions=False)
    assert again.stdout == done.stdout


def test_a_setting_is_scored_before_and_after(tmp_path: Path) -> None:
    (setting,) = scores.settings(["sample-lora"])
    files = scores.data_files("sample", None, tmp_path, choose=False)
    done = scores.run_setting(setting, 0, files, tmp_path / "run", model="yuan2-mini", more=SHORT)
    assert done["before"]["f1"] >= 0 and done["after"]["rows"] == done["before"]["rows"] == 80


def test_a_change_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--trial"):
        CliRunner().invoke(
            commands.app, ["scores", "--to", str(tmp_path), "--set", "lora.r=1"], catch_exceptions=False
        )
