"""`yuantune bench base`: what a base of fewer bits costs and saves, beside the same model in full.

Time and memory are those of training steps, each base in a process of its own, in turn; what loading takes at its
peak, of a process that does nothing else. Exactness is the first batch's loss, and the gradient of every adapter at
its start, where B is zero: then all of it is B's. A process is `python -m yuantune.study.base TASK` with its job.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from yuantune.errors import UserError, WorkFailed
from yuantune.method_config import LoraSection
from yuantune.study.bench import check_rows, in_process
from yuantune.study.recipes import WARM_UP, Job, examples_of, measure, peak_bytes
from yuantune.study.subjects import SHAPES, model_of, tokenizer_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Base:
    """One base's figures, medians over rounds: bytes of its weights and scales, what loading added to the process
    at its peak, the peak of a training process, and seconds of a step."""

    weight_bytes: int
    load_peak_bytes: int
    peak_rss_bytes: int
    seconds_per_step: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Both bases, and how far they are apart: the loss per supervised token of each, and the cosines of the
    adapters' gradients, the median of all and the least, with its layer. `ratio` is the narrow base's time of a
    step over the full one's, the median of the rounds."""

    model: str
    dtype: str
    quantization: str
    products: str
    rows: int
    full: Base
    narrow: Base
    ratio: float
    loss: float
    narrow_loss: float
    cosine_median: float
    cosine_least: float
    least_layer: str


def bench_base(
    model: str,
    data: str,
    *,
    steps: int,
    rounds: int,
    batch_size: int,
    dtype: str,
    template: str,
    tokenizer: str | None = None,
    quantization: str = "int8",
    products: str = "auto",
    note: Callable[[str], None] = lambda text: None,
) -> Costs:
    """Measure `quantization` (int8, bf16). A shape (`yuantune.study.subjects`) is written into a temporary folder
    first, and loaded as any model is. Raises UserError for another one or fewer rows than a batch, WorkFailed where
    a process fails."""
    from yuantune.models.placement import dtype_name
    from yuantune.models.quantization import integer_products

    if quantization not in ("int8", "bf16"):
        raise UserError(f"unknown quantization {quantization}", hint="int8, bf16")
    dtype = dtype_name(dtype, model, "cpu")
    if quantization == "bf16" and dtype not in ("float32", "float64"):
        raise UserError(
            f"bfloat16 weights are compared with {dtype} ones: nothing to see", hint="say --dtype float32"
        )
    products = "integer" if quantization == "int8" and integer_products(products, "cpu") else "dequantize"
    check_rows(model, tokenizer, data, template, batch_size)
    with tempfile.TemporaryDirectory() as scratch:
        place = model
        if model in SHAPES:
            note(f"{model}: writing its weights")
            place = str(Path(scratch) / model)
            written = "bfloat16" if quantization == "bf16" else dtype
            _done("write", {"model": model, "tokenizer": tokenizer, "dtype": written, "folder": place})
        bases = ("none", quantization)
        job = Job("yuantune", place, None, data, template, dtype, steps + WARM_UP, batch_size, products=products)
        jobs = {base: asdict(replace(job, quantization=base)) for base in bases}
        loads: dict[str, list[dict[str, Any]]] = {base: [] for base in bases}
        runs: dict[str, list[dict[str, Any]]] = {base: [] for base in bases}
        for turn in range(rounds):
            for base in bases:
                note(f"{model}, round {turn + 1}/{rounds}: {'full' if base == 'none' else base}")
                loads[base].append(_done("load", jobs[base]))
                runs[base].append(_done("train", jobs[base]))
        note(f"{model}: loss and gradients")
        apart = _done("compare", jobs[quantization])
    full, narrow = (_base(loads[base], runs[base]) for base in bases)
    pairs = [one["seconds"] / other["seconds"] for one, other in zip(runs[quantization], runs["none"], strict=True)]
    return Costs(model, dtype, quantization, products, batch_size, full, narrow, median(pairs), **apart)


def _done(task: str, words: dict[str, Any]) -> dict[str, Any]:
    found = in_process("yuantune.study.base", json.dumps({"task": task, "job": words}))
    if "error" in found:
        raise WorkFailed(f"{task}: {found['error']}")
    return found


def _base(loads: list[dict[str, Any]], runs: list[dict[str, Any]]) -> Base:
    return Base(
        weight_bytes=loads[0]["weights"],
        load_peak_bytes=int(median(each["peak"] for each in loads)),
        peak_rss_bytes=int(median(each["peak_rss"] for each in runs)),
        seconds_per_step=median(each["seconds"] / each["steps"] for each in runs),
    )


# ---------------------------------------------------------------------------------------------------- one process


def main(words: dict[str, Any]) -> dict[str, Any]:
    """One task's figures, as JSON has them."""
    task, job = words["task"], words["job"]
    if task == "write":
        return _write(**job)
    return {"load": _load, "train": measure, "compare": _compare}[task](Job(**job))


def _write(model: str, tokenizer: str | None, dtype: str, folder: str) -> dict[str, Any]:
    words = tokenizer_of(model, tokenizer)
    model_of(model, words, dtype, "cpu").save_pretrained(folder)
    words.save_pretrained(folder)
    return {}


def _load(job: Job) -> dict[str, Any]:
    """The weights' bytes, and what the process's memory rose by at its peak while they were read. (A file in the
    format that is computed in is mapped, and counts for nothing before it is used.)"""
    tokenizer = tokenizer_of(job.model, job.tokenizer)
    import transformers.integrations.peft  # noqa: F401 - what loading imports is not the model's

    before = peak_bytes()
    model = _model(job, tokenizer)
    peak = peak_bytes()
    tensors = {each.data_ptr(): each.nbytes for each in (*model.parameters(), *model.buffers())}
    return {"weights": sum(tensors.values()), "peak": peak - before}


def _compare(job: Job) -> dict[str, Any]:
    """The fields of `Costs` that say how far the bases are apart, on the first batch of the data."""
    import torch

    words = asdict(job)
    full, narrow = (_gradients(Job(**{**words, "quantization": base})) for base in ("none", job.quantization))
    cosines = {
        name: float(torch.nn.functional.cosine_similarity(one.flatten(), narrow[1][name].flatten(), dim=0))
        for name, one in full[1].items()
        if bool(one.any())  # The last layers' unneeded parts have none.
    }
    least = min(cosines, key=cosines.__getitem__)
    return {
        "loss": full[0],
        "narrow_loss": narrow[0],
        "cosine_median": median(cosines.values()),
        "cosine_least": cosines[least],
        "least_layer": least,
    }


def _gradients(job: Job) -> tuple[float, dict[str, Any]]:
    """The loss per supervised token, and the gradient of each adapter's B by its layer, without dropout."""
    from transformers import set_seed

    from yuantune.methods import lora
    from yuantune.models.loss import supervised_loss
    from yuantune.train.grouping import choose_collator
    from yuantune.train.step import computing

    tokenizer = tokenizer_of(job.model, job.tokenizer)
    examples = examples_of(job.model, job.tokenizer, job.data, job.template)
    base = _model(job, tokenizer)
    set_seed(0)
    model = lora.apply(base, LoraSection(lora_dropout=0.0).dump())
    collator, _ = choose_collator(model, [examples], how="auto", pad_id=tokenizer.pad_token_id)
    batch = collator([examples[at] for at in range(job.batch_size)])
    model.train()
    with computing(model, batch):
        loss = supervised_loss(model, **batch) / batch["weight_S"].sum()
        loss.backward()
    gradients = {
        name.split(".lora_B")[0].rpartition("layers.")[2]: parameter.grad.double()
        for name, parameter in model.named_parameters()
        if "lora_B" in name and parameter.grad is not None
    }
    return float(loss.detach()), gradients


def _model(job: Job, tokenizer: Any) -> PreTrainedModel:
    return model_of(job.model, tokenizer, job.dtype, job.device, job.quantization, job.products)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))) + "\n")
