"""The GGUF file itself: written tensor by tensor, and read back into the model that it came from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from yuantune.errors import ConfigError, ModelError, WorkFailed
from yuantune.train.gguf.architecture import Layout
from yuantune.train.gguf.tokenizer import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GGUF_FILE = "model.gguf"
TYPES = ("f32", "f16", "bf16", "q8_0")
"""Formats of the weights, as llama.cpp calls them."""

_FACTORS = "rope_freqs.weight"
_MARGIN = 2**20
"""Bytes for all that is not weights, beside the vocabulary."""


def check_available(quantize: str) -> None:
    """Raises ConfigError where the format is none, or the package that writes it is not installed."""
    if quantize not in TYPES:
        raise ConfigError(f"--quantize {quantize}: one of {', '.join(TYPES)}")
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"--gguf needs the package gguf ({error})", hint="pip install gguf, or: pip install 'yuantune[gguf]'"
        ) from None


@dataclass(frozen=True, slots=True)
class Plan:
    """A weight on its way into the file: its name there and in the model, its type and its bytes."""

    name: str
    source: str
    shape: tuple[int, ...]
    type: Any
    bytes: int


def plan(model: PreTrainedModel, layout: Layout, quantize: str) -> list[Plan]:
    """The weights of the file in their order.

    Vectors (norms and biases) stay in float32, as llama.cpp reads them; rows that q8_0's blocks of 32 do not divide
    are written in f16."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    asked = GGMLQuantizationType[quantize.upper()]
    found = []
    weights = model.state_dict()
    for name, source in layout.names(model):
        shape = tuple(weights[source].shape)
        kind = GGMLQuantizationType.F32 if len(shape) < 2 else asked
        if shape[-1] % GGML_QUANT_SIZES[kind][0]:
            kind = GGMLQuantizationType.F16
        block, size = GGML_QUANT_SIZES[kind]
        found.append(Plan(name, source, shape, kind, weights[source].numel() // block * size))
    return found


def check_room(folder: Path, plans: list[Plan], vocabulary: Vocabulary) -> None:
    """Raises WorkFailed where the disk that `folder` is or will be on has no room for the file."""
    text = sum(len(each.encode()) + 16 for each in (*vocabulary.tokens, *vocabulary.merges))
    needed = sum(each.bytes for each in plans) + text + _MARGIN
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise WorkFailed(
            f"not enough disk space for {folder / GGUF_FILE}: {free / 2**20:,.1f} MiB are free, "
            f"{needed / 2**20:,.1f} MiB are needed",
            hint="free some, name another place (--output DIR), or a smaller format (--quantize q8_0)",
        )


def write(
    path: Path,
    model: PreTrainedModel,
    layout: Layout,
    vocabulary: Vocabulary,
    plans: list[Plan],
    quantize: str,
    name: str,
    *,
    on_tensor: Callable[[int], None] = lambda number: None,
) -> None:
    """Write the file, one tensor in memory at a time. `on_tensor` gets the number of those that are written.

    Raises OSError where the disk refuses, ModelError where a weight does not fit the format."""
    import gguf

    writer = gguf.GGUFWriter(path, layout.architecture.name)
    try:
        writer.add_type("model")
        writer.add_name(name)
        writer.add_file_type(gguf.LlamaFileType[f"{'ALL' if quantize == 'f32' else 'MOSTLY'}_{quantize.upper()}"])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        for key, figure in layout.metadata.items():
            (writer.add_uint32 if isinstance(figure, int) else writer.add_float32)(key, figure)
        vocabulary.describe(writer)
        f32 = gguf.GGMLQuantizationType.F32
        for each in plans:
            writer.add_tensor_info(each.name, each.shape, _no_dtype(), each.bytes, raw_dtype=each.type)
        if layout.factors is not None:
            factors = layout.factors.numpy()
            writer.add_tensor_info(_FACTORS, factors.shape, _no_dtype(), factors.nbytes, raw_dtype=f32)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        weights = model.state_dict()
        for number, each in enumerate(plans, 1):
            value = layout.to_file(each.source, weights[each.source])
            _check_range(each, value)
            writer.write_tensor_data(gguf.quantize(value.contiguous().numpy(), each.type))
            on_tensor(number)
        if layout.factors is not None:
            writer.write_tensor_data(factors)
        writer.flush()
    finally:
        writer.close()


def read_into(path: Path, model: PreTrainedModel, layout: Layout) -> None:
    """Put the file's weights, as they are computed with, into `model`, whose own are overwritten.

    Raises WorkFailed where the file does not hold all of them."""
    import gguf

    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    weights = model.state_dict()
    for name, source in layout.names(model):
        if name not in stored:
            raise WorkFailed(f"{path} lacks {name}, which has just been written")
        tensor = stored[name]
        value = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).copy())
        with torch.no_grad():
            weights[source].copy_(layout.from_file(source, value.reshape(weights[source].shape)))


def _no_dtype() -> Any:
    """What stands for numpy's dtype where the file's own type is named: the writer looks at it for bytes only."""
    import numpy

    return numpy.dtype(numpy.float32)


def _check_range(each: Plan, value: torch.Tensor) -> None:
    if each.type.name != "F16" or not value.numel():
        return
    largest = float(value.abs().max())
    if largest > torch.finfo(torch.float16).max:
        raise ModelError(
            f"{each.source} has a weight of {largest:.3g}, more than float16 holds",
            hint="write --quantize bf16 or f32",
        )
