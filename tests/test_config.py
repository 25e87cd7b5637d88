"""Options: read, overridden, documented, and refused with the place and the nearest known name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from yuantune.config import Config, TrainSection
from yuantune.config_file import commented_config, load_config, option_names
from yuantune.errors import ConfigError


def test_commented_config_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(commented_config(), encoding="utf-8")
    assert load_config(path) == Config()
    text = path.read_text(encoding="utf-8")
    for name in option_names():
        assert f"{name.rsplit('.', 1)[-1]}:" in text


def test_every_option_is_described() -> None:
    def undescribed(section: type, prefix: str = "") -> list[str]:
        missing = []
        for name, field in section.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and hasattr(inner, "model_fields"):
                missing += undescribed(inner, f"{prefix}{name}.")
            elif not field.description:
                missing.append(prefix + name)
        return missing

    assert undescribed(Config) == []


def test_training_options_are_those_of_transformers() -> None:
    from transformers import TrainingArguments

    known = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert set(TrainSection.model_fields) - {"on_nonfinite", "muon_learning_rate", "muon_momentum"} <= known


def test_lora_options_are_those_of_peft() -> None:
    from peft import LoraConfig

    from yuantune.method_config import LoraSection

    assert set(LoraSection().dump()) <= {field.name for field in dataclasses.fields(LoraConfig)}


def test_settings_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("train:\n  learning_rate: 5e-5\n  seed: 1\ndata:\n  train: a.jsonl\n", encoding="utf-8")
    config = load_config(path, ["train.learning_rate=1e-4", "data.train=[b.jsonl, {path: c.jsonl, weight: 2}]"])
    assert config.train.learning_rate == 1e-4
    assert config.train.seed == 1
    assert [(d.path, d.weight) for d in config.data.train] == [("b.jsonl", 1.0), ("c.jsonl", 2.0)]
    assert Config.model_validate(yaml.safe_load(config.dump())) == config


def test_all_problems_at_once_with_lines_and_nearest_names(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("model:\n  nam: x\ntrain:\n  learning_rate: fast\nlora:\n  rank: 8\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["train.num_epochs=3"])
    text = str(caught.value)
    assert f"{path}:2: unknown option model.nam (did you mean 'model.name'?)" in text
    assert f"{path}:4: train.learning_rate" in text
    assert "'fast'" in text
    assert f"{path}:6: unknown option lora.rank" in text
    assert (
        "--set train.num_epochs=3: unknown option train.num_epochs (did you mean 'train.num_train_epochs'?)" in text
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: [1\n", "not valid YAML"),
        (b"- 1\n", "holds a list"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"a: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
        (b"output_dir: 2024-13-01\n", "put it in quotes"),
    ],
)
def test_broken_files(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=expected):
        load_config(path)


def test_missing_file_names_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="yuantune init"):
        load_config(tmp_path / "none.yaml")


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("# nothing\n", encoding="utf-8")
    assert load_config(path) == Config()


def test_an_empty_section_is_its_defaults(tmp_path: Path) -> None:
    """All its options commented out."""
    path = tmp_path / "c.yaml"
    path.write_text("train:\n  # seed: 1\nlora:\n", encoding="utf-8")
    assert load_config(path) == Config()
    assert load_config(path, ["train.seed=3"]).train.seed == 3
    assert load_config(None, ["output_dir=2024-13-01"]).output_dir == "2024-13-01"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["data.split=1.5"], "data.split is a share below 1 or a whole number of rows"),
        (["train.num_train_epochs=.inf"], "finite number"),
        (["train.learning_rate=.nan"], "train.learning_rate: input should be"),
        (["train.max_steps=0"], "train.max_steps is -1 .* or at least 1, not 0"),
        (["train.max_steps=-2"], "at least 1, not -2"),
        (["train.seed=-1"], "train.seed: input should be greater"),
        (["train.seed=4294967296"], "train.seed: input should be less"),
        (["method=full", "model.dtype=float16"], "float32"),
        (["method=full", "model.dtype=bfloat16", "train.fp16=true"], "float32"),
        (["output_dir=null"], "output_dir: input should be a valid string"),
    ],
)
def test_values_that_cannot_work(settings: list[str], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        load_config(None, settings)


def test_a_strategy_of_no_needs_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("train: {save_strategy: no, eval_strategy: steps}\n", encoding="utf-8")
    config = load_config(path, ["train.eval_strategy=no"])
    assert (config.train.save_strategy, config.train.eval_strategy) == ("no", "no")
    path.write_text(config.dump(), encoding="utf-8")
    assert load_config(path) == config
    with pytest.raises(ConfigError, match="save_strategy"):
        load_config(None, ["train.save_strategy=yes"])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lr", "train.learning_rate"),
        ("train.lr", "train.learning_rate"),
        ("epochs", "train.num_train_epochs"),
        ("train.batch_size", "train.per_device_train_batch_size"),
        ("lora.rank", "lora.r"),
        ("lora.alpha", "lora.lora_alpha"),
        ("data.max_len", "data.max_length"),
    ],
)
def test_other_tools_names_for_an_option(name: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"{name}=1"])
    assert f"unknown option {name} (did you mean '{meant}'?)" in str(caught.value)


@pytest.mark.parametrize("setting", ["train.seed", "=1", "train.=1", "template.x.y=1 ]["])
def test_malformed_settings(setting: str) -> None:
    if setting.startswith("template"):
        assert load_config(None, [setting]).template == {"x": {"y": "1 ]["}}
    else:
        with pytest.raises(ConfigError, match="--set"):
            load_config(None, [setting])


def test_both_autocasts_are_refused() -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        load_config(None, ["train.bf16=true", "train.fp16=true"])
