"""How much memory a training step needs: an estimate from the model as its method has made it, without a step.

Counts are exact (of a model on torch's meta device too, where a tensor has a shape and no memory). Activations are
what autograd keeps of a layer, added up from the layer's own modules and from what is trained in them; nothing is
kept before the first layer that a gradient reaches. What allocators and kernels take on top is not in it: leave a
tenth to a quarter free.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WRITERS = ("o_proj", "down_proj", "c_proj", "out_proj", "dense", "dense_4h_to_h", "wo", "w2", "fc2")
"""Names of layers whose output is only added to the residual stream: autograd keeps their input instead."""
CGROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
COPIES = 4
"""A trained number is there four times: itself, its gradient, AdamW's two averages."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that one training step holds at its peak, by what holds them: frozen weights, what is trained with its
    gradients and AdamW's averages, what is kept for the backward pass, and logits."""

    weights: int
    trained: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.trained + self.activations + self.logits


def meta_model(config: PreTrainedConfig) -> PreTrainedModel:
    """The model of a config on the meta device: shapes, no memory."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def count_parameters(model: nn.Module) -> int:
    """Parameters; tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def lora_parameters(model: nn.Module, *, r: int = 8, targets: Collection[str] = TARGETS) -> int:
    """Parameters that LoRA of rank `r` adds to the linear layers called `targets`."""
    return sum(r * (layer.in_features + layer.out_features) for _, layer in _linear(model, targets))


def estimate(
    model: PreTrainedModel,
    *,
    dtype: torch.dtype,
    batch_size: int,
    length: int,
    answer_length: int,
    checkpointing: bool = False,
) -> Memory:
    """What a step of `model`, as a method's `apply` leaves it, needs to train `batch_size` rows of `length` tokens.

    `dtype` is that of the frozen weights. The vocabulary is reached for the last `answer_length` tokens of each
    row. `checkpointing` keeps only each layer's input and computes the rest of one layer at a time once more."""
    from yuantune.models.probe import inner
    from yuantune.models.virtual import root_of

    base, root, size = inner(model), root_of(model), dtype.itemsize
    layers = _decoder_layers(base)
    reached = layers[_first_reached(base, layers, root is not None) :]
    kept = [_kept_per_token(layer, size) for layer in reached]
    if reached and root is None and _begins_behind(reached[0]):
        kept[0] = sum(_kept_by_bottleneck(module, size) for module in reached[0].modules())
    inputs = size * base.get_input_embeddings().weight.shape[1]
    per_token = inputs * len(reached) + max(kept, default=0) if checkpointing else sum(kept)
    vocabulary = base.get_output_embeddings().weight.shape[0]
    # Logits as the head gives them, in float32, their log-softmax and its gradient.
    per_logit = size + 3 * 4
    activations = batch_size * length * per_token
    if root is not None and root.embeddings is not None:
        activations += batch_size * root.count * per_token
    elif root is not None:  # Keys and values alone.
        pairs = (linear.out_features for layer in layers for name, linear in _linear(layer, ("k_proj", "v_proj")))
        activations += batch_size * root.count * size * sum(pairs)
    return Memory(
        weights=_frozen_bytes(model, size),
        trained=COPIES
        * sum(each.numel() * each.element_size() for each in model.parameters() if each.requires_grad),
        activations=activations,
        logits=batch_size * answer_length * vocabulary * per_logit,
    )


def tokens_that_fit(model: PreTrainedModel, *, device: torch.device, checkpointing: bool = False) -> int | None:
    """How many tokens of a training step half of what `model`, as a method's `apply` leaves it, leaves of the
    device's memory holds, at least one; None where the model's layers are not known. The same on a machine at any
    time."""
    from yuantune.models.probe import inner

    one, two = (
        estimate(
            model,
            dtype=inner(model).dtype,
            batch_size=1,
            length=length,
            answer_length=0,
            checkpointing=checkpointing,
        )
        for length in (1, 2)
    )
    per_token = two.activations - one.activations
    if not per_token:
        return None
    # What one row's virtual tokens take is there once at least.
    fixed = one.weights + one.trained + one.activations - per_token
    return max((memory_of(device) - fixed) // 2 // per_token, 1)


def is_exhausted(error: BaseException) -> bool:
    """Whether an error says that memory has ended; torch's allocator for CPUs has no class for it."""
    from torch import OutOfMemoryError

    return isinstance(error, OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def memory_of(device: torch.device) -> int:
    """Bytes of memory that this process may have on `device`, all of it."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return min([_machine_memory(), *_limits()])


def _machine_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _limits() -> Iterator[int]:
    """Of the process and of its control groups (containers, batch systems, systemd), where there are any."""
    try:
        import resource
    except ImportError:  # Windows has none.
        return
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        if (soft := resource.getrlimit(kind)[0]) != resource.RLIM_INFINITY:
            yield soft
    for path in _limit_files():
        try:
            yield int(path.read_text())
        except (OSError, ValueError):  # Another system, a group that is not seen from here, or no limit.
            continue


def _limit_files() -> Iterator[Path]:
    """Where the limits of the process's own memory group and of all that it lies in are written."""
    yield from (CGROUPS / "memory.max", CGROUPS / "memory" / "memory.limit_in_bytes")
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return
    for _, controllers, group in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = (CGROUPS / "memory", "memory.limit_in_bytes") if controllers else (CGROUPS, "memory.max")
        path = PurePosixPath(group)
        yield from (root / str(part).lstrip("/") / name for part in (path, *path.parents) if str(part) != "/")


def _frozen_bytes(model: nn.Module, size: int) -> int:
    """Of the weights that are not trained, in a format of `size` bytes a number; those of fewer bits as they are,
    with their scales."""
    from yuantune.models.stored import stored

    kept = [each for layer in stored(model).values() for each in (layer.weight, *layer.buffers())]
    others = {id(each) for each in kept}
    plain = (each for each in model.parameters() if not each.requires_grad and id(each) not in others)
    return sum(each.nbytes for each in kept) + sum(
        each.numel() * (size if each.is_floating_point() else each.element_size()) for each in plain
    )


def _decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The repeated blocks: the longest list of modules."""
    from torch import nn

    return list(max((m for m in model.modules() if isinstance(m, nn.ModuleList)), key=len, default=[]))


def _linear(model: nn.Module, names: Collection[str]) -> Iterator[tuple[str, nn.Linear]]:
    from torch import nn

    for path, module in model.named_modules():
        name = path.rpartition(".")[2]
        if isinstance(module, nn.Linear) and (not names or name in names):
            yield name, module


def _first_reached(base: PreTrainedModel, layers: list[nn.Module], root: bool) -> int:
    """The number of the first layer that a gradient reaches, as many as there are where it reaches none."""
    if root or any(each.requires_grad for each in base.get_input_embeddings().parameters()):
        return 0
    trained = (any(each.requires_grad for each in layer.parameters()) for layer in layers)
    return next((number for number, each in enumerate(trained) if each), len(layers))


def _begins_behind(layer: nn.Module) -> bool:
    """Whether all that is trained in a layer stands at its end: bottleneck adapters of its MLP."""
    trained = [name for name, each in layer.named_parameters() if each.requires_grad]
    return bool(trained) and all("bottlenecks." in name and ".mlp." in name for name in trained)


def _kept_per_token(layer: nn.Module, size: int) -> int:
    """Bytes that autograd keeps of one token in one layer, which a gradient reaches."""
    total = 0
    inputs: dict[tuple[str, int], int] = {}
    modules = dict(layer.named_modules())
    for path, module in modules.items():
        if not hasattr(module, "in_features") or path.rpartition(".")[2] == "base_layer":
            continue
        if "lora_" in path or "ia3_l" in path:
            continue
        parent, _, name = path.rpartition(".")
        writes, wide, high = name in WRITERS, int(module.in_features), int(module.out_features)
        if not (writes and getattr(modules[parent], "LEAN", False)):  # Else what its input is made of is enough.
            total += size * (wide if writes else high)
        more, needs_input = _kept_by_adapter(module, size)
        total += more
        if needs_input and not (writes and "att" in parent):  # What attention gives is kept anyway.
            inputs[parent, -1 if writes else wide] = size * wide  # Layers side by side share their input.
    for name, parameter in layer.named_parameters():
        if parameter.dim() == 1 and name.endswith("norm.weight"):
            lean = getattr(modules[name.removesuffix(".weight")], "LEAN", False)
            # A norm computes in float32.
            total += (size if lean else 4 + size * parameter.requires_grad) * parameter.numel()
        elif parameter.dim() > 2:
            total += size * parameter.shape[0]  # Convolutions.
    total += sum(_kept_by_bottleneck(module, size) for module in modules.values())
    return total + sum(inputs.values())


def _kept_by_adapter(linear: Any, size: int) -> tuple[int, bool]:
    """Bytes a token that what is trained in a linear layer keeps, and whether it keeps the layer's input, too."""
    if loras := getattr(linear, "lora_A", None):
        dropout = next(iter(linear.lora_dropout.values()))
        rank = sum(each.out_features for each in loras.values())
        mask = linear.in_features if getattr(dropout, "p", 0.0) else 0
        lean = "forward" in vars(linear) and not getattr(linear, "lora_variant", None)
        if lean:
            return mask + size * rank, True
        # PEFT's way: the input in float32 after dropout, dropout's mask, the low values; under DoRA three outputs.
        variant = 3 * 4 * linear.out_features if getattr(linear, "lora_variant", None) else 0
        # A mask of torch's dropout takes four bytes on a CPU.
        mask *= 4 if next(linear.parameters()).device.type == "cpu" else 1
        return (4 * linear.in_features if mask else 0) + mask + 4 * rank + variant, not mask
    if getattr(linear, "ia3_l", None):
        return size * (linear.in_features if linear.is_feedforward else linear.out_features), False
    weight = getattr(linear, "weight", None)
    return 0, weight is not None and weight.requires_grad


def _kept_by_bottleneck(module: Any, size: int) -> int:
    """Bytes a token that a bottleneck adapter keeps: its input, and the narrow values before and after f."""
    down_WD = getattr(module, "down_WD", None)
    return 0 if down_WD is None else size * (down_WD.shape[1] + 2 * down_WD.shape[0])
