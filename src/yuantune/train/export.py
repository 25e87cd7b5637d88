"""A trained run becomes a plain model folder: its adapter is put into the base's weights, and that is checked on
rows.

The merge is computed in float32 (of a float64 run, in float64). Before anything is written, logits of the merged
model are compared with those of base and adapter, at every token that an answer's tokens are predicted from; then
the folder is read back in the format that it was written in, and compared too.

Shapes: S compared tokens of a row, V vocabulary.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from yuantune.data.bound import BoundTemplate
from yuantune.data.record import Record
from yuantune.data.writing import obstacle, write_text
from yuantune.errors import ConfigError, RunError, WorkFailed
from yuantune.infer.extractor import Extractor
from yuantune.infer.opening import load
from yuantune.methods import METHODS
from yuantune.methods.card import Card, read_card
from yuantune.models.int8 import Int8Linear
from yuantune.models.load import load_model
from yuantune.models.placement import DTYPES, dtype_name
from yuantune.models.probe import ROUNDING, accepts, trial
from yuantune.models.quantization import integer_products
from yuantune.models.stored import widen
from yuantune.train.folder import failures
from yuantune.train.gguf.architecture import known
from yuantune.train.gguf.export import Exporter, Written
from yuantune.train.gguf.file import check_available

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REPORT_FILE = "merge.json"


@dataclass(frozen=True, slots=True)
class Difference:
    """How far logits are from those of base and adapter: the largest difference of one, the length of the
    difference over theirs, and the share of tokens of which the likeliest next one is the same."""

    largest: float
    relative: float
    same: float


@dataclass(frozen=True, slots=True)
class Export:
    """What a merge came to: `merged` as it was computed, `written` as the folder is read back in `dtype`, where
    there is one, `gguf` the GGUF file, and `gguf_written` as that is read back.

    Of a run over an int8 base (`quantization`) all are compared with the numbers that the weights stand for;
    `integer` then is how far the run itself is from `merged` where it answers by integer products here."""

    folder: Path
    dtype: str
    quantization: str
    rows: int
    tokens: int
    merged: Difference
    written: Difference | None
    gguf: Written | None = None
    gguf_written: Difference | None = None
    integer: Difference | None = None


def export_merged(
    run: Path,
    output: Path,
    records: Sequence[Record],
    *,
    dtype: str = "auto",
    model: str | None = None,
    device_map: str | None = None,
    gguf: str | None = None,
    plain: bool = True,
    on_tensor: Callable[[int, int], None] = lambda number, count: None,
) -> Export:
    """Write the model that a run has trained as a folder that plain transformers loads, with tokenizer and prompt.

    `records` are what logits are compared on; `dtype` is the format of its weights, auto that of the run's base.
    `gguf` names the format of a GGUF file beside them, or, without `plain`, in their place; `on_tensor` gets how
    many of its tensors are written. A base in fewer bits is made whole first: what was trained over stays. Raises
    RunError where the run's method or base cannot be merged or `output` cannot be made, ModelError where llama.cpp
    has no such model, WorkFailed where the merged model answers otherwise."""
    card = read_card(run)
    method = METHODS.get(card.method)
    _check(run, card, output, records, dtype, gguf)
    exact = "float64" if card.model["dtype"] == "float64" else "float32"
    # Integer products round what goes into a layer, which no plain folder does.
    extractor = load(run, model=model, device_map=device_map, dtype=exact, int8_products="dequantize", merge=False)
    assert method is not None and not isinstance(method.merge, str)  # `load` would have refused it.
    expected = _logits(extractor.model, extractor.template, records)
    by_integers = _by_integers(card, extractor, records)
    widen(extractor.model, getattr(torch, exact))
    whole = method.merge(extractor.model).eval()
    exporter = Exporter(whole, extractor.template, records, card, gguf, output) if gguf else None
    found = _logits(whole, extractor.template, records)
    merged = _difference(expected, found)
    # nan compares as false.
    if not merged.relative <= ROUNDING[getattr(torch, exact)]:
        raise WorkFailed(f"the merged model differs from base and adapter by {merged.relative:.2g} of its logits")
    if dtype == "auto":
        named = card.model["dtype"]
        dtype = dtype_name(named, card.base["name"], whole.device.type)
    beside = output.with_name(f".{output.name}.partial")
    with failures(run):
        shutil.rmtree(beside, ignore_errors=True)
        try:
            beside.mkdir(parents=True)
            made = None if exporter is None else exporter.write(beside, whole, run, on_tensor)
            written = gguf_written = None
            if plain:
                whole.to(getattr(torch, dtype)).save_pretrained(str(beside))
                extractor.template.tokenizer.save_pretrained(str(beside))
                _plain(card, dtype, output).save(beside)
                read_back = load_model(str(beside), dtype=dtype, device_map=str(whole.device))
                written = _difference(expected, _logits(read_back, extractor.template, records))
                del read_back
            if exporter is not None:
                # `whole`, its buffers too, may have been rounded to `dtype`.
                into = load_model(str(beside), dtype=exact, device_map=str(whole.device)) if plain else whole
                exporter.read_into(beside, into)
                gguf_written = _difference(expected, _logits(into, extractor.template, records))
                _check_read_back(gguf_written, gguf, exact)
            count = sum(len(each) for each in expected)
            integer = None if by_integers is None else _difference(by_integers, found)
            quantization = card.quantization
            export = Export(
                output, dtype, quantization, len(records), count, merged, written, made, gguf_written, integer
            )
            report = {**asdict(export), "folder": str(output), "run": str(run), "method": card.method}
            write_text(beside / REPORT_FILE, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
            if output.is_dir():  # It is empty.
                output.rmdir()
            os.rename(beside, output)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return export


def _by_integers(card: Card, extractor: Extractor, records: Sequence[Record]) -> list[Tensor] | None:
    """The logits of the run as it answers on this machine, where that is by integer products; else None."""
    layers = [layer for layer in extractor.model.modules() if isinstance(layer, Int8Linear)]
    device = str(extractor.model.device)
    # A GPU has no integer products of ours: it exports what a CPU has trained all the same.
    if (
        not layers
        or not device.startswith("cpu")
        or not integer_products(card.model.get("int8_products", "auto"), device)
    ):
        return None
    for layer in layers:
        layer.integer = True
    return _logits(extractor.model, extractor.template, records)


def _plain(card: Card, dtype: str, output: Path) -> Card:
    """The card of a model that needs no adapter: `yuantune generate` answers with the folder."""
    options = {**card.model, "name": str(output), "dtype": dtype, "quantization": "none"}
    return replace(card, method="full", options={}, model=options)


def _check_read_back(written: Difference, gguf: str | None, exact: str) -> None:
    """Raises WorkFailed where the GGUF file's weights are not the model's: all of them are there in f32, and in
    other formats each is a number."""
    allowed = max(ROUNDING[getattr(torch, exact)], ROUNDING[torch.float32]) if gguf == "f32" else float("inf")
    if not written.relative <= allowed:
        raise WorkFailed(f"the GGUF file's weights answer otherwise: by {written.relative:.2g} of the logits")


def _check(run: Path, card: Card, output: Path, records: Sequence[Record], dtype: str, gguf: str | None) -> None:
    """Raises what can be said before anything is loaded."""
    method = METHODS.get(card.method)
    if method is not None and isinstance(method.merge, str):
        raise RunError(
            f"{run} was trained by {card.method}, which cannot be merged: {method.merge}",
            hint=f"`yuantune generate {run}` answers with base and adapter",
        )
    if card.quantization == "nf4":
        raise RunError(
            f"{run} was trained over an NF4 base, which is not merged: adding to it would round it anew",
            hint=f"`yuantune generate {run}` answers with base and adapter",
        )
    if gguf is not None:
        check_available(gguf)
        known(str(card.base.get("architecture")), card.base["name"])
    if why := obstacle(output):
        raise RunError(f"the folder {output} cannot be made: {why}", hint="name another one: --output DIR")
    if output.exists() and any(output.iterdir()):
        raise RunError(f"{output} is already there", hint="name a new folder: --output DIR")
    if not records:
        raise RunError("there are no rows to compare logits on", hint="name some: --data FILE")
    if dtype not in ("auto", *DTYPES):
        raise ConfigError(f"--dtype {dtype}: one of auto, {', '.join(DTYPES)}")


def _logits(model: PreTrainedModel, template: BoundTemplate, records: Sequence[Record]) -> list[Tensor]:
    """[S, V] of each record, on the CPU: where its answer's tokens are predicted, or, without one, its first."""
    found = []
    with trial(model):
        for record in records:
            if record.has_answer:
                example = template.example(record)
                ids = list(example.ids)
                places = [at - 1 for at, learnt in enumerate(example.supervised) if learnt and at]
            else:
                ids = list(template.prompt(record).ids)
                places = [len(ids) - 1]
            input_ids, place_S = (torch.tensor(each, device=model.device) for each in ([ids], places))
            kept: dict[str, Any] = {"logits_to_keep": place_S} if accepts(model, "logits_to_keep") else {}
            logits_SV = model(input_ids=input_ids, use_cache=False, **kept).logits[0]
            found.append((logits_SV if kept else logits_SV[place_S]).cpu())
    return found


def _difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> Difference:
    pairs = [(one.double(), other.double()) for one, other in zip(expected, found, strict=True)]
    apart, length = (sum(float(each.square().sum()) for each in some) for some in zip(
        *((other - one, one) for one, other in pairs), strict=True
    ))  # fmt: skip
    same = torch.cat([one.argmax(-1) == other.argmax(-1) for one, other in pairs]).double().mean()
    largest = torch.stack([(other - one).abs().max() for one, other in pairs]).max()
    return Difference(float(largest), (apart / max(length, 1e-300)) ** 0.5, float(same))
