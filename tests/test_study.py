"""The bench: its formula against counted operations, its recipes on a tiny model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tests.test_batch_layout import example
from tests.test_models_grouped import TOKENS, typical
from yuantune.batch.layout import lay_out
from yuantune.errors import UserError
from yuantune.methods.lean import make_lean
from yuantune.models.loss import supervised_loss
from yuantune.models.stored import replaceable
from yuantune.models.yuan2.config import YuanConfig
from yuantune.models.yuan2.model import YuanForCausalLM
from yuantune.study import base, bench, curve, extract, subjects
from yuantune.study.bench import bench_train
from yuantune.study.flops import matrices, product_rate, required_flops, work_of
from yuantune.study.picture import Bar, draw
from yuantune.study.recipes import RECIPES, TRL, Job, measure
from yuantune.study.subjects import model_of
from yuantune.train.quickstart import SAMPLE
from yuantune.train.step import computing

SHAPE = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 3}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, num_attention_heads=2, num_key_value_heads=1)),
    "yuan": lambda: YuanForCausalLM(YuanConfig(**SHAPE, num_attention_heads=2, **TOKENS)),
}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def added_product(_: Any, left: list[int], right: list[int], **kwargs: Any) -> int:
    """torch's counter knows of `addmm`, not of the one in place."""
    return 2 * left[0] * left[1] * right[1]


def counted(model: PreTrainedModel, batch: Any) -> int:
    """Operations of torch's products in one step, attention aside, which counts masked pairs too."""
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=TARGETS))
    make_lean(tuned)
    tuned.train()
    with computing(tuned, batch):
        supervised_loss(tuned, **batch)  # Trials come before the first step.
    with (
        FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: added_product}) as counter,
        computing(tuned, batch),
    ):
        supervised_loss(tuned, **batch).backward()
    counts = counter.get_flop_counts()["Global"]
    return sum(count for name, count in counts.items() if "attention" not in str(name))


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_our_own_step_computes_what_is_required(kind: str) -> None:
    model = MODELS[kind]()
    examples = typical(6)
    work = dataclasses.replace(work_of(examples), pairs=0)
    required = required_flops(model, work, r=4, targets=TARGETS)
    assert counted(model, lay_out(examples)) == required


def test_the_work_of_a_batch() -> None:
    rows = [example([1, 2, 3, 4, 5], 3), example([1, 2, 3, 6], 3)]
    work = work_of(rows)
    assert (work.tokens, work.needed, work.learnt) == (6, 2, 3)  # 1 2 3, 4 5, 6; the 3 predicts 4 and 6.
    assert work.pairs == 1 + 2 + 3 + 4 + 5 + 4


def test_matrices_do_not_change_under_lora() -> None:
    model = MODELS["yuan"]()
    before = matrices(model)
    assert {matrix.name for matrix in before} == {*TARGETS, "conv1", "conv2"}
    get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=TARGETS))
    assert matrices(model) == before
    assert product_rate(model, 20, torch.float32) > 0


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_a_recipe(recipe: str, yuan_folder: Path) -> None:
    if recipe in TRL:
        pytest.importorskip("trl")
    job = Job(recipe, str(yuan_folder), None, str(SAMPLE / "test.jsonl"), "resume-ner", "float32", 3, 4)
    found = measure(job)
    assert (found["steps"], found["examples"]) == (1, 4)
    assert found["required_flops"] > 0 and found["seconds"] > 0
    shared = measure(dataclasses.replace(job, recipe="yuantune"))
    assert found["required_flops"] == shared["required_flops"]  # The same rows, in the same order.
    assert found["tokens"] == shared["tokens"] or (found["tokens"] > shared["tokens"] and recipe != "yuantune")


def test_ratios_are_taken_round_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([4.0, 1.0, 8.0, 2.0, 6.0, 2.0])
    figures = {"steps": 2, "examples": 8, "tokens": 100, "peak_rss": 2**30, "required_flops": 6 * 10**9}

    def process(module: str, job: str) -> dict[str, Any]:
        return {**figures, "seconds": (took := next(seconds)), "product_rate": 1e9 / took}

    monkeypatch.setattr(bench, "in_process", process)
    options = {"steps": 2, "batch_size": 4, "dtype": "float32", "template": "resume-ner"}
    data = str(SAMPLE / "test.jsonl")
    slow, fast = bench_train("yuan2-mini", data, recipes=["tutorial", "yuantune"], rounds=3, **options)
    assert (slow.ratio, fast.ratio) == (1.0, 4.0)
    assert slow.examples_per_second == pytest.approx(8 / 6) and fast.seconds_per_step == 1.0
    assert (fast.tokens_computed, fast.required_flops, fast.achieved_flops_per_second) == (50, 3 * 10**9, 3e9)
    assert slow.gemm_flops_per_second == fast.gemm_flops_per_second == 1e9


def test_a_failure_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "in_process", lambda module, job: {"error": "killed by signal 9"})
    options = {"steps": 2, "batch_size": 4, "dtype": "float32", "template": "resume-ner"}
    (line,) = bench_train("yuan2-mini", str(SAMPLE / "test.jsonl"), recipes=["tutorial"], rounds=1, **options)
    assert line.error == "killed by signal 9" and not line.examples_per_second


TINY = {
    "model_type": "yuan",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def test_engines_with_random_weights_write_the_gold_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as each may: both forms are canonical, so all of them."""
    monkeypatch.setitem(subjects.SHAPES, "tiny", TINY)
    monkeypatch.setattr(subjects, "POSITIONS", 1024)
    for engine in extract.ENGINES:
        job = extract.Job(
            engine, "tiny", "yuan2-mini", str(SAMPLE / "test.jsonl"), "resume-ner", "float32", 6, 4, 256
        )
        found = extract.measure(job)
        assert (found["rows"], found["f1"], found["valid"], found["grounded"]) == (6, 1.0, 1.0, 1.0)
        assert found["seconds"] > 0 and found["peak_extra_bytes"] >= 0


def test_each_engine_at_its_best_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {("generate", 2): 4.0, ("generate", 8): 3.0, ("held", 2): 1.0, ("held", 8): 2.0}
    shares = dict.fromkeys(("f1", "valid", "schema", "grounded"), 1.0)

    def process(module: str, job: str) -> dict[str, Any]:
        told = json.loads(job)
        took = seconds[told["engine"], told["batch_size"]]
        return {"rows": 6, "seconds": took, "peak_extra_bytes": 5, **shares}

    monkeypatch.setattr(extract, "in_process", process)
    options = {"engines": ["generate", "held"], "rows": 6, "rounds": 2, "batch_sizes": [2, 8]}
    slow, fast = extract.bench_extract("run", str(SAMPLE / "test.jsonl"), **options)
    assert (slow.batch_size, slow.rows_per_second, slow.ratio) == (8, 2.0, 1.0)
    assert (fast.batch_size, fast.rows_per_second, fast.ratio) == (2, 6.0, 3.0)
    with pytest.raises(UserError, match="did you mean"):
        extract.bench_extract("run", str(SAMPLE / "test.jsonl"), **{**options, "engines": ["hold"]})
    monkeypatch.setattr(extract, "in_process", lambda module, job: {"error": "killed by signal 9"})
    assert extract.bench_extract("run", str(SAMPLE / "test.jsonl"), **options)[0].error == "killed by signal 9"


def test_a_bench_is_drawn(tmp_path: Path) -> None:
    bars = [
        Bar("tutorial", "a", 1.0, 1.0, 2**30),
        Bar("yuantune", "a", 6.0, 6.0, 2**29),
        Bar("trl", "b", 0, 0, 0, "!"),
    ]
    draw(bars, tmp_path / "bench.png", unit="examples/s", memory="peak memory")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_the_losses_of_a_run_are_the_padded_recipes(yuan_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64 nothing but the rounding of the last bits is left, so any run is as near as another."""
    monkeypatch.setattr(curve, "in_process", lambda module, words: curve.main(json.loads(words)))
    found = curve.bench_curve(
        str(yuan_folder),
        str(SAMPLE / "train.jsonl"),
        steps=4,
        batch_size=3,
        dtype="float64",
        template="resume-ner",
        learning_rate=1e-2,
    )
    assert len(found.padded) == 4 and found.padded[-1] < found.padded[0]
    assert found.spread < 1e-6 and found.distance < 1e-6


def test_reordered_batches_hold_the_same_rows() -> None:
    plain, turned = (curve._order(7, 5, 3, reordered=how) for how in (False, True))
    batches = [(plain[at : at + 3], turned[at : at + 3]) for at in range(0, 15, 3)]
    assert all(one == other[::-1] for one, other in batches)
    assert sorted(plain[:7]) == list(range(7))


@pytest.mark.parametrize(("quantization", "bytes_saved", "bytes_more"), [("int8", 3, 4), ("bf16", 2, 0)])
def test_what_fewer_bits_save_and_cost(
    quantization: str, bytes_saved: int, bytes_more: int, yuan_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        base, "in_process", lambda module, words: json.loads(json.dumps(base.main(json.loads(words))))
    )
    found = base.bench_base(
        str(yuan_folder),
        str(SAMPLE / "train.jsonl"),
        steps=1,
        rounds=1,
        batch_size=2,
        dtype="float32",
        template="resume-ner",
        quantization=quantization,
        products="dequantize",
    )
    model = model_of(str(yuan_folder), None, "float32", "cpu")
    inside = sum(layer.weight.numel() for layer in replaceable(model).values())
    rows = sum(layer.out_features for layer in replaceable(model).values())
    assert found.full.weight_bytes - found.narrow.weight_bytes == bytes_saved * inside - bytes_more * rows
    assert found.full.seconds_per_step > 0 and found.ratio > 0
    assert 0 < abs(found.loss - found.narrow_loss) < 1e-2 * found.loss
    assert 0.9 < found.cosine_least <= found.cosine_median < 1 and "proj" in found.least_layer


def test_it_needs_a_batch_of_rows(yuan_folder: Path, rows_file: Path) -> None:
    with pytest.raises(UserError, match="has 6 rows, fewer than a batch of 7"):
        base.bench_base(
            str(yuan_folder), str(rows_file), steps=1, rounds=1, batch_size=7, dtype="auto", template="resume-ner"
        )
