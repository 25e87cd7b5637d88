"""From a model's name to its tokenizer and its weights, and what identifies both.

A name is built in (`yuan2-mini`), a folder, or a model on a hub (`yuantune.models.hub`). Code that comes with a
model is never run.
"""

from __future__ import annotations

import functools
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yuantune.data.writing import obstacle
from yuantune.errors import ModelError, Problem, WorkFailed, nearest
from yuantune.models import folder as model_folder
from yuantune.models import hub
from yuantune.models.placement import device_of, dtype_of, keeps_bfloat16
from yuantune.resources import BUILTIN, RESOURCES

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


# --------------------------------------------------------------------------------------------------- the folder


def resolve(name: str | Path, *, revision: str | None = None, weights: bool = True) -> Path:
    """The folder of a model: of a built-in one, the one named, or one fetched from its hub.

    Without `weights`, a hub is asked for config and tokenizer only. To use a folder that is called like a built-in
    model, write `./yuan2-mini`. Raises ModelError where the name means nothing, or the hub has no such model."""
    text = str(name)
    if text in BUILTIN:
        return RESOURCES / text
    model_folder.refuse_mixture(text)
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ModelError(f"{path} is a file, not a model folder", hint=f"name the folder it is in: {path.parent}")
    if hub.parse(text) is not None:
        return _fetched(text, revision, weights)
    known = (
        f"{', '.join(BUILTIN)} is built in; else name a folder, or org/model on a hub (IEITYuan/… is on ModelScope)"
    )
    if "/" in text or text.startswith((".", "~")):
        raise ModelError(f"there is no folder {path}", hint=known)
    raise ModelError(f"there is no model {text!r}{nearest(text, BUILTIN)}", hint=known)


@functools.cache
def _fetched(name: str, revision: str | None, weights: bool) -> Path:
    """Once a process: each time costs requests to the hub, even where nothing has changed."""
    return hub.download(name, revision=revision, weights=weights)


def canonical(name: str | Path) -> str:
    """The name under which a run finds the model again from anywhere: a folder's is its absolute path."""
    text, path = str(name), Path(name).expanduser()
    return str(path.resolve()) if text not in BUILTIN and path.is_dir() else text


# ------------------------------------------------------------------------------------------------ the tokenizer


def load_tokenizer(name: str | Path, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The model's tokenizer, Yuan2's exactly as SentencePiece has it; with an end token and a padding token.

    Raises ModelError where it is missing or cannot be read, has no end token, or has more tokens than the model's
    embedding has rows."""
    folder = resolve(name, revision=revision, weights=False)
    model_folder.require(folder, weights=False, tokenizer=True)
    has_config = (folder / model_folder.CONFIG).is_file()
    config = model_folder.read_config(folder) if has_config else {}
    tokenizer = _yuan_tokenizer(folder) if _is_yuan(folder, config) else _auto_tokenizer(folder)
    if tokenizer.eos_token is None:
        raise ModelError(f"the tokenizer of {name} has no end token", hint="choose a model that generates text")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    _check_rows(str(name), tokenizer, config)
    return tokenizer


def _is_yuan(folder: Path, config: dict[str, Any]) -> bool:
    """Whether the folder's tokenizer is Yuan2's. Where there is no config, its vocabulary tells."""
    if config:
        return bool(config.get("model_type") == "yuan")
    if not (folder / "tokenizer.model").is_file():
        return False
    import sentencepiece

    try:
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    except (OSError, RuntimeError):
        return False  # transformers says what is wrong with it
    return all(pieces.piece_to_id(token) != pieces.unk_id() for token in ("<eod>", "<sep>"))


def _yuan_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    from yuantune.models.yuan2.tokenizer import YuanTokenizer

    if not (folder / "tokenizer.model").is_file():
        raise ModelError(f"{folder} has no tokenizer.model, which Yuan2's tokenizer is made from")
    try:
        return YuanTokenizer.from_pretrained(str(folder))
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"the tokenizer in {folder} cannot be read: {_first_line(error)}") from error


def _auto_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, ImportError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(
            f"the tokenizer in {folder} cannot be loaded: {_first_line(error)}",
            hint="yuantune runs no code that comes with a model; its tokenizer must be one that transformers knows",
        ) from error


def _check_rows(name: str, tokenizer: PreTrainedTokenizerBase, config: dict[str, Any]) -> None:
    text_config = config.get("text_config")
    rows = config.get("vocab_size", text_config.get("vocab_size") if isinstance(text_config, dict) else None)
    if rows is not None and type(rows) is not int:
        raise ModelError(f"the config of {name} has vocab_size {rows!r}, which is no number")
    if rows is None or len(tokenizer) <= rows:
        return
    beyond = sorted((index, token) for token, index in tokenizer.get_vocab().items() if index >= rows)
    raise ModelError(
        f"the tokenizer of {name} has {len(tokenizer):,} tokens, but the model's embedding has {rows:,} rows",
        problems=[Problem(f"token {index}", f"{token!r} has no row") for index, token in beyond],
        hint="tokens were added to the tokenizer and not to the model: resize the model's embedding with the code "
        "that added them, or use the tokenizer that the model was published with",
    )


# ---------------------------------------------------------------------------------------------------- the model


def load_model(
    name: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device_map: str = "auto",
    attn_implementation: str = "sdpa",
    quantization: str = "auto",
    int8_products: str = "auto",
) -> PreTrainedModel:
    """The model on its device, in evaluation mode.

    `dtype` auto is bfloat16; float32 for a built-in model, and on a processor that would emulate bfloat16.
    `quantization` (auto, none, bf16, int8, nf4) is that of its frozen linear layers.

    Raises ModelError for a model that is not complete, damaged, or not runnable here; nothing that is missing is
    made up."""
    import torch
    from safetensors import SafetensorError

    folder = resolve(name, revision=revision)
    config = model_folder.read_config(folder)
    model_folder.refuse_unsupported(str(name), config)
    model_folder.require(folder, weights=True, tokenizer=False)
    device = torch.device(device_of(device_map))
    kind = dtype_of(dtype, name, device.type)
    options: dict[str, Any] = {"dtype": kind, "attn_implementation": attn_implementation}
    narrow = keeps_bfloat16(quantization, name, folder, dtype=dtype, computed=kind)
    if narrow and model_folder.is_bfloat16(folder):
        options["dtype"] = torch.bfloat16  # As it is there: it is never wide as a whole.
    if quantization in ("int8", "nf4"):
        from yuantune.models.quantization import config_for, refuse_quantized

        refuse_quantized(str(name), config)
        told = config_for(quantization, device=str(device), dtype=kind, products=int8_products)
        options["quantization_config"] = told
    try:
        model = _read_model(folder, device, options)
    except ModelError:
        raise
    except pickle.UnpicklingError as error:  # torch's own text advises to load it all the same
        raise ModelError(
            f"the weights of {name} are damaged, or hold more than tensors: {_blocked(error)}",
            hint="pickled objects can run code and are never loaded; use a copy of the model in safetensors",
        ) from error
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError, TypeError, KeyError) as error:
        raise ModelError(f"the model {name} cannot be loaded: {_first_line(error)}") from error
    if narrow:
        from yuantune.models.stored import keep_bfloat16

        keep_bfloat16(model, kind, at_least_one=quantization != "auto")
        model.config.dtype = kind
        _make_buffers(model, kind)
    # What an adapter made from it will call its base.
    on_hub = hub.parse(str(name))
    model.name_or_path = on_hub.id if on_hub and not Path(name).is_dir() else canonical(name)
    model.config._name_or_path = model.name_or_path
    return model.eval()


def save_builtin(name: str, target: Path) -> Path:
    """Write a built-in model as an ordinary model folder, which plain `from_pretrained` loads.

    Raises ModelError where `target` already holds something or cannot be made, WorkFailed where the disk
    refuses."""
    from safetensors import SafetensorError

    if why := obstacle(target):
        raise ModelError(f"the folder {target} cannot be made: {why}", hint="name another folder")
    if target.exists() and any(target.iterdir()):
        raise ModelError(f"{target} is already there", hint="name a new folder")
    model, tokenizer = load_model(name, device_map="cpu", dtype="bfloat16"), load_tokenizer(name)  # as it ships
    try:
        model.save_pretrained(str(target))
        tokenizer.save_pretrained(str(target))
    except (OSError, SafetensorError) as error:
        raise WorkFailed(f"{target} could not be written: {_first_line(error)}") from error
    return target


def positions_of(model: PreTrainedModel) -> int | None:
    """Tokens that the model reads at most, prompt and answer together; None where its config sets no limit. Virtual
    tokens take theirs of it."""
    from yuantune.models.virtual import virtual_tokens

    positions: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return None if positions is None else positions - virtual_tokens(model)


def _read_model(folder: Path, device: torch.device, options: dict[str, Any]) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    # On the CPU no map: accelerate would hook every module for nothing.
    place = {} if device.type == "cpu" else {"device_map": {"": device}}
    model, report = AutoModelForCausalLM.from_pretrained(
        str(folder),
        trust_remote_code=False,
        weights_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # They are reported below, all at once.
        **place,
        **options,
    )
    problems = []
    if "quantization_config" in options:
        from yuantune.models.quantization import finish

        problems += finish(model, report)
    problems += [Problem(key, "not in the weights") for key in sorted(report["missing_keys"])]
    problems += [
        Problem(key, f"is {list(has)} in the weights, {list(wants)} by the config")
        for key, has, wants in sorted(report["mismatched_keys"])
    ]
    if problems:
        raise ModelError(
            f"{folder} does not have {len(problems)} of the model's weights: random ones would take their place",
            problems=problems,
            hint="is its config.json that of another model?",
        )
    return model


def _make_buffers(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Make the buffers that no file holds (Gemma's scale of its embeddings) as a model in `dtype` has them, unlike
    one that was read in bfloat16."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    saved = model.state_dict().keys()
    ours = {path: each for path, each in model.named_buffers() if path not in saved and each.is_floating_point()}
    if ours:
        with init_empty_weights(include_buffers=False):
            made = dict(AutoModelForCausalLM.from_config(model.config, dtype=dtype).named_buffers())
        for path, each in ours.items():
            each.copy_(made[path])


def _blocked(error: pickle.UnpicklingError) -> str:
    found = re.search(r"GLOBAL (\S+)", str(error))
    return found[1] if found else "not a file of torch.save"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


# ----------------------------------------------------------------------------------------------------- identity


def identity(name: str | Path, *, revision: str | None = None) -> dict[str, Any]:
    """What tells one base model from another: name, architecture, hashes of config, tokenizer and weights.

    Cheap: large weights files are told apart by size and table of tensors."""
    folder = resolve(name, revision=revision)
    config = model_folder.read_config(folder)
    return {
        "name": canonical(name),
        "revision": revision,
        "architecture": (config.get("architectures") or [config.get("model_type", "")])[0],
        "config": model_folder.config_hash(folder),
        "tokenizer": model_folder.tokenizer_hash(folder),
        "weights": model_folder.weight_hashes(folder),
    }


def check_identity(saved: dict[str, Any], name: str | Path) -> list[Problem]:
    """How the model called `name` differs from the one that `saved`, an `identity`, describes."""
    now = identity(name, revision=saved.get("revision"))
    problems = [
        Problem(part, f"was {_short(saved.get(part))} in training, is {_short(now[part])} now")
        for part in ("architecture", "config", "tokenizer")
        if saved.get(part) != now[part]
    ]
    before, after = saved.get("weights") or {}, now["weights"]
    for file in sorted(before.keys() | after.keys()):
        if before.get(file) != after.get(file):
            what = (
                "is not there now"
                if file not in after
                else "was not there in training"
                if file not in before
                else "differs"
            )
            problems.append(Problem(file, what))
    return problems


def _short(value: Any) -> str:
    return str(value)[:12]
