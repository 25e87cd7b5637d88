"""Whole runs by every method: they learn, go on bit for bit, load in one call, and answer as plain generation
does."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

import yuantune
from yuantune.config import Config
from yuantune.errors import ConfigError, Interrupted
from yuantune.infer.extractor import Extractor
from yuantune.models.virtual import virtual_tokens
from yuantune.train.run import fine_tune, run_prepared

QUIET = Console(quiet=True)
METHODS: dict[str, dict[str, Any]] = {
    "lora-dora": {"method": "lora", "lora": {"r": 2, "use_dora": True, "layers_to_transform": [-1]}},
    "lora-pissa": {"method": "lora", "lora": {"r": 2, "init_lora_weights": "pissa", "lora_dropout": 0.0}},
    "lora-eva": {"method": "lora", "lora": {"r": 2, "init_lora_weights": "eva"}},
    "lora-plus": {"method": "lora", "lora": {"r": 2, "loraplus_lr_ratio": 4.0, "modules_to_save": ["norm"]}},
    "houlsby": {"method": "bottleneck", "bottleneck": {"kind": "houlsby", "reduction_factor": 4, "dropout": 0.1}},
    "parallel": {"method": "bottleneck", "bottleneck": {"kind": "parallel", "scaling": 4.0, "layers": ["0-1"]}},
    "ia3": {"method": "ia3"},
    "bitfit": {"method": "bitfit"},
    "freeze": {"method": "freeze", "freeze": {"trained_layers": 1}},
    "prompt": {"method": "prompt_tuning", "prompt_tuning": {"num_virtual_tokens": 4}},
    "prefix": {"method": "prefix_tuning", "prefix_tuning": {"num_virtual_tokens": 4, "prefix_projection": True}},
    "p": {"method": "p_tuning", "p_tuning": {"num_virtual_tokens": 4}},
}


def config(model: Path, data: Path, out: Path, name: str, **train: Any) -> Config:
    options = {
        "output_dir": str(out),
        "template": "resume-ner",
        "model": {"name": str(model), "device_map": "cpu", "dtype": "float32"},
        "data": {"train": str(data), "max_length": 2048},
        "train": {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, "max_steps": 4,
                  "save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-2, **train},
        "generate": {"max_new_tokens": 8},
        **METHODS[name],
    }  # fmt: skip
    return Config.model_validate(options)


def digests(run: Path) -> dict[str, str]:
    """Of everything that was trained."""
    found = {}
    for place in ("adapter", "checkpoint-4"):
        for path in sorted((run / place).glob("*.safetensors")):
            found[f"{place}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def stop_and_resume(told: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a run of four steps that is stopped behind the second one and taken up again."""
    compute = yuantune.train.step.SupervisedTrainer.training_step  # type: ignore[attr-defined]

    def interrupted(self: Any, *inputs: Any) -> torch.Tensor:
        if self.state.global_step == 1:
            signal.raise_signal(signal.SIGTERM)
        return compute(self, *inputs)

    with monkeypatch.context() as patch:
        patch.setattr("yuantune.train.step.SupervisedTrainer.training_step", interrupted)
        with pytest.raises(Interrupted, match="after step 2 of 4"):
            fine_tune(told, console=QUIET)
    fine_tune(told, resume=True, console=QUIET)


@pytest.mark.parametrize(
    ("kind", "name"),
    # Llama has no biases.
    [(kind, name) for name in METHODS for kind in ("yuan", "llama") if (kind, name) != ("llama", "bitfit")],
)
def test_a_run(
    kind: str, name: str, tmp_path: Path, rows_file: Path, request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    model = request.getfixturevalue(f"{kind}_folder")
    result = fine_tune(config(model, rows_file, tmp_path / "whole", name), console=QUIET)
    assert result.last_loss < result.first_loss and 0 < result.trainable < result.parameters

    # Stopped and taken up again, it ends where the whole run ended.
    stop_and_resume(config(model, rows_file, tmp_path / "cut", name), monkeypatch)
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole") != {}
    assert (tmp_path / "cut" / "log.jsonl").read_bytes() == (tmp_path / "whole" / "log.jsonl").read_bytes()

    # The result and each checkpoint load in one call; the engine answers as plain generation does.
    extractor = yuantune.load(tmp_path / "whole")
    texts = ["张三,汉族,金融学硕士。", "李四"]
    for constrain in (False, True):
        extractor.constrain = constrain
        answers = [extractor.generate(text) for text in texts]
        assert answers == [plainly(extractor, text) for text in texts]
    again = yuantune.load(tmp_path / "whole" / "checkpoint-4")
    again.constrain = False
    assert [again.generate(text) for text in texts] == [plainly(again, text) for text in texts]


@pytest.mark.parametrize("name", ["prompt", "prefix"])
def test_virtual_tokens_before_padded_rows(name: str, tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    """Where prompts are not shared, losses are the same; scores while training, and the best checkpoint, too."""
    lines = {}
    for how in ("on", "off"):
        options = config(yuan_folder, rows_file, tmp_path / how, name).model_dump()
        options["model"]["dtype"] = "float64"
        options["data"] |= {"split": 2, "shared_prefixes": how}
        options["eval"] |= {"every": 2, "rows": 2}
        options["train"]["gradient_checkpointing"] = how == "on"
        fine_tune(Config.model_validate(options), console=QUIET)
        lines[how] = [json.loads(line) for line in (tmp_path / how / "log.jsonl").read_text("utf-8").splitlines()]
    assert len(lines["on"]) == len(lines["off"]) > 4 and any("eval_f1" in line for line in lines["on"])
    for ours, theirs in zip(lines["on"], lines["off"], strict=True):
        for figure in {"loss", "eval_loss", "grad_norm", "eval_f1"} & theirs.keys():
            assert ours[figure] == pytest.approx(theirs[figure], rel=1e-5)


def test_scores_before_training_are_the_bases(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    """Virtual tokens that have learnt nothing would change its answers."""
    options = config(yuan_folder, rows_file, tmp_path / "run", "prompt", max_steps=1)
    seen = []
    run_prepared(options, console=QUIET, before=lambda model, data: seen.append(model))
    assert virtual_tokens(seen[0]) == 0 and virtual_tokens(yuantune.load(tmp_path / "run").model) == 4


def test_a_prefix_that_checkpointing_would_drop_is_refused(
    tmp_path: Path, yuan_folder: Path, rows_file: Path
) -> None:
    options = config(yuan_folder, rows_file, tmp_path / "run", "prefix", gradient_checkpointing=True).model_dump()
    options["data"]["shared_prefixes"] = "off"
    with pytest.raises(ConfigError, match=r"train\.gradient_checkpointing: true: it drops the prefix"):
        fine_tune(Config.model_validate(options), console=QUIET)
    assert not (tmp_path / "run").exists()


def plainly(extractor: Extractor, text: str) -> str:
    """Answered by `generate`, without the engine."""
    extractor.slots = False
    try:
        return extractor.generate(text)
    finally:
        extractor.slots = True


def test_b_learns_faster_by_the_ratio(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    """One step of plain gradient descent moves B by as many times; A, whose gradient is 0 while B is, stays."""
    moved = {}
    for name, ratio in (("plain", None), ("plus", 16.0)):
        options = config(
            yuan_folder, rows_file, tmp_path / name, "lora-plus", max_steps=1, optim="sgd", max_grad_norm=0
        ).model_dump()
        options["lora"] |= {"loraplus_lr_ratio": ratio, "lora_dropout": 0.0, "modules_to_save": None}
        fine_tune(Config.model_validate(options), console=QUIET)
        moved[name] = load_file(str(tmp_path / name / "adapter" / "adapter_model.safetensors"))
    for weight, by in moved["plus"].items():
        expected = (16.0 if "lora_B" in weight else 1.0) * moved["plain"][weight]
        torch.testing.assert_close(by, expected, rtol=1e-5, atol=1e-9)
    assert any(bool(by.any()) for weight, by in moved["plus"].items() if "lora_B" in weight)


@pytest.mark.parametrize(
    ("options", "resolved"),
    [
        ({}, "auto"),
        ({"lora": {"init_lora_weights": "olora"}}, "float32"),
        ({"lora": {"modules_to_save": ["norm"]}}, "float32"),
        ({"method": "full"}, "float32"),
    ],
)
def test_weights_that_training_changes_are_wide(options: dict[str, Any], resolved: str) -> None:
    from yuantune.train.run import weights_dtype

    assert weights_dtype(Config.model_validate(options)) == resolved
    if resolved == "float32":
        with pytest.raises(ValueError, match=r"model\.dtype: float16"):
            Config.model_validate({**options, "model": {"dtype": "float16"}})
