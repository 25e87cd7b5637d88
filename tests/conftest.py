"""Fixtures that several test files share."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import settings

# A shared machine is slow at times, and no test asserts time.
settings.register_profile("yuantune", deadline=None)
# `make fuzz`.
settings.register_profile("fuzz", deadline=None, max_examples=20_000)
settings.load_profile(os.environ.get("YUANTUNE_HYPOTHESIS", "yuantune"))

# A test never asks a hub: what is not in the repository or in $YUANTUNE_TEST_DATA does not exist.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Tiny tensors gain nothing from threads, and lose much where a core is busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROWS = [
    ("张三,汉族,金融学硕士。", {"姓名": ["张三"], "种族": ["汉族"], "专业": ["金融学"], "教育背景": ["硕士"]}),
    ("李四，回族，1980年生，高级工程师。", {"姓名": ["李四"], "种族": ["回族"], "职位": ["高级工程师"]}),
    ("王五，任江州云陌公司董事。", {"姓名": ["王五"], "职位": ["董事"], "组织名": ["江州云陌公司"]}),
    ("获得多项荣誉。", {}),
    ("赵六，本科学历，浙江绍兴人。", {"姓名": ["赵六"], "教育背景": ["本科学历"], "地名": ["浙江绍兴人"]}),
    ("孙七，中国国籍，公司经理，公司董事。", {"姓名": ["孙七"], "国籍": ["中国国籍"], "组织名": ["公司", "公司"]}),
]
"""Invented rows; the last is labelled only in part, which a test may do."""


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder `$YUANTUNE_TEST_DATA` with data that the repository may not hold.

    Unset, the test is skipped; set and missing, it fails."""
    folder = os.environ.get("YUANTUNE_TEST_DATA")
    if not folder:
        pytest.skip("needs $YUANTUNE_TEST_DATA")
    path = Path(folder)
    assert path.is_dir(), f"$YUANTUNE_TEST_DATA names {folder}, which is not a folder"
    return path.resolve()


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    """Six labelled rows."""
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": text, "labels": labels}, ensure_ascii=False) for text, labels in ROWS]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_tiny_yuan(folder: Path) -> None:
    """Write a tiny Yuan2 with random weights and the built-in model's tokenizer."""
    import torch

    from yuantune.models.load import load_tokenizer
    from yuantune.models.yuan2.config import YuanConfig
    from yuantune.models.yuan2.model import YuanForCausalLM

    tokenizer = load_tokenizer("yuan2-mini")
    config = YuanConfig(
        vocab_size=8192,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        dtype="float32",
    )
    torch.manual_seed(0)
    YuanForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="session")
def yuan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Yuan2 with random weights and the built-in model's tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny-yuan"
    write_tiny_yuan(folder)
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with random weights and a byte-level tokenizer that has neither `<sep>` nor a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator([text for text, _ in ROWS], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        dtype="float32",
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
