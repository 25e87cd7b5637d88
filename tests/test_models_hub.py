"""Downloads: which hub, which files, and what a person reads when it fails. No network: the libraries are faked."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yuantune.errors import ModelError, UserError, WorkFailed
from yuantune.models import hub


class Missing(Exception):
    """Stands for the library's error for what is not there."""


class Gated(Missing):
    """Stands for the library's error for what is not open."""


class Fake:
    """A hub library that has one repository: its download function, and what it was asked for."""

    def __init__(self, folder: Path, files: tuple[str, ...], error: Exception | None = None) -> None:
        self.folder, self.files, self.error = folder, files, error
        self.calls: list[dict[str, Any]] = []

    def snapshot(self, name: str, local_files_only: bool = False, **options: Any) -> str:
        from fnmatch import fnmatch

        self.calls.append({"name": name, "local_files_only": local_files_only, **options})
        if self.error is not None and not (local_files_only and self.files):
            raise self.error
        for file in self.files:
            wanted = any(fnmatch(file, pattern) for pattern in options["allow_patterns"])
            if wanted and not any(fnmatch(file, pattern) for pattern in options["ignore_patterns"]):
                (self.folder / file).write_text(file)
        return str(self.folder)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Fake]:
    def make(*files: str, error: Exception | None = None) -> Fake:
        library = Fake(tmp_path, files, error)
        monkeypatch.setattr(hub, "_library", lambda _: (library.snapshot, (Missing,), (Gated,)))
        monkeypatch.setattr(hub, "why_unreachable", lambda _: "")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        return library

    return make


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("IEITYuan/Yuan2-2B-Mars-hf", hub.HubModel("modelscope", "IEITYuan/Yuan2-2B-Mars-hf")),
        ("Qwen/Qwen3-0.6B", hub.HubModel("hf", "Qwen/Qwen3-0.6B")),
        ("hf:IEITYuan/Yuan2-2B-Mars-hf", hub.HubModel("hf", "IEITYuan/Yuan2-2B-Mars-hf")),
        ("modelscope:Qwen/Qwen3-0.6B", hub.HubModel("modelscope", "Qwen/Qwen3-0.6B")),
        ("hf:gpt2", hub.HubModel("hf", "gpt2")),
        ("yuan2-mini", None),
        ("./models/mine", None),
        ("/models/mine", None),
        ("a/b/c", None),
        ("hf:", None),
        ("../b", None),
    ],
)
def test_which_hub(name: str, model: hub.HubModel | None) -> None:
    assert hub.parse(name) == model


def test_fetches_weights_config_and_tokenizer_and_no_code(fake: Callable[..., Fake], tmp_path: Path) -> None:
    library = fake(
        "config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
        "tokenizer.model", "tokenizer_config.json", "chat_template.jinja", "LICENSE", "yuan_hf_model.py",
        "setup.sh", "training_args.bin", "consolidated.safetensors",
    )  # fmt: skip
    assert hub.download("org/model", revision="v1") == tmp_path
    assert names(tmp_path) == {
        "config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.model",
        "tokenizer_config.json", "chat_template.jinja", "LICENSE",
    }  # fmt: skip
    assert [call["revision"] for call in library.calls] == ["v1"]
    assert library.calls[0]["local_dir"] is None
    assert "*.py" in library.calls[0]["ignore_patterns"]


def test_pickles_only_where_there_are_no_safetensors(fake: Callable[..., Fake], tmp_path: Path) -> None:
    library = fake(
        "config.json", "pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "optimizer.bin"
    )
    hub.download("org/model", tmp_path)
    assert names(tmp_path) == {"config.json", "pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"}
    assert [call["local_dir"] for call in library.calls] == [str(tmp_path)] * 2


def test_without_weights(fake: Callable[..., Fake], tmp_path: Path) -> None:
    fake("config.json", "tokenizer.json", "model.safetensors", "pytorch_model.bin")
    hub.download("org/model", weights=False)
    assert names(tmp_path) == {"config.json", "tokenizer.json"}


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (Missing("404"), ModelError, "there is no IEITYuan/Yuan9 on ModelScope at revision v2"),
        (Gated("403"), ModelError, "not open to you"),
        (ConnectionError("no route\nmore"), ModelError, r"ModelScope cannot be reached.*\(no route\)"),
        (OSError(errno.ENOSPC, "No space left on device"), WorkFailed, "No space left"),
    ],
)
def test_failures_are_explained(
    fake: Callable[..., Fake], error: Exception, kind: type[Exception], message: str
) -> None:
    fake(error=error)
    with pytest.raises(kind, match=message) as caught:
        hub.download("IEITYuan/Yuan9", revision="v2")
    assert caught.value.hint  # type: ignore[attr-defined]


def test_the_cache_answers_when_the_hub_does_not(
    fake: Callable[..., Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = fake("model.safetensors", error=ConnectionError("down"))
    assert hub.download("org/model") == tmp_path
    assert [call["local_files_only"] for call in library.calls] == [False, True]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.download("org/model")
    assert [call["local_files_only"] for call in library.calls[2:]] == [True]


def test_a_hub_that_does_not_answer_is_not_asked(
    fake: Callable[..., Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its library would try again and again."""
    library = fake(error=Missing("not in the cache"))
    monkeypatch.setattr(hub, "why_unreachable", lambda _: "no route")
    with pytest.raises(ModelError, match=r"ModelScope cannot be reached, and .*\(no route\)"):
        hub.download("IEITYuan/Yuan9", tmp_path / "new")
    assert [call["local_files_only"] for call in library.calls] == [True]
    assert not (tmp_path / "new").exists()


def test_a_place_that_cannot_be_written_to(
    fake: Callable[..., Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = fake("config.json")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ModelError, match=r"cannot be made: .*file is a file"):
        hub.download("org/model", tmp_path / "file" / "model")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ModelError, match="may not be written to"):
        hub.download("org/model", tmp_path / "model")
    assert not library.calls


def test_a_name_that_is_on_no_hub() -> None:
    with pytest.raises(UserError, match="is no model on a hub"):
        hub.download("yuan2-mini")


def test_the_real_libraries_have_what_is_asked_of_them() -> None:
    import inspect

    for name in hub.HUBS:
        snapshot, missing, refused = hub._library(name)
        parameters = inspect.signature(snapshot).parameters
        assert {
            "revision",
            "local_dir",
            "allow_patterns",
            "ignore_patterns",
            "local_files_only",
        } <= parameters.keys()
        assert all(issubclass(error, Exception) for error in (*missing, *refused))
