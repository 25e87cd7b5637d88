"""Whole runs over an int8 base: they learn what PEFT does over the numbers that it stands for, go on bit for bit,
answer with the base of the training, and merge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file
from typer.testing import CliRunner

import yuantune
from tests.test_methods_runs import config, digests, plainly, stop_and_resume
from yuantune.cli import app
from yuantune.config import Config
from yuantune.errors import ConfigError, ModelError, RunError
from yuantune.methods.lean import make_lean
from yuantune.models.load import load_model, load_tokenizer
from yuantune.models.stored import stored, widen
from yuantune.train.run import fine_tune

QUIET = Console(quiet=True)
LORA: dict[str, Any] = {"method": "lora", "lora": {"r": 2, "lora_dropout": 0.1}}


def over(
    model: Path, rows: Path, out: Path, method: dict[str, Any], *, dtype: str = "float32", data: Any = None,
    products: str = "auto", quantization: str = "int8", **train: Any,
) -> Config:  # fmt: skip
    """A run over an int8 base."""
    tree = config(model, rows, out, "ia3", **train).model_dump() | method
    tree["model"] |= {"quantization": quantization, "int8_products": products, "dtype": dtype}
    tree["data"] |= data or {}
    return Config.model_validate(tree)


def log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("kind", ["yuan", "llama"])
def test_prefix_groups_learn_what_padded_peft_does_over_the_same_numbers(
    kind: str, tmp_path: Path, rows_file: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = request.getfixturevalue(f"{kind}_folder")
    plain = load_model(base, device_map="cpu", dtype="float64", quantization="int8")
    assert widen(plain, torch.float64) == 14
    plain.save_pretrained(tmp_path / "plain")
    load_tokenizer(base).save_pretrained(tmp_path / "plain")
    made = []
    monkeypatch.setattr(
        "yuantune.methods.lora.make_lean", lambda model: made.append(stored(model)) or make_lean(model)
    )
    method = {"method": "lora", "lora": {"r": 2, "lora_dropout": 0.0}}
    ours = over(base, rows_file, tmp_path / "ours", method, dtype="float64", data={"shared_prefixes": "on"},
                gradient_checkpointing=kind == "yuan", max_steps=2, save_strategy="no")  # fmt: skip
    fine_tune(ours, console=QUIET)
    assert len(made[0]) == 14
    monkeypatch.setattr("yuantune.methods.lora.make_lean", lambda model: 0)
    theirs = over(tmp_path / "plain", rows_file, tmp_path / "theirs", method, dtype="float64",
                  data={"shared_prefixes": "off"}, quantization="none", max_steps=2,
                  save_strategy="no")  # fmt: skip
    fine_tune(theirs, console=QUIET)
    for one, other in zip(log(tmp_path / "ours"), log(tmp_path / "theirs"), strict=True):
        for figure in {"loss", "grad_norm"} & other.keys():
            assert one[figure] == pytest.approx(other[figure], rel=1e-5)
    mine, peft = (load_file(tmp_path / run / "adapter/adapter_model.safetensors") for run in ("ours", "theirs"))
    for name, weight in peft.items():
        # Over int8 an adapter is float32, over a float64 base PEFT's is float64.
        torch.testing.assert_close(mine[name].double(), weight, rtol=1e-3, atol=1e-6)


METHODS: dict[str, dict[str, Any]] = {
    "lora": LORA,
    "houlsby": {"method": "bottleneck", "bottleneck": {"kind": "houlsby", "reduction_factor": 4}},
    "ia3": {"method": "ia3"},
    "prefix": {"method": "prefix_tuning", "prefix_tuning": {"num_virtual_tokens": 4}},
}


@pytest.mark.parametrize(
    ("kind", "name", "products"),
    [
        ("yuan", "lora", "dequantize"),
        ("llama", "lora", "integer"),
        ("yuan", "houlsby", "integer"),
        ("yuan", "ia3", "dequantize"),
        ("llama", "prefix", "dequantize"),
    ],
)
def test_a_run_goes_on_bit_for_bit_and_answers_with_its_base(
    kind: str, name: str, products: str, tmp_path: Path, rows_file: Path, request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    model = request.getfixturevalue(f"{kind}_folder")
    whole, cut = (
        over(model, rows_file, tmp_path / run, METHODS[name], products=products) for run in ("whole", "cut")
    )
    result = fine_tune(whole, console=QUIET)
    assert result.last_loss < result.first_loss and 0 < result.trainable < result.parameters
    stop_and_resume(cut, monkeypatch)
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole") != {}
    assert log(tmp_path / "cut") == log(tmp_path / "whole")

    for folder in (tmp_path / "whole", tmp_path / "whole" / "checkpoint-4"):
        extractor = yuantune.load(folder)
        layers = stored(extractor.model)
        assert len(layers) == 14 and all(layer.integer == (products == "integer") for layer in layers.values())
        # With the prompt's keys and values taken from the cache, and without.
        extractor.constrain = False
        texts = ["张三,汉族,金融学硕士。", "李四"]
        answers = [each.raw for each in extractor.predict(yuantune.infer.extractor._as_records(texts))]
        assert answers == [plainly(extractor, text) for text in texts]


def test_a_resume_over_another_base_is_refused(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    fine_tune(over(yuan_folder, rows_file, tmp_path / "run", LORA), console=QUIET)
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text("utf-8"))["model"]["quantization"] == "int8"
    other = over(yuan_folder, rows_file, tmp_path / "run", LORA, quantization="none", max_steps=6)
    with pytest.raises(RunError, match=r"model\.quantization"):
        fine_tune(other, resume=True, console=QUIET)


@pytest.mark.parametrize(("kind", "name"), [("yuan", "lora"), ("llama", "ia3")])
def test_a_merge_is_of_the_numbers_that_were_trained_over(
    kind: str, name: str, tmp_path: Path, rows_file: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(f"{kind}_folder")
    run = tmp_path / "run"
    fine_tune(over(model, rows_file, run, METHODS[name], learning_rate=3e-2), console=QUIET)
    output = tmp_path / "plain"
    command = ["export", str(run), "--merge", "--output", str(output), "--dtype", "float32"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output + str(result.exception)
    report = json.loads((output / "merge.json").read_text("utf-8"))
    assert report["quantization"] == "int8" and "int8" in result.output
    assert report["merged"]["relative"] < 1e-5 and report["written"]["relative"] < 1e-5
    assert report["integer"] is None
    # What an adapter was trained over is what it is merged into: rounded weights, the rest as it was.
    whole, merged = load_model(model, device_map="cpu", dtype="float32"), load_model(output, dtype="float32")
    assert torch.equal(whole.get_input_embeddings().weight, merged.get_input_embeddings().weight)
    card = json.loads((output / "yuantune.json").read_text("utf-8"))
    assert card["model"]["quantization"] == "none"
    assert not stored(yuantune.load(output).model)
    assert yuantune.load(output).generate("张三") == yuantune.load(run).generate("张三")


def test_a_merge_says_what_integer_products_are_off_by(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    run = tmp_path / "run"
    fine_tune(over(yuan_folder, rows_file, run, LORA, products="integer", max_steps=1), console=QUIET)
    result = CliRunner().invoke(app, ["export", str(run), "--merge", "--rows", "2"])
    assert result.exit_code == 0, result.output + str(result.exception)
    report = json.loads((tmp_path / "run-merged" / "merge.json").read_text("utf-8"))
    assert report["merged"]["relative"] < 1e-5 < 1e-3 < report["integer"]["relative"] < 0.1
    assert "by integer products" in result.output


def test_nf4_is_not_merged(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    run = tmp_path / "run"
    fine_tune(over(yuan_folder, rows_file, run, LORA, max_steps=1), console=QUIET)
    card = json.loads((run / "yuantune.json").read_text("utf-8"))
    card["model"]["quantization"] = "nf4"
    (run / "yuantune.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(RunError, match="NF4 base, which is not merged"):
        raise CliRunner().invoke(app, ["export", str(run), "--merge"]).exception  # type: ignore[misc]


@pytest.mark.parametrize("method", [LORA, METHODS["ia3"]])
def test_peft_cannot_lose_a_merge_in_int8(
    method: dict[str, Any], tmp_path: Path, yuan_folder: Path, rows_file: Path
) -> None:
    """Adding an update to whole numbers would throw it away."""
    fine_tune(over(yuan_folder, rows_file, tmp_path / "run", method, max_steps=1), console=QUIET)
    model = yuantune.load(tmp_path / "run").model
    for how in ({}, {"safe_merge": True}):
        with pytest.raises(ModelError, match="would be rounded away"):
            model.merge_adapter(**how)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"method": "full"}, r"int8 freezes the base, which has weights that are trained themselves"),
        ({"method": "freeze"}, "which has weights that are trained themselves"),
        ({"method": "bitfit"}, "which has weights that are trained themselves"),
        ({"lora": {"init_lora_weights": "pissa"}}, "which has weights that an update is taken out of"),
        ({"lora": {"init_lora_weights": "olora"}}, "which has weights that an update is taken out of"),
        ({"lora": {"use_dora": True}}, r"lora\.use_dora reads the weights' rows"),
    ],
)
def test_what_would_train_the_base_is_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Config.model_validate({**options, "model": {"quantization": "int8"}})
    Config.model_validate(options)


def test_nf4_goes_with_peft() -> None:
    nf4 = {"model": {"quantization": "nf4"}}
    Config.model_validate(nf4 | {"lora": {"use_dora": True}})
    with pytest.raises(ValueError, match="method: bottleneck goes with int8"):
        Config.model_validate(nf4 | {"method": "bottleneck"})


def test_modules_beside_the_update(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    """Norms are numbers still; a layer is not."""
    method = {"method": "lora", "lora": {"r": 2, "modules_to_save": ["norm"]}}
    fine_tune(over(yuan_folder, rows_file, tmp_path / "run", method, max_steps=1), console=QUIET)
    method["lora"]["modules_to_save"] = ["norm", "mlp"]  # type: ignore[index]
    method["lora"]["target_modules"] = ["q_proj"]  # type: ignore[index]
    with pytest.raises(ConfigError, match="cannot be trained beside") as caught:
        fine_tune(over(yuan_folder, rows_file, tmp_path / "other", method), console=QUIET)
    assert [problem.where for problem in caught.value.problems] == ["mlp"] and "int8" in str(caught.value)
    assert not (tmp_path / "other").exists()
