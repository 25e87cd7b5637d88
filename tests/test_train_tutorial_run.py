"""The tutorial's run on real input: 200 rows, batch 12, three epochs, a checkpoint each."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

from rich.console import Console

from yuantune.config import Config
from yuantune.data.convert import convert
from yuantune.data.template import load_template
from yuantune.train.run import fine_tune


def test_fifty_one_steps_three_checkpoints(test_data: Path, tmp_path: Path, yuan_folder: Path) -> None:
    data = tmp_path / "resumener.json"
    template = load_template("resume-ner")
    names = {code: name for name, codes in template.labels.items() for code in codes}
    convert(
        test_data / "data" / "resumener" / "train.char.bmes",
        data,
        names=names,
        template=lambda record: (template.render(record), json.dumps(record.labels, ensure_ascii=False)),
    )
    config = Config.model_validate(
        {
            "output_dir": str(tmp_path / "run"),
            "template": "plain",
            "model": {"name": str(yuan_folder), "device_map": "cpu"},
            "data": {"train": str(data), "limit": 200, "max_length": 1024},
            "train": {"learning_rate": 1e-2, "logging_steps": 1},
        }
    )
    result = fine_tune(config, console=Console(quiet=True))
    assert result.steps == 51
    assert sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*")) == [
        "checkpoint-17", "checkpoint-34", "checkpoint-51",
    ]  # fmt: skip
    lines = (tmp_path / "run" / "log.jsonl").read_text("utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert len(losses) == 51
    assert mean(losses[-10:]) < mean(losses[:10])  # how far a wider model gets: docs/tutorial-run.md
