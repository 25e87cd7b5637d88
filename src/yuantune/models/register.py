"""Makes `model_type: yuan` known to transformers' Auto classes, without importing them first.

`install()` costs nothing: it leaves a finder on `sys.meta_path` that watches imports of transformers. Once an
import of the auto classes has ended, and with it every import it was part of, Yuan2 is registered. Earlier,
transformers' own modules are half-made: `transformers.generation` imports the auto classes while `modeling_utils`,
which Yuan2's model needs, is still being imported. Then the finder takes itself away.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

AUTO_MODULES = (
    "transformers.models.auto.configuration_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.auto.modeling_auto",
)
WATCHED = ("transformers.", "yuantune.models.yuan2.")

_done: set[str] = set()


def install() -> None:
    """Register Yuan2 as soon as transformers' auto classes are imported; now for those that are already."""
    if not any(isinstance(finder, _Watcher) for finder in sys.meta_path) and len(_done) < len(AUTO_MODULES):
        sys.meta_path.insert(0, _Watcher())
        _register_loaded()


def register() -> None:
    """Register Yuan2 with AutoConfig, AutoTokenizer, AutoModel and AutoModelForCausalLM, importing them.

    Harmless when done before. What a folder says under `auto_map` is not followed, with or without
    `trust_remote_code`: transformers prefers a registered class to remote code."""
    import importlib

    for name in AUTO_MODULES:
        importlib.import_module(name)
    _register_loaded()


def _register_loaded() -> None:
    """Register with the auto modules that are imported by now."""
    for name, register_one in zip(
        AUTO_MODULES, (_register_config, _register_tokenizer, _register_models), strict=True
    ):
        if name in sys.modules and name not in _done:
            _done.add(name)  # First: the imports below end up here again.
            register_one()
    if len(_done) == len(AUTO_MODULES):
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Watcher)]


def _register_config() -> None:
    from transformers import AutoConfig

    from yuantune.models.yuan2.config import YuanConfig

    AutoConfig.register("yuan", YuanConfig, exist_ok=True)


def _register_tokenizer() -> None:
    from transformers.models.auto import tokenization_auto

    from yuantune.models.yuan2.config import YuanConfig
    from yuantune.models.yuan2.tokenizer import YuanTokenizer

    tokenization_auto.AutoTokenizer.register(YuanConfig, YuanTokenizer, exist_ok=True)
    # Published folders say LlamaTokenizer, which would win. transformers keeps a list for that mistake.
    tokenization_auto.TOKENIZER_MAPPING_NAMES["yuan"] = YuanTokenizer.__name__
    tokenization_auto.MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS.add("yuan")


def _register_models() -> None:
    from transformers import AutoModel, AutoModelForCausalLM

    from yuantune.models.yuan2.config import YuanConfig
    from yuantune.models.yuan2.model import YuanForCausalLM, YuanModel

    AutoModel.register(YuanConfig, YuanModel, exist_ok=True)
    AutoModelForCausalLM.register(YuanConfig, YuanForCausalLM, exist_ok=True)


_nesting = threading.local()
"""How many watched modules this thread is in the middle of importing."""


class _Watcher(MetaPathFinder):
    """Finds nothing itself: wraps the loaders that the other finders give for watched modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(WATCHED):
            return None
        for finder in sys.meta_path:
            if isinstance(finder, _Watcher) or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _WatchedLoader(spec.loader)
                return spec
        return None


class _WatchedLoader(Loader):
    """Runs the real loader, puts it back in its place, and registers when the outermost import has ended."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        _nesting.depth = getattr(_nesting, "depth", 0) + 1
        try:
            self._loader.exec_module(module)
        finally:
            _nesting.depth -= 1
        if not _nesting.depth:
            _register_loaded()
