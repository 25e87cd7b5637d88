"""Models from ModelScope and Hugging Face: which hub a name means, and getting its files.

Both hubs' own libraries download, so an interrupted download goes on where it stopped, and a second one costs
nothing. Only weights, configs and tokenizers are fetched: never code.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yuantune.data.hub import why_unreachable
from yuantune.data.writing import obstacle
from yuantune.errors import ModelError, WorkFailed

HUBS = {"modelscope": "ModelScope", "hf": "Hugging Face"}
MODELSCOPE_OWNERS = ("ieityuan",)
"""Organisations whose models are asked for on ModelScope when no hub is named."""

DESCRIPTION = ("*.json", "*.model", "*.txt", "*.tiktoken", "*.jinja", "LICENSE*", "README*")
SAFETENSORS = ("*.safetensors",)
PICKLES = ("pytorch_model*.bin",)
NEVER = ("*.py", "*/*", "consolidated*", "training_args.bin")
"""Code, folders of other formats (onnx, original) and the same weights once more."""

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM)

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_AFTER_HUB = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model's place: `hub` is a key of HUBS, `id` the name there."""

    hub: str
    id: str

    def __str__(self) -> str:
        return f"{self.id} on {HUBS[self.hub]}"


def parse(name: str) -> HubModel | None:
    """The hub model that `name` means (`org/model`; after `modelscope:` or `hf:` also `model`), else None.

    A name that could lead out of a hub's cache (`hf:../model`) means none."""
    hub, colon, rest = name.partition(":")
    if colon and hub in HUBS and _AFTER_HUB.fullmatch(rest):
        return HubModel(hub, rest)
    if not _ID.fullmatch(name):
        return None
    owner = name.partition("/")[0].lower()
    return HubModel("modelscope" if owner in MODELSCOPE_OWNERS else "hf", name)


def download(name: str, target: Path | None = None, *, revision: str | None = None, weights: bool = True) -> Path:
    """Fetch a model into `target`, or into the hub library's cache, and return its folder.

    Without `weights`, config and tokenizer only. Pickled weights are fetched only where there are no safetensors.
    What is there already is not fetched again; offline, the cache answers. Raises ModelError where the hub has no
    such model, wants a login, or cannot be reached; WorkFailed where the disk is full."""
    model = parse(name)
    if model is None:
        raise ModelError(
            f"{name} is no model on a hub", hint="write org/model, modelscope:org/model or hf:org/model"
        )
    if target is not None and (why := obstacle(target)):
        raise ModelError(f"the folder {target} cannot be made: {why}", hint="name another folder with --to")
    wanted = DESCRIPTION + SAFETENSORS if weights else DESCRIPTION
    folder = _fetch(model, target, revision, wanted)
    if weights and not any(folder.glob("*.safetensors")):
        folder = _fetch(model, target, revision, DESCRIPTION + PICKLES)
    return folder


def _fetch(model: HubModel, target: Path | None, revision: str | None, patterns: tuple[str, ...]) -> Path:
    snapshot, not_found, refused = _library(model.hub)
    is_new = target is not None and not target.exists()
    options: dict[str, Any] = {
        "revision": revision,
        "local_dir": str(target) if target is not None else None,
        "allow_patterns": list(patterns),
        "ignore_patterns": list(NEVER),
    }
    try:
        reason = "HF_HUB_OFFLINE is set" if _offline() else why_unreachable(model.hub)
        if not reason:
            return Path(snapshot(model.id, **options))
    except refused as error:
        raise ModelError(
            f"{model} is not open to you", hint="accept its terms on its page, and log in with the hub's own tool"
        ) from error
    except not_found as error:
        raise ModelError(
            f"there is no {model}" + (f" at revision {revision}" if revision else ""),
            hint="check the name; a private model needs a login. Prefix modelscope: or hf: to choose the hub",
        ) from error
    except Exception as error:  # Each library has dozens: what is left is the network, the hub or the disk.
        if isinstance(error, OSError) and error.errno in DISK:
            raise WorkFailed(
                f"{model} could not be written: {error.strerror}", hint="run it again: the download goes on"
            ) from error
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
    try:
        return Path(snapshot(model.id, local_files_only=True, **options))
    except Exception as error:
        if is_new and target is not None:
            with suppress(OSError):  # A library may have made it; it goes where it is empty.
                target.rmdir()
        raise ModelError(
            f"{HUBS[model.hub]} cannot be reached, and {model.id} is not in its cache ({reason})",
            hint="try again (a download goes on where it stopped), or copy the model here and name its folder",
        ) from error


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


Errors = tuple[type[Exception], ...]


def _library(hub: str) -> tuple[Callable[..., Any], Errors, Errors]:
    """The hub's download function, its errors for what is not there, and for what is not open to everybody."""
    if hub == "hf":
        from huggingface_hub import errors, snapshot_download

        missing: Errors = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError)
        return snapshot_download, missing, (errors.GatedRepoError,)
    from modelscope import snapshot_download as modelscope_download
    from modelscope.hub import errors as modelscope_errors

    return (
        modelscope_download,
        (modelscope_errors.NotExistError, modelscope_errors.InvalidParameter),
        (modelscope_errors.AuthenticationError, modelscope_errors.PermissionDeniedError),
    )
