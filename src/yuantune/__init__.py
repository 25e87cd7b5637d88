"""yuantune: fine-tune Yuan2 and other causal language models on a few hundred examples.

Importing it stays cheap: no torch, no transformers. It makes `model_type: yuan` known to transformers' Auto classes
as soon as they are imported, so plain `AutoModelForCausalLM.from_pretrained` loads Yuan2 without remote code.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from yuantune.models import register

if TYPE_CHECKING:
    from yuantune.config import Config
    from yuantune.config_file import load_config
    from yuantune.data.record import Prediction, Record, Source
    from yuantune.errors import YuantuneError
    from yuantune.infer.adapters import Adapters
    from yuantune.infer.extractor import Extractor
    from yuantune.infer.opening import load
    from yuantune.score.entities import score_entities
    from yuantune.study.sweep import sweep
    from yuantune.sweep_config import SweepConfig, load_sweep
    from yuantune.train.run import fine_tune

__version__ = "0.1.0"

_HOME = {
    "Adapters": "yuantune.infer.adapters",
    "Config": "yuantune.config",
    "Extractor": "yuantune.infer.extractor",
    "Prediction": "yuantune.data.record",
    "Record": "yuantune.data.record",
    "Source": "yuantune.data.record",
    "SweepConfig": "yuantune.sweep_config",
    "YuantuneError": "yuantune.errors",
    "load": "yuantune.infer.opening",
    "load_config": "yuantune.config_file",
    "load_sweep": "yuantune.sweep_config",
    "score_entities": "yuantune.score.entities",
    "fine_tune": "yuantune.train.run",
    "sweep": "yuantune.study.sweep",
}

__all__ = [
    "Adapters",
    "Config",
    "Extractor",
    "Prediction",
    "Record",
    "Source",
    "SweepConfig",
    "YuantuneError",
    "fine_tune",
    "load",
    "load_config",
    "load_sweep",
    "score_entities",
    "sweep",
]

register.install()


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'yuantune' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
