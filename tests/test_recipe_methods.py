"""The table of methods: its runs are valid, alike but for the method, and not done twice."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recipes.yuan2_mini import methods as stage

from yuantune.config import Config
from yuantune.config_file import build_as
from yuantune.data.readers import read
from yuantune.data.record import Record, Source, row_of
from yuantune.data.template import load_template
from yuantune.data.writing import write_rows
from yuantune.errors import ConfigError, WorkFailed
from yuantune.sweep_config import SweepConfig

FILES = {"train": "train.jsonl", "eval": "dev.jsonl"}
RESULT = {
    "trainable": 10, "parameters": 1000, "bytes": 2_000_000, "seconds_per_step": 0.5, "peak_bytes": 2**30,
    "f1": 0.8, "interval": [0.7, 0.9], "valid": 1.0,
}  # fmt: skip


def test_every_run_is_a_config_and_differs_by_its_method_alone() -> None:
    study = stage.study()
    configs = {
        method.name: build_as(Config, stage.config_of(study, method, method.rates[0], 1, FILES, {}))
        for method in study.methods
    }
    assert len(configs) == len(study.methods) >= 17
    assert {config.method for config in configs.values()} == set(Config.model_fields["method"].annotation.__args__)
    fields = {"learning_rate", "seed"}
    assert len({config.train.model_dump_json(exclude=fields) for config in configs.values()}) == 1
    assert len({len(method.rates) for method in study.methods}) == 1
    assert {config.train.seed for config in configs.values()} == {1}


def test_an_unknown_method() -> None:
    with pytest.raises(ConfigError, match="no method lara"):
        stage.study(["lara"])


@pytest.fixture
def resumener(tmp_path: Path) -> Path:
    codes = load_template("resume-ner").label_schema.codes
    for name in ("train", "dev"):
        rows = [f"王 B-{code}\n{chr(0x4E00 + n)} E-{code}\n" for code in codes for n in range(3)]
        (tmp_path / f"{name}.char.bmes").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path


def test_what_is_done_is_not_done_again(resumener: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[dict[str, Any]] = []

    def run(module: str, job: str) -> dict[str, Any]:
        ran.append(json.loads(job))
        Path(ran[-1]["folder"]).mkdir(parents=True)
        return {"error": "it is late"} if len(ran) == 3 else RESULT

    monkeypatch.setattr(stage, "in_process", run)
    monkeypatch.setattr(stage, "chosen_rate", lambda *args: 0.5)
    study = stage.study(["lora", "ia3"])
    with pytest.raises(WorkFailed, match="seed 2: it is late"):
        stage.measure(study, resumener, tmp_path / "work", lambda text: None, rows=["few", "whole"])
    Path(ran[-1]["folder"]).rmdir()
    results = stage.measure(study, resumener, tmp_path / "work", lambda text: None, rows=["few", "whole"])
    assert len(ran) == 1 + 7  # Three seeds each, and LoRA on the whole split; one failed at first.
    assert [(each["name"], each["rows"], each["seed"]) for each in results] == [
        ("lora", "few", 0), ("lora", "few", 1), ("lora", "few", 2),
        ("ia3", "few", 0), ("ia3", "few", 1), ("ia3", "few", 2), ("lora", "whole", 0),
    ]  # fmt: skip
    limits = [build_as(Config, job["config"]).data.limit for job in ran]
    assert limits == [200] * 7 + [None]
    assert all(job["config"]["train"]["learning_rate"] == 0.5 for job in ran)


def test_rows_under_names_that_say_nothing(
    resumener: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[dict[str, Any]] = []
    swept: list[SweepConfig] = []
    monkeypatch.setattr(stage, "in_process", lambda module, job: jobs.append(json.loads(job)) or _made(jobs[-1]))

    def sweep(config: SweepConfig, *, resume: bool) -> Any:
        swept.append(config)
        return SimpleNamespace(standings=[SimpleNamespace(options={"train.learning_rate": 0.25})])

    monkeypatch.setattr("yuantune.study.sweep.sweep", sweep)
    study = stage.study(["lora"])
    results = stage.measure(study, resumener, tmp_path / "work", lambda text: None, rows=["new"])
    assert [(each["rows"], each["seed"]) for each in results] == [("new", seed) for seed in study.new["seeds"]]
    (config_swept,) = swept
    assert config_swept.options == {
        "train.learning_rate": pytest.approx([3 * rate for rate in study.methods[0].rates])
    }
    assert config_swept.run["eval"]["every"] == 51 and Path(config_swept.output_dir).parent.name == "rates-new"
    assert {each["rate"] for each in results} == {0.25}
    config = build_as(Config, jobs[0]["config"])
    assert (config.template, config.data.limit) == ("extract", 200)
    labels = {name for each in read(config.data.eval[0].path) for name in each.labels or {}}
    assert labels == set(study.new["names"].values())
    with pytest.raises(ConfigError, match="no rows old"):
        stage.measure(study, resumener, tmp_path / "work", lambda text: None, rows=["old"])


def _made(job: dict[str, Any]) -> dict[str, Any]:
    Path(job["folder"]).mkdir(parents=True)
    return RESULT


def test_the_table_shows_the_median_seed() -> None:
    def result(what: str, f1: float, rows: str = "few") -> dict[str, Any]:
        return {"name": what, "what": what, "rows": rows, "seed": 0, "rate": 1e-3, **RESULT, "f1": f1}

    results = [result("a", 0.7), result("a", 0.9), result("a", 0.6), result("b", 0.8), result("b", 0.85, "whole")]
    few, whole = stage.table(results, "few"), stage.table(results, "whole")
    assert [(line["method"], line["F1"], line["seeds"]) for line in few] == [
        ("b", "80.0", "80.0"), ("a", "70.0", "60.0 / 70.0 / 90.0"),
    ]  # fmt: skip
    assert [line["method"] for line in whole] == ["b"]
    assert few[0]["share"] == "1.00 %" and few[0]["on the disk"] == "2.00 MB"
    assert stage.markdown(whole).count("\n") == 2


def test_one_run_from_data_to_f1(tmp_path: Path) -> None:
    records = [
        Record(
            source=Source("text", n), text=f"王{chr(0x4E00 + n)},汉族", labels={"姓名": [f"王{chr(0x4E00 + n)}"]}
        )
        for n in range(4)
    ]
    for name in FILES.values():
        write_rows(tmp_path / name, map(row_of, records))
    study = stage.study(["ia3"])
    (method,) = study.methods
    files = {part: str(tmp_path / name) for part, name in FILES.items()}
    tree = stage.config_of(study, method, 0.01, 0, files, {"train": {"max_steps": 2}})
    found = stage.train_and_score({"folder": str(tmp_path / "run"), "config": tree})
    assert found.keys() == RESULT.keys()
    assert 0 < found["trainable"] < found["parameters"] and found["bytes"] > 4 * found["trainable"]
    assert found["seconds_per_step"] > 0 and 0 <= found["interval"][0] <= found["f1"] <= found["interval"][1] <= 1
