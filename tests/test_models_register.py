"""Yuan2 is known to transformers' Auto classes, whoever is imported first, and `import yuantune` stays cheap."""

from __future__ import annotations

import subprocess
import sys

from transformers import AutoConfig
from transformers.models.auto import modeling_auto, tokenization_auto

from yuantune.models import register
from yuantune.models.yuan2.config import YuanConfig
from yuantune.models.yuan2.model import YuanForCausalLM, YuanModel
from yuantune.models.yuan2.tokenizer import YuanTokenizer

CHEAP = """
import sys, yuantune, yuantune.models, yuantune.models.register, yuantune.models.load, yuantune.models.hub
assert not {"torch", "transformers", "sentencepiece", "modelscope", "huggingface_hub"} & set(sys.modules)
"""
REGISTERED = """
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
sizes = dict(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
ids = dict(pad_token_id=0, bos_token_id=0, eos_token_id=0)
config = AutoConfig.for_model("yuan", **sizes, **ids)
assert type(AutoModelForCausalLM.from_config(config)).__module__ == "yuantune.models.yuan2.model"
assert type(AutoModel.from_config(config)).__name__ == "YuanModel"
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING
assert TOKENIZER_MAPPING[type(config)].__name__ == "YuanTokenizer"
assert "_Watcher" not in {type(finder).__name__ for finder in sys.meta_path}
"""
# Three ways to the auto classes. By the second they are complete while what imports them is not.
ORDERS = (
    CHEAP,
    "import sys, yuantune, transformers.generation.utils",
    "import sys, transformers.models.auto.modeling_auto; from yuantune.models.yuan2.model import YuanForCausalLM",
)


def test_registered_in_every_order_of_imports() -> None:
    programs = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", first + "\n" + REGISTERED],
            stderr=subprocess.PIPE,
            text=True,
        )
        for first in ORDERS
    ]
    failures = [error for program in programs if (error := program.communicate()[1]) or program.returncode]
    assert failures == []


def test_registering_again_changes_nothing() -> None:
    register.install()
    register.register()
    register.install()
    assert not any(isinstance(finder, register._Watcher) for finder in sys.meta_path)
    assert type(AutoConfig.for_model("yuan")) is YuanConfig
    assert modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING[YuanConfig] is YuanForCausalLM
    assert modeling_auto.MODEL_MAPPING[YuanConfig] is YuanModel
    assert tokenization_auto.TOKENIZER_MAPPING[YuanConfig] is YuanTokenizer
