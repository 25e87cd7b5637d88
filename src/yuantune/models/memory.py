"""How much memory LoRA on a model needs: an estimate from its config, without weights and without a step.

Counts are exact (the model is built on torch's meta device, where a tensor has a shape and no memory). Activations
are what autograd keeps of one layer, added up from the layer's own modules; measured steps on Llama and Yuan2 came
within a tenth of it. What allocators and kernels take on top is not in it: leave a tenth to a quarter free.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WRITERS = ("o_proj", "down_proj", "c_proj", "out_proj", "dense", "dense_4h_to_h", "wo", "w2", "fc2")
"""Names of layers whose output is only added to the residual stream: autograd keeps their input instead."""
TRAINED_BYTES = 16
"""A trained float32 number: itself, its gradient, AdamW's two averages."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that one training step of LoRA holds at its peak, by what holds them."""

    weights: int
    adapter: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.adapter + self.activations + self.logits


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
    r: int = 8,
    targets: Collection[str] = TARGETS,
    checkpointing: bool = False,
    on_cpu: bool = False,
) -> Memory:
    """What LoRA on `model` (from `meta_model`, or a real one) needs to train `batch_size` rows of `length` tokens.

    The vocabulary is reached for the last `answer_length` tokens of each row. `checkpointing` keeps only each
    layer's input and computes the rest of one layer at a time once more. `on_cpu`: a dropout mask takes four bytes
    there, one on a GPU."""
    size, mask = dtype.itemsize, 4 if on_cpu else 1
    layers = _decoder_layers(model)
    kept = [_kept_per_token(layer, size, mask, r, targets) for layer in layers]
    inputs = size * model.get_input_embeddings().weight.shape[1]
    per_token = inputs * len(layers) + max(kept, default=0) if checkpointing else sum(kept)
    vocabulary = model.get_output_embeddings().weight.shape[0]
    # Logits as the head gives them, in float32, their log-softmax and its gradient.
    per_logit = size + 3 * 4
    return Memory(
        weights=_weight_bytes(model, size),
        adapter=TRAINED_BYTES * lora_parameters(model, r=r, targets=targets),
        activations=batch_size * length * per_token,
        logits=batch_size * answer_length * vocabulary * per_logit,
    )


def tokens_that_fit(
    model: PreTrainedModel, *, device: torch.device, full: bool, r: int = 8, checkpointing: bool = False
) -> int | None:
    """How many tokens of a training step half of the device's memory holds beside the weights of `model` and what
    is trained, at least one; None where the model's layers are not known. The same on a machine at any time."""
    one = estimate(
        model,
        dtype=model.dtype,
        batch_size=1,
        length=1,
        answer_length=0,
        r=r,
        checkpointing=checkpointing,
        on_cpu=device.type == "cpu",
    )
    if not one.activations:
        return None
    trained = TRAINED_BYTES * count_parameters(model) if full else one.weights + one.adapter
    return max((memory_of(device) // 2 - trained) // one.activations, 1)


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
    """Of the process and of its container, where there are any."""
    try:
        import resource
    except ImportError:  # Windows has none.
        return
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        if (soft := resource.getrlimit(kind)[0]) != resource.RLIM_INFINITY:
            yield soft
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            yield int(Path(path).read_text())
        except (OSError, ValueError):  # Another system, or no limit.
            continue


def _weight_bytes(model: nn.Module, size: int) -> int:
    """Of the weights, floating-point ones in a format of `size` bytes a number, int8 ones as they are."""
    return sum(
        each.numel() * (size if each.is_floating_point() else each.element_size()) for each in model.parameters()
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


def _kept_per_token(layer: nn.Module, size: int, mask: int, r: int, targets: Collection[str]) -> int:
    """Bytes that autograd keeps of one token in one layer whose own weights are frozen."""
    total = 0
    for name, linear in _linear(layer, ()):
        total += size * (linear.in_features if name in WRITERS else linear.out_features)
        if name in targets:  # The adapter's input after dropout in float32, dropout's mask, the low-rank values.
            total += (4 + mask) * linear.in_features + 4 * r
    for name, parameter in layer.named_parameters():
        if parameter.dim() == 1 and name.endswith("norm.weight"):
            total += 4 * parameter.numel()  # A norm computes in float32.
        elif parameter.dim() > 2:
            total += size * parameter.shape[0]  # Convolutions.
    return total
