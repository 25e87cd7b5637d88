"""LoRA and its family by PEFT: the adapter folder is PEFT's own (`adapter_config.json`,
`adapter_model.safetensors`).

PiSSA and OLoRA take the update that training begins with out of the base weights. What is saved is the difference
to it, as a LoRA of twice the rank that fits the base as it was: `[A; A₀]` and `[B, -B₀]`. Its first half is what
training goes on from.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022; the others stand at their
options (`yuantune.method_config.LoraSection`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from yuantune.errors import ConfigError, Problem, WorkFailed, nearest
from yuantune.methods import by_peft
from yuantune.methods.by_peft import CONFIG_FILE, FOLDER, WEIGHTS_FILE, merge
from yuantune.methods.layers import check_linear, chosen_layers, linear_names
from yuantune.methods.lean import make_lean
from yuantune.methods.switch import Switch, by_modules
from yuantune.models.stored import StoredLinear

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["FOLDER", "NEEDS_BASE", "apply", "load", "merge", "restore", "save", "switch"]

NEEDS_BASE = True


def apply(model: PreTrainedModel, options: dict[str, Any], tokenizer: Any = None) -> PreTrainedModel:
    """Wrap `model` with LoRA layers (with the leaner training forward where it can); base weights are frozen,
    adapter weights are float32.

    `options` are fields of `peft.LoraConfig`. Raises ConfigError for layers and modules that are not in the
    model."""
    from peft import LoraConfig, TaskType, get_peft_model

    options = dict(options)
    options["target_modules"] = _targets(model, options["target_modules"])
    if (layers := options.get("layers_to_transform")) is not None:
        options["layers_to_transform"] = chosen_layers(model, layers, "lora.layers_to_transform")
    _check_patterns(model, options)
    _check_saved(model, options.get("modules_to_save") or [])
    if options.get("init_lora_weights") == "eva":
        options["init_lora_weights"] = True  # `yuantune.methods.eva` begins with the data.
    tuned: PreTrainedModel = get_peft_model(model, LoraConfig(task_type=TaskType.CAUSAL_LM, **options))
    if str(options.get("init_lora_weights")).startswith(("pissa", "olora")):
        begun = {name: weight.detach().clone() for name, weight in _factors(tuned).items()}
        tuned._begun = begun
    make_lean(by_peft.keep_whole(tuned))
    return tuned


def load(load_model: Callable[[Path | None], PreTrainedModel], folder: Path) -> PreTrainedModel:
    """The base model with the adapter in `folder` on it, for answering."""
    tuned = by_peft.load(load_model, folder)
    make_lean(tuned)
    return tuned


def switch(base: PreTrainedModel, folder: Path) -> Switch:
    """The adapter in `folder` on a base that others share."""
    return by_modules(load, base, folder)


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write PEFT's adapter files into `folder`, for the base as it was loaded."""
    by_peft.save(model, folder)
    if (begun := vars(model).get("_begun")) is not None:
        _save_difference(folder, begun)


def restore(model: PreTrainedModel, folder: Path) -> None:
    """Put what `save` wrote into a model that `apply` has made with the same options.

    Raises WorkFailed where PiSSA or OLoRA began with something else here than there."""
    begun = vars(model).get("_begun")
    if begun is None:
        by_peft.restore(model, folder)
        return
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    state = load_file(str(folder / WEIGHTS_FILE))
    for name, first in begun.items():
        axis, sign = _JOINED[_kind(name)]
        now, then = state[name].tensor_split(2, axis)
        if not torch.equal(then, sign * first.cpu()):
            raise WorkFailed(
                f"the update of {folder} was taken out of the weights otherwise than this machine does it ({name})",
                hint="resume on the machine that the run began on, or train anew",
            )
        state[name] = now.contiguous()
    set_peft_model_state_dict(model, state)


# ------------------------------------------------------------------------------------------- taken out of the base

_JOINED = {"lora_A": (0, 1.0), "lora_B": (1, -1.0)}
"""Along which axis the factors stand behind each other, and with which sign the first ones."""


def _kind(name: str) -> str:
    return name.rsplit(".", 2)[-2]


def _factors(model: PreTrainedModel) -> dict[str, Tensor]:
    """A and B of every layer, under the names of PEFT's file."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: weight for name, weight in state.items() if _kind(name) in _JOINED}


def _save_difference(folder: Path, begun: dict[str, Tensor]) -> None:
    """Make of the adapter in `folder` one for the base as it was, of twice the rank, with the same scale."""
    from safetensors.torch import load_file, save_file

    state = load_file(str(folder / WEIGHTS_FILE))
    for name, first in begun.items():
        axis, sign = _JOINED[_kind(name)]
        state[name] = torch.cat((state[name], sign * first.cpu()), axis)
    save_file(state, str(folder / WEIGHTS_FILE), metadata={"format": "pt"})
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    config |= {"init_lora_weights": True, "r": 2 * config["r"]}
    config["lora_alpha"] *= math.sqrt(2) if config["use_rslora"] else 2
    for pattern in ("rank_pattern", "alpha_pattern"):
        config[pattern] = {name: 2 * value for name, value in config[pattern].items()}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


# ------------------------------------------------------------------------------------------------ what is trained


def _targets(model: PreTrainedModel, given: list[str] | str) -> list[str]:
    if isinstance(given, list):
        check_linear(model, given, "lora.target_modules", hint="; or say `lora.target_modules: all-linear`")
        return given
    if given != "all-linear":
        raise ConfigError(f"lora.target_modules: give a list of layer names, or all-linear, not {given!r}")
    head = model.get_output_embeddings()
    return [name for name in linear_names(model) if model.get_submodule(name) is not head]


def _check_patterns(model: PreTrainedModel, options: dict[str, Any]) -> None:
    """Raises ConfigError where a key of a pattern fits none of the layers, as PEFT would pass over in silence."""
    targets = options["target_modules"]
    paths = [name for name in linear_names(model) if name in targets or name.rsplit(".", 1)[-1] in targets]
    problems = []
    for option in ("rank_pattern", "alpha_pattern"):
        for key in options.get(option) or {}:
            try:
                fits = any(re.match(rf"(.*\.)?({key})$", path) for path in paths)
            except re.error as error:
                problems.append(Problem(f"lora.{option}", f"{key!r} is no pattern: {error}"))
                continue
            if not fits:
                ends = sorted({path.rsplit(".", 1)[-1] for path in paths})
                problems.append(
                    Problem(f"lora.{option}", f"{key!r} fits no layer that is trained{nearest(key, ends)}")
                )
    if problems:
        raise ConfigError("patterns of lora that fit nothing", problems=problems)


def _check_saved(model: PreTrainedModel, names: Sequence[str]) -> None:
    """Raises ConfigError for modules that are not there, or that share their weight with another one."""
    modules = dict(model.named_modules())
    ends = sorted({path.rsplit(".", 1)[-1] for path in modules if path})
    problems = []
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    for name in names:
        found = [module for path, module in modules.items() if path == name or path.endswith(f".{name}")]
        if not found:
            problems.append(Problem(name, f"no such module{nearest(name, ends)}"))
        elif (
            head is not None
            and embedding.weight is head.weight
            and any(each in (embedding, head) for each in found)
        ):
            problems.append(Problem(name, "embedding and head are one weight here; a trained copy would part them"))
        elif kept := [part for each in found for part in each.modules() if isinstance(part, StoredLinear)]:
            why = f"its weights are {kept[0].FORMAT} (model.quantization), which cannot be trained"
            problems.append(Problem(name, why))
    if problems:
        raise ConfigError("lora.modules_to_save names what cannot be trained beside the update", problems=problems)
