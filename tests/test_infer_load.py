"""A loaded run answers with its adapter in the base's weights, where that is the same model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor

import yuantune
from tests import test_infer_adapters
from yuantune.errors import RunError
from yuantune.infer.extractor import Extractor

IDS = torch.tensor([[5, 9, 3, 12, 7, 7, 30, 2, 11]])
HEAD = {"method": "lora", "lora": {"r": 2, "target_modules": ["lm_head", "q_proj"]}}


def logits(extractor: Extractor) -> Tensor:
    with torch.no_grad():
        found: Tensor = extractor.model(input_ids=IDS).logits
    return found


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path, yuan_folder: Path, rows_file: Path) -> Path:
    test_infer_adapters.write_run(yuan_folder, rows_file, tmp_path / "run", getattr(request, "param", "lora"))
    return tmp_path / "run"


@pytest.mark.parametrize("run", ["lora", "lora-dora", "ia3", "freeze"], indirect=True)
def test_merged_and_beside_are_the_same(run: Path) -> None:
    beside, merged = yuantune.load(run, merge=False), yuantune.load(run)
    torch.testing.assert_close(logits(merged), logits(beside), rtol=1e-3, atol=1e-4)
    assert not isinstance(merged.model, PeftModel)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
def test_a_trained_head_that_is_the_embedding_stays_beside_it(
    tmp_path: Path, yuan_folder: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(test_infer_adapters.RUNS, "head", HEAD)
    test_infer_adapters.write_run(yuan_folder, rows_file, tmp_path / "run", "head")
    beside, merged = yuantune.load(tmp_path / "run", merge=False), yuantune.load(tmp_path / "run")
    base = beside.model.get_base_model()
    assert base.lm_head.base_layer.weight is base.get_input_embeddings().weight
    torch.testing.assert_close(logits(merged), logits(beside))


def test_an_update_that_is_no_number(run: Path) -> None:
    file = run / "adapter" / "adapter_model.safetensors"
    state = load_file(file)
    state[sorted(state)[0]].fill_(torch.nan)
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(RunError, match="are no weights"):
        yuantune.load(run)
