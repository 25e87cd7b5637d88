"""What a LoRA step has to compute: a closed formula from the model's matrices and the batch; and how fast this
machine multiplies matrices of those shapes.

Counted once is what no exact step can leave out: every distinct token of a batch whose examples share prefixes,
the head where a token is learnt, the last layer's queries, output projection and MLP where something is predicted
from (Yuan2 makes keys of its queries' projection, too: so all of that), no gradient of frozen weights, none of the
first layer's input. A product of [m, k] and [k, n] is 2·m·k·n operations.

Shapes: N distinct tokens, S of them needed, I inputs and O outputs of a matrix, R rank.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yuantune.batch.layout import lay_out
from yuantune.data.examples import Example
from yuantune.models.probe import decoder_layers

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_AFTER_ATTENTION = ("o_proj", "dense", "out_proj", "c_proj")
"""Names, within an attention block, of the matrix behind the attention."""
_REPEATS = 5
_MOST_TOKENS = 4096
"""A product of more rows runs no faster for it."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """A weight of a decoder layer. `attended`: it stands behind the attention; `asks`: it makes queries alone."""

    layer: int
    name: str
    inputs: int
    outputs: int
    attended: bool
    asks: bool


@dataclass(frozen=True, slots=True)
class Work:
    """What a batch asks for: distinct tokens, those that are predicted from, learnt ones, and pairs of a token and
    one that it attends to, itself too."""

    tokens: int
    needed: int
    learnt: int
    pairs: int


def work_of(examples: Sequence[Example]) -> Work:
    """The work of a batch, whose examples share what they can."""
    row = lay_out(examples, least=1)
    return Work(
        tokens=row["input_ids"].numel(),
        needed=len(set(row["position_S"].tolist())),
        learnt=len(row["label_S"]),
        pairs=int((row["position_ids"] + 1).sum()),
    )


def matrices(model: PreTrainedModel) -> list[Matrix]:
    """The matrices of the decoder layers, convolutions among them, of a model or a meta model."""
    found = []
    for at, layer in enumerate(decoder_layers(model) or ()):
        for path, parameter in layer.named_parameters():
            if parameter.dim() < 2 or "lora_" in path:
                continue
            name = next(part for part in reversed(path.split(".")) if part not in ("weight", "base_layer"))
            in_attention = "attn" in path or "attention" in path
            found.append(
                Matrix(
                    layer=at,
                    name=name,
                    inputs=parameter.numel() // parameter.shape[0],
                    outputs=parameter.shape[0],
                    attended=not in_attention or name in _AFTER_ATTENTION,
                    asks=name == "q_proj" and model.config.get_text_config().model_type != "yuan",
                )
            )
    return found


def required_flops(model: PreTrainedModel, work: Work, *, r: int, targets: Collection[str]) -> int:
    """Operations of forward and backward pass of one LoRA step."""
    config = model.config.get_text_config()
    layers = config.num_hidden_layers
    total = 0
    for matrix in matrices(model):
        tokens = work.needed if matrix.layer == layers - 1 and (matrix.attended or matrix.asks) else work.tokens
        passes = 1 if matrix.layer == 0 and not matrix.attended else 2  # Forward, and the input's gradient.
        total += 2 * passes * tokens * matrix.inputs * matrix.outputs
        if matrix.name in targets:
            # Forward A and B; backward both their gradients, what comes to A, and, with it, the input's.
            total += 2 * tokens * r * ((2 + (passes - 1)) * matrix.inputs + 3 * matrix.outputs)
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    total += int(3 * 4 * layers * work.pairs * heads * width)  # Scores and sums; each has two gradients.
    head = int(model.get_output_embeddings().weight.numel())
    return total + 2 * 2 * work.learnt * head


def product_rate(model: PreTrainedModel, tokens: int, dtype: torch.dtype, device: str = "cpu") -> float:
    """Operations per second of the step's own matrix products, forward and input gradient: each shape as fast as
    the best of a few times, all of them weighted as the model has them."""
    import torch

    tokens = min(tokens, _MOST_TOKENS)
    shapes = Counter((matrix.inputs, matrix.outputs) for matrix in matrices(model))
    operations, seconds = 0.0, 0.0
    for (inputs, outputs), count in shapes.items():
        x_NI, y_NO, weight_OI = (
            torch.randn(*size, dtype=dtype, device=device)
            for size in ((tokens, inputs), (tokens, outputs), (outputs, inputs))
        )
        for left, right in ((x_NI, weight_OI.T), (y_NO, weight_OI)):
            operations += count * 2.0 * tokens * inputs * outputs
            seconds += count * min(_seconds(left, right) for _ in range(_REPEATS))
    return operations / seconds


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    synchronize(left.device.type)
    started = time.perf_counter()
    _ = left @ right
    synchronize(left.device.type)
    return time.perf_counter() - started


def synchronize(device: str) -> None:
    """Wait for what a GPU was told to do; the CPU has done it."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize()
