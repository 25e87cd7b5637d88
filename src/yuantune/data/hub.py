"""Data sets on a hub: Hugging Face through `datasets`, ModelScope through `modelscope`.

Files only, no remote code."""

from __future__ import annotations

import re
import ssl
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal

from yuantune.errors import DataError

_ANSWERS_WITHIN = 5
"""Seconds in which a hub has to answer at all."""

_NAME = re.compile(r"(?:(hf|modelscope):)?(\w[\w.-]*/\w[\w.-]*)(?:#([\w.\[\]:%+-]+))?")


@dataclass(frozen=True, slots=True)
class HubName:
    """A data set's name, as `org/name`, `hf:org/name` or `modelscope:org/name`, perhaps with `#split`."""

    hub: Literal["hf", "modelscope"]
    id: str
    split: str

    def __str__(self) -> str:
        return f"{self.hub}:{self.id}#{self.split}"


def parse(source: str) -> HubName | None:
    """The hub name that `source` is, or None. The split is train unless named."""
    match = _NAME.fullmatch(source)
    if match is None:
        return None
    return HubName("modelscope" if match[1] == "modelscope" else "hf", match[2], match[3] or "train")


def stream(name: HubName) -> Iterator[Mapping[str, object]]:
    """The rows of a Hugging Face data set, streamed; numbered classes become their names.

    Raises DataError where it, or the hub, cannot be reached, at once or on the way."""
    import datasets

    if why := why_unreachable(name.hub):
        raise _unreachable(name, why)
    try:
        rows = datasets.load_dataset(name.id, split=name.split, streaming=True)
    except Exception as error:  # The hub's libraries raise whatever their transport raises.
        raise _unreachable(name, str(error) or type(error).__name__) from error
    return _named(name, rows, _class_names(rows.features or {}))


def download(name: HubName) -> Path:
    """The folder with a ModelScope data set's files, downloaded where it is not in the cache.

    Raises DataError where it, or the hub, cannot be reached."""
    if why := why_unreachable(name.hub):
        raise _unreachable(name, why)
    try:
        from modelscope.hub.snapshot_download import dataset_snapshot_download

        return Path(dataset_snapshot_download(name.id))
    except Exception as error:  # As above.
        raise _unreachable(name, str(error) or type(error).__name__) from error


def why_unreachable(hub: str) -> str:
    """Why the hub (`hf` or `modelscope`) does not answer, or an empty string where it does.

    The hubs' own libraries find that out by trying again for half a minute or longer, warning each time."""
    if hub == "hf":
        from huggingface_hub import constants

        if constants.is_offline_mode():
            return "HF_HUB_OFFLINE is set"
        endpoint = constants.ENDPOINT
    else:
        from modelscope.hub.utils.utils import get_endpoint

        endpoint = get_endpoint()
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=_ANSWERS_WITHIN).close()
    except urllib.error.HTTPError:
        return ""  # An answer, if none to be glad of.
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        # It answers; the libraries may know its certificate.
        return "" if isinstance(reason, ssl.SSLError) else f"{endpoint}: {reason}"
    return ""


def split_files(folder: Path, name: HubName, suffixes: frozenset[str]) -> list[Path]:
    """The data files of the split, known by its name in theirs; all of them where there is but one.

    Raises DataError where there is none."""
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in suffixes and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    word = re.compile(rf"(?<![a-z0-9]){re.escape(name.split.lower())}(?![a-z])")
    chosen = [path for path in files if word.search(str(path.relative_to(folder)).lower())]
    if not chosen and len(files) == 1:
        return files
    if not chosen:
        found = ", ".join(str(path.relative_to(folder)) for path in files[:10]) or "no data files"
        raise DataError(
            f"{name}: no file of split '{name.split}'; found: {found}", hint=f"name one: {name.id}#SPLIT"
        )
    return chosen


def _named(
    name: HubName, rows: Iterator[Mapping[str, object]], classes: Mapping[str, list[str]]
) -> Iterator[Mapping[str, object]]:
    iterator = iter(rows)
    while True:
        try:
            row = next(iterator)
        except StopIteration:
            return
        except Exception as error:  # As above.
            raise _unreachable(name, str(error) or type(error).__name__) from error
        yield {key: _class(value, classes[key]) if key in classes else value for key, value in row.items()}


def _class_names(features: Mapping[str, object]) -> dict[str, list[str]]:
    """Columns that hold lists of numbered classes (tags), and the classes' names."""
    found = {key: getattr(getattr(feature, "feature", None), "names", None) for key, feature in features.items()}
    return {key: names for key, names in found.items() if names}


def _class(value: object, names: list[str]) -> object:
    if not isinstance(value, list):
        return value
    return [names[item] if isinstance(item, int) and 0 <= item < len(names) else item for item in value]


def _unreachable(name: HubName, why: str) -> DataError:
    return DataError(
        f"{name}: the data set cannot be read ({textwrap.shorten(why, 200, placeholder=' …')})",
        hint="Is this meant as a file? It does not exist here. Otherwise check the name, and that the hub can"
        " be reached; or download the files by other means and name their folder.",
    )
