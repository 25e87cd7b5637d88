"""What a model folder holds: config, weights, tokenizer files; what is missing of them, and what they hash to."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
import struct
from pathlib import Path
from typing import Any

from yuantune.data.strict_json import parse_json
from yuantune.errors import ModelError, Problem

CONFIG = "config.json"
VOCABULARIES = ("tokenizer.model", "tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
"""A folder with none of these has no tokenizer."""
TOKENIZER_FILES = (
    *VOCABULARIES,
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer_config.json",
)
"""What decides how a text becomes ids; other files may change without changing a token."""
WHOLE_HASH = 100 * 2**20
"""Weights below so many bytes are hashed whole; above, only their table of tensors (reading 4 GB takes seconds)."""

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
LONGEST_HEADER = 100_000_000
"""Bytes of a safetensors header at most, as the safetensors library has it."""
_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
"""Of an element; of what is not here, safetensors itself has to judge."""
_VOLATILE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache")
_MIXTURE = re.compile(r"yuan2(\.0)?-m32", re.IGNORECASE)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a model folder. Raises ModelError where it is none."""
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON: {error}", hint="download the model again") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds a {type(value).__name__}, not an object")
    return value


def read_config(folder: Path) -> dict[str, Any]:
    """The model's config as its file has it. Raises ModelError where there is none."""
    if not (folder / CONFIG).is_file():
        raise ModelError(
            f"{folder} is no model folder: it has no {CONFIG}",
            hint=_meant_instead(folder)
            or "a model folder holds config.json, model.safetensors and the tokenizer's files",
        )
    return read_json(folder / CONFIG)


def _meant_instead(folder: Path) -> str:
    """What to name instead of a run folder (`yuantune.train.folder`), or an adapter in it."""
    if (folder / "model" / CONFIG).is_file():
        return f"this is a run folder; the model that it trained is {folder / 'model'}"
    for place in (folder, folder / "adapter"):
        if (place / "adapter_config.json").is_file():
            base = read_json(place / "adapter_config.json").get("base_model_name_or_path")
            return (
                f"this is a trained adapter; the model that it belongs to is {base}: give that as the model. "
                f"`yuantune generate {shlex.quote(str(folder))}` answers with both"
            )
    return ""


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers would read weights from, safetensors before pickles; some may be missing."""
    for name in _WEIGHTS:
        path = folder / name
        if path.is_file():
            if path.suffix != ".json":
                return [path]
            shards = read_json(path).get("weight_map")
            if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
                raise ModelError(f"{path} has no weight_map from tensors to files")
            names = sorted(set(shards.values()))
            if outside := [name for name in names if Path(name).name != name or name in ("", "..")]:
                raise ModelError(f"{path} names a file outside of its folder: {outside[0]!r}")
            return [folder / name for name in names]
    return []


def require(folder: Path, *, weights: bool, tokenizer: bool) -> None:
    """Raise ModelError that names everything the folder lacks of what is wanted."""
    problems: list[Problem] = []
    if weights:
        files = weight_files(folder)
        if not files:
            problems.append(
                Problem(str(folder), f"no weights ({_WEIGHTS[0]} or {_WEIGHTS[2]}, whole or in shards)")
            )
        problems += [Problem(str(file), what) for file in files if (what := damage(file))]
    if tokenizer and not any((folder / name).is_file() for name in VOCABULARIES):
        problems.append(Problem(str(folder), f"no tokenizer ({VOCABULARIES[0]}, {VOCABULARIES[1]}, …)"))
    if problems:
        raise ModelError(
            f"the model folder {folder} is not complete",
            problems=problems,
            hint=_meant_instead(folder)
            or "`yuantune model get NAME --to DIR` downloads a model and goes on with a download that stopped",
        )


def damage(file: Path) -> str:
    """What is wrong with a weights file as far as its first bytes tell, or an empty string."""
    if not file.is_file():
        return "the file is missing"
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(64)
        if head.startswith(b"version https://git-lfs"):
            return "only a pointer: the repository was cloned without Git LFS"
        if file.suffix != ".safetensors":
            return "" if size else "the file is empty"
        if size < 8 or (header := struct.unpack("<Q", head[:8])[0]) > size - 8:
            return "the file is cut short, or is no safetensors file"
        if header > LONGEST_HEADER:
            return f"no safetensors file: its header has {header:,} bytes, and {LONGEST_HEADER:,} are the most"
        stream.seek(8)
        try:
            table = parse_json(stream.read(header))
        except ValueError:
            return "no safetensors file: its header is no JSON"
    return header_flaw(table, 8 + header, size)


def header_flaw(table: Any, begin: int, size: int) -> str:
    """What is wrong with the header of a safetensors file of `size` bytes whose tensors begin at `begin`, or an
    empty string: each tensor has a type, a shape and the bytes that both take, and together they fill the file."""
    if not isinstance(table, dict):
        return "no safetensors file: its header is no object"
    places = []
    for name, entry in table.items():
        if name == "__metadata__":
            continue
        try:
            shape, (start, end) = entry["shape"], entry["data_offsets"]
            bits = _BITS.get(entry["dtype"])
            counts = [*shape, start, end]
        except (TypeError, KeyError, ValueError):
            return f"its header has no type, shape and place for the tensor {name!r}"
        if not all(type(count) is int and count >= 0 for count in counts) or end < start:
            return f"its header has an impossible shape or place for the tensor {name!r}"
        if bits is not None and 8 * (end - start) != bits * math.prod(shape):
            return f"its header gives the tensor {name!r} {end - start:,} bytes, which its shape does not take"
        places.append((start, end))
    places.sort()
    last = 0
    for start, end in places:
        if start != last:
            return "its header has tensors that overlap, or bytes between them"
        last = end
    end = begin + last
    if size < end:
        return f"the file is cut short: {size:,} of {end:,} bytes"
    return "" if size == end else f"the file has {size - end:,} bytes that its header does not know"


def is_bfloat16(folder: Path) -> bool:
    """Whether all numbers of the model's weights are bfloat16: by the headers of the files; by the config, where
    they are pickles, which have none. No weights are none."""
    files = weight_files(folder)
    if any(file.suffix != ".safetensors" for file in files):
        config = read_config(folder)
        return "bfloat16" in (config.get("dtype"), config.get("torch_dtype"))
    kinds = set()
    for file in files:
        with file.open("rb") as stream:
            table = parse_json(stream.read(struct.unpack("<Q", stream.read(8))[0]))
        kinds |= {entry["dtype"] for name, entry in table.items() if name != "__metadata__"}
    return kinds == {"BF16"}


def refuse_unsupported(name: str, config: dict[str, Any]) -> None:
    """Raise ModelError for a model that yuantune cannot run: one with remote code, or no causal language model.

    transformers has causal classes for encoders too (BERT with `is_decoder`) and for the decoders of translators
    (BART); as published, the first see the answer that they should predict, the second lack their encoder."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    kind = config.get("model_type")
    if not kind:
        raise ModelError(f"the config of {name} has no model_type", hint="is it a config of a transformers model?")
    if kind not in CONFIG_MAPPING:
        code = " and runs only with the code in its own folder" if "auto_map" in config else ""
        raise ModelError(
            f"the architecture {kind} of {name} is not in transformers{code}",
            hint="yuantune runs no code that comes with a model; choose a model that transformers knows",
        )
    config_class = CONFIG_MAPPING[kind]
    translator = config.get("is_encoder_decoder", getattr(config_class, "is_encoder_decoder", False))
    encoder = config_class in MODEL_FOR_MASKED_LM_MAPPING and not config.get("is_decoder")
    if config_class not in MODEL_FOR_CAUSAL_LM_MAPPING or translator or encoder:
        raise ModelError(f"{name} ({kind}) is no causal language model", hint="choose one that generates text")


def refuse_mixture(name: str) -> None:
    """Raise ModelError for Yuan2.0-M32 by its name, before any download (`YuanConfig` refuses its config)."""
    if _MIXTURE.search(name):
        raise ModelError(
            f"{name} is Yuan2.0-M32, a mixture of experts, which yuantune does not implement",
            hint="the dense models work: Yuan2-2B, Yuan2-51B, Yuan2-102B",
        )


# ------------------------------------------------------------------------------------------------- hashes


def config_hash(folder: Path) -> str:
    """SHA-256 of the config, whatever its layout, and without what changes from one save to the next."""
    config = {name: value for name, value in read_config(folder).items() if name not in _VOLATILE}
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def tokenizer_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of the tokenizer's files."""
    digest = hashlib.sha256()
    for name in sorted(TOKENIZER_FILES):
        if (folder / name).is_file():
            content = (folder / name).read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def weight_hashes(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each weights file; of a large one, the hash of its table of tensors or of its start."""
    return {file.name: {"size": file.stat().st_size, "sha256": _weight_hash(file)} for file in weight_files(folder)}


def _weight_hash(file: Path) -> str:
    with file.open("rb") as stream:
        if file.stat().st_size < WHOLE_HASH:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        length = 2**20
        if file.suffix == ".safetensors":
            length = 8 + struct.unpack("<Q", stream.read(8))[0]
            stream.seek(0)
        return hashlib.sha256(stream.read(length)).hexdigest()
