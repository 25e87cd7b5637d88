"""Bottleneck adapters: a narrow network behind a part of each decoder layer, or beside it.

With y what the part gives for its input x, and A(v) = up(f(down(v))):

    houlsby     y + s·A(y)   behind attention (its output projection) and behind the MLP
    pfeiffer    y + s·A(y)   behind the MLP
    parallel    y + s·A(x)   beside the MLP

Up projections begin at zero: the model answers as it did until something is learnt. The adapter hangs on the base
as forward hooks, so that the base's modules keep their names, and whatever wraps or replaces their forward does so
as before. A model may hold several adapters by name, of which one is active, or none (`activate`).

Folder: `bottleneck.json` (the options, and the layers as numbers) and `bottleneck.safetensors`.

Shapes: D hidden size, W width of the bottleneck. Sources stand at `yuantune.method_config.BottleneckSection`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yuantune.errors import ModelError, RunError
from yuantune.methods.layers import chosen_layers
from yuantune.methods.switch import Switch, by_modules
from yuantune.models.probe import decoder_layers, trial

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER = "adapter"
NEEDS_BASE = True
CONFIG_FILE, WEIGHTS_FILE = "bottleneck.json", "bottleneck.safetensors"
DEFAULT = "default"
merge = "between its projections stands a function that is not linear, which no weight of the base can hold"

PLACES = {"houlsby": ("self_attn.o_proj", "mlp"), "pfeiffer": ("mlp",), "parallel": ("mlp",)}
"""The parts of a layer that each kind belongs to, as transformers' decoders of Llama's kind name them."""
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu, "gelu": F.gelu, "silu": F.silu, "tanh": torch.tanh,
}  # fmt: skip
_ATTRIBUTE = "bottlenecks"


class Bottleneck(nn.Module):
    """`up(dropout(f(down(v)))) · scaling`, added to what a module gives; `v` is that, or, `parallel`, its input.

    Computed in the input's precision; the parameters are float32, of a float64 model float64."""

    def __init__(
        self,
        size: int,
        width: int,
        function: str,
        scaling: float,
        dropout: float,
        parallel: bool,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.down_WD = nn.Parameter(torch.empty(width, size, dtype=dtype))
        self.down_W = nn.Parameter(torch.zeros(width, dtype=dtype))
        self.up_DW = nn.Parameter(torch.zeros(size, width, dtype=dtype))
        self.up_D = nn.Parameter(torch.zeros(size, dtype=dtype))
        nn.init.kaiming_uniform_(self.down_WD, a=math.sqrt(5))
        self.function, self.scaling, self.dropout, self.parallel = function, scaling, dropout, parallel
        self.active = True

    def forward(self, v: Tensor) -> Tensor:
        """[..., D] to [..., D]."""
        low = F.linear(v, self.down_WD.to(v.dtype), self.down_W.to(v.dtype))
        low = F.dropout(_FUNCTIONS[self.function](low), self.dropout, self.training)
        return F.linear(low, self.up_DW.to(v.dtype), self.up_D.to(v.dtype)) * self.scaling

    def hook(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """A forward hook of the module that the adapter belongs to. Raises ModelError where that gives no
        tensor."""
        if not self.active:
            return output
        if not isinstance(output, Tensor):
            raise ModelError(f"{type(module).__name__} gives more than a tensor: an adapter cannot be added to it")
        return output + self(inputs[0] if self.parallel else output)


# ---------------------------------------------------------------------------------------------------- the method


def apply(model: PreTrainedModel, options: dict[str, Any], tokenizer: Any = None) -> PreTrainedModel:
    """Freeze `model` and add an adapter. `options` are those of `BottleneckSection`.

    Raises ConfigError for layers, ModelError for parts of a layer, that the model does not have."""
    model.requires_grad_(False)
    add(model, options)
    with trial(model):
        model(input_ids=torch.zeros(1, 2, dtype=torch.int64, device=model.device))
    return model


def save(model: PreTrainedModel, folder: Path, name: str = DEFAULT) -> None:
    """Write the adapter called `name`."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    options = vars(model)[_ATTRIBUTE][name]
    state = {path: each.detach().contiguous() for path, each in _weights(model, name)}
    save_file(state, str(folder / WEIGHTS_FILE))
    (folder / CONFIG_FILE).write_text(json.dumps(options, indent=2) + "\n", encoding="utf-8")


def load(load_model: Callable[[Path | None], PreTrainedModel], folder: Path) -> PreTrainedModel:
    """The base model with the adapter in `folder` on it, for answering."""
    model = load_model(None)
    attach(model, folder)
    return model


def switch(base: PreTrainedModel, folder: Path) -> Switch:
    """The adapter in `folder` on a base that others share."""
    return by_modules(load, base, folder)


def restore(model: PreTrainedModel, folder: Path, name: str = DEFAULT) -> None:
    """Put what `save` wrote into the adapter that `add` has made. Raises RunError where it does not fit."""
    from safetensors.torch import load_file

    saved, weights = load_file(str(folder / WEIGHTS_FILE)), dict(_weights(model, name))
    if {path: each.shape for path, each in saved.items()} != {path: each.shape for path, each in weights.items()}:
        raise RunError(f"the adapter in {folder} is of another shape than its {CONFIG_FILE} or this model asks for")
    with torch.no_grad():
        for path, weight in weights.items():
            weight.copy_(saved[path])


# ------------------------------------------------------------------------------------------------- several adapters


def add(model: PreTrainedModel, options: dict[str, Any], name: str = DEFAULT) -> None:
    """Add an adapter called `name`, and make it the active one. Raises as `apply` does, and where there is one."""
    if name in vars(model).get(_ATTRIBUTE, {}):
        raise ModelError(f"the model has an adapter {name!r} already", hint="give the new one another name")
    layers, kind = decoder_layers(model), options["kind"]
    numbers = chosen_layers(model, options["layers"], "bottleneck.layers")
    parts = [dict(layer.named_modules()) for layer in layers or ()]
    if missing := sorted({place for place in PLACES[kind] for part in parts if place not in part}) or not parts:
        lacking = ", ".join(missing) if isinstance(missing, list) else "list of layers"
        raise ModelError(
            f"{type(model).__name__} has no {lacking} where bottleneck adapters look for it",
            hint="`method: lora` works with every model that has linear layers",
        )
    size = model.get_input_embeddings().weight.shape[1]
    width = max(round(size / options["reduction_factor"]), 1)
    for number in numbers:
        layer = layers[number]  # type: ignore[index]
        adapters = nn.ModuleDict()
        for place in PLACES[kind]:
            weight = next(parts[number][place].parameters())
            adapter = Bottleneck(
                size, width, options["non_linearity"], options["scaling"], options["dropout"], kind == "parallel",
                torch.promote_types(weight.dtype, torch.float32),
            ).to(weight.device)  # fmt: skip
            parts[number][place].register_forward_hook(adapter.hook)
            adapters[place.rpartition(".")[2]] = adapter
        if not hasattr(layer, _ATTRIBUTE):
            layer.add_module(_ATTRIBUTE, nn.ModuleDict())
        layer.get_submodule(_ATTRIBUTE).add_module(name, adapters)
    vars(model).setdefault(_ATTRIBUTE, {})[name] = {**options, "layers": numbers}
    activate(model, name)
    model.train(model.training)


def attach(model: PreTrainedModel, folder: Path, name: str = DEFAULT) -> None:
    """Add the adapter that is saved in `folder`, and make it the active one."""
    add(model, json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")), name)
    restore(model, folder, name)


def activate(model: PreTrainedModel, name: str | None) -> None:
    """From now on the model answers with the adapter called `name`, or, None, as its base does.

    Raises ModelError where it has none of that name."""
    names = vars(model).get(_ATTRIBUTE, {})
    if name is not None and name not in names:
        raise ModelError(f"the model has no adapter {name!r}", hint=f"it has: {', '.join(names) or 'none'}")
    for owner, adapter in _adapters(model):
        adapter.active = owner == name


def _adapters(model: PreTrainedModel) -> Iterator[tuple[str, Bottleneck]]:
    """Every adapter of every layer, each with its name."""
    for path, module in model.named_modules():
        if isinstance(module, Bottleneck):
            yield path.split(f".{_ATTRIBUTE}.")[1].split(".")[0], module


def _weights(model: PreTrainedModel, name: str) -> Iterator[tuple[str, Tensor]]:
    """An adapter's parameters by paths that do not hold its name."""
    for path, parameter in model.named_parameters():
        if f".{_ATTRIBUTE}.{name}." in path:
            yield path.replace(f".{_ATTRIBUTE}.{name}.", f".{_ATTRIBUTE}."), parameter
