"""The bench: its formula against counted operations, its recipes on a tiny model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tests.test_batch_layout import example
from tests.test_models_grouped import TOKENS, typical
from yuantune.batch.layout import lay_out
from yuantune.cli import bench as cli_bench
from yuantune.errors import UserError, WorkFailed
from yuantune.methods.lean import make_lean
from yuantune.models import placement
from yuantune.models.loss import supervised_loss
from yuantune.models.stored import replaceable
from yuantune.models.yuan2.config import YuanConfig
from yuantune.models.yuan2.model import YuanForCausalLM
from yuantune.study import base, bench, curve, extract, subjects
from yuantune.study.bench import Line, bench_train
from yuantune.study.emulated import PRODUCTS, Emulated
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


def test_steps_that_do_not_count(yuan_folder: Path) -> None:
    job = Job("yuantune", str(yuan_folder), None, str(SAMPLE / "test.jsonl"), "resume-ner", "float32", 3, 4)
    one, two = (measure(dataclasses.replace(job, warm_up=warm_up)) for warm_up in (1, 2))
    assert (one["steps"], one["examples"], two["steps"], two["examples"]) == (2, 8, 1, 4)


def test_ratios_are_taken_round_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([4.0, 1.0, 8.0, 2.0, 6.0, 2.0])
    figures = {"steps": 2, "examples": 8, "tokens": 100, "peak_rss": 2**30, "required_flops": 6 * 10**9}

    def process(module: str, job: str) -> dict[str, Any]:
        told = json.loads(job)
        assert (told["steps"], told["warm_up"]) == (5, 3)
        return {**figures, "seconds": (took := next(seconds)), "product_rate": 1e9 / took}

    monkeypatch.setattr(bench, "in_process", process)
    options = {"steps": 2, "warm_up": 3, "batch_size": 4, "dtype": "float32", "template": "resume-ner"}
    data = str(SAMPLE / "test.jsonl")
    slow, fast = bench_train("yuan2-mini", data, recipes=["tutorial", "yuantune"], rounds=3, **options)
    assert (slow.ratio, fast.ratio) == (1.0, 4.0)
    assert slow.examples_per_second == pytest.approx(8 / 6) and fast.seconds_per_step == 1.0
    assert (fast.tokens_computed, fast.required_flops, fast.achieved_flops_per_second) == (50, 3 * 10**9, 3e9)
    assert slow.gemm_flops_per_second == fast.gemm_flops_per_second == 1e9
    with pytest.raises(UserError, match="before those that count"):
        bench_train("yuan2-mini", data, recipes=["tutorial"], rounds=1, **{**options, "warm_up": 0})


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL, most likely out of memory"),
        ("os.abort()", "killed by SIGABRT"),
        ("sys.exit('no room')", "no room"),
        ("os._exit(3)", "a warning"),
    ],
)
def test_why_a_process_failed(code: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill is told as that, whatever the process wrote before it."""
    (tmp_path / "failing.py").write_text(
        f"import os, sys\nprint('a warning', file=sys.stderr, flush=True)\n{code}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert bench.in_process("failing", "{}") == {"error": error}


def test_lines_fit_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_bench.out, "_width", 80)
    figures = (0.5, 292.241, 15_290, 19 * 2**30, 8 * 10**12, 27.4 * 10**9, 177 * 10**9)
    cli_bench._print([Line(name, "yuan2-2b", "float32", *figures) for name in RECIPES], "title")
    printed = capsys.readouterr().out
    assert all(f" {name} " in printed for name in RECIPES) and "…" not in printed
    assert printed.count("292.241") == printed.count("15,290") == len(RECIPES)


def test_a_failure_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "in_process", lambda module, job: {"error": "killed by signal 9"})
    options = {"steps": 2, "warm_up": 3, "batch_size": 4, "dtype": "float32", "template": "resume-ner"}
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
    """In float32 little but the rounding of the last bits is left, so any run is as near as another."""
    monkeypatch.setattr(curve, "in_process", lambda module, words: curve.main(json.loads(words)))
    options = {"steps": 4, "batch_size": 3, "template": "resume-ner", "learning_rate": 1e-2}
    data = str(SAMPLE / "train.jsonl")
    found = curve.bench_curve(str(yuan_folder), data, dtype="float32", orders=2, **options)
    assert [len(each) for each in (*found.padded, *found.yuantune, found.exact)] == [4] * 5
    assert found.exact[-1] < found.exact[0] and not found.emulated
    assert found.padded[0] != found.padded[1]  # The orders are computed.
    assert max(found.spread_most, found.distance_most, found.padded_error, found.error) < 1e-4
    with pytest.raises(UserError, match="no wider format"):
        curve.bench_curve(str(yuan_folder), data, dtype="float64", **options)
    with pytest.raises(UserError, match="one order"):
        curve.bench_curve(str(yuan_folder), data, dtype="float32", orders=1, **options)


def test_how_far_runs_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against medians taken by hand, of three orders."""
    padded, ours = ([[1.0, 2.0], [1.0, 4.0], [1.0, 8.0]], [[1.0, 3.0], [1.0, 3.0], [1.0, 7.0]])

    def process(module: str, words: str) -> dict[str, Any]:
        told = json.loads(words)
        assert told["job"]["dtype"] == "bfloat16"  # The weights of all.
        if told["computed"] == "float32":
            return {"losses": [1.0, 2.0], "emulated": False}
        of = ours if told["job"]["recipe"] == "yuantune" else padded
        return {"losses": of[told["order"]], "emulated": True}

    monkeypatch.setattr(curve, "in_process", process)
    options = {"steps": 2, "batch_size": 2, "dtype": "bfloat16", "template": "resume-ner"}
    data = str(SAMPLE / "train.jsonl")
    found = curve.bench_curve("yuan2-mini", data, orders=3, **options)
    root = 2**0.5
    assert [found.spread, found.spread_most] == pytest.approx([4 / root, 6 / root])  # 2 4 6
    assert [found.distance, found.distance_most] == pytest.approx([1 / root, 5 / root])  # 1 1 5, 1 1 3, 5 5 1
    assert [found.own_spread, found.padded_error, found.error] == pytest.approx([4 / root, 2 / root, 1 / root])
    assert found.emulated and found.wider == "float32"
    monkeypatch.setattr(curve, "in_process", lambda module, words: {"error": "killed by signal 9"})
    with pytest.raises(WorkFailed, match="no-checkpointing, bfloat16, order 1 of 3: killed"):
        curve.bench_curve("yuan2-mini", data, orders=3, **options)


def test_every_order_has_the_same_batches() -> None:
    one, other = (curve._rows(7, 5, 3, order) for order in (0, 1))
    batches = [(one[at : at + 3], other[at : at + 3]) for at in range(0, 15, 3)]
    assert all(sorted(first) == sorted(second) for first, second in batches) and one != other
    assert len(one) == 15 and len(set(one[:6])) == 6  # No row twice in an epoch.


class Seen(TorchDispatchMode):
    """Formats of the products that reach the processor."""

    def __init__(self) -> None:
        super().__init__()
        self.formats: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in PRODUCTS:
            self.formats.append(args[1].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_emulated_products_are_summed_wide_and_rounded_once(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    left, right, more = torch.randn(3, 5, 40), torch.randn(3, 40, 7), torch.randn(3, 5, 7)
    left, right, more = (each.to(dtype) for each in (left, right, more))
    one, two, three = left[0], right[0], more[0]
    with Seen() as seen, Emulated():
        made = [
            one @ two,
            torch.addmm(three, one, two, alpha=2),
            three.clone().addmm_(one, two, beta=3, alpha=2),
            torch.mm(one, two, out=torch.empty_like(three)),
            torch.addmm(three, one, two, out=torch.empty_like(three)),
            left @ right,
            torch.baddbmm(more, left, right, beta=2),
            more.clone().baddbmm_(left, right, alpha=2),
        ]
    assert seen.formats == [torch.float32 if dtype == torch.bfloat16 else dtype] * 8
    wide, sums = one.double() @ two.double(), left.double() @ right.double()
    expected = [wide, three + 2 * wide, 3 * three.double() + 2 * wide, wide, three + wide]
    expected += [sums, 2 * more.double() + sums, more + 2 * sums]
    for each, other in zip(made, expected, strict=True):
        assert each.dtype == dtype
        assert ((each.double() - other).abs() <= 1.01 * torch.finfo(dtype).eps / 2 * other.abs() + 1e-5).all()


def test_a_run_in_bfloat16_is_emulated_forward_and_backward(
    yuan_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "computes_bfloat16", lambda device: False)
    job = Job("yuantune", str(yuan_folder), None, str(SAMPLE / "train.jsonl"), "resume-ner", "bfloat16", 1, 3)
    with Seen() as seen:
        found = curve.main({"job": dataclasses.asdict(job), "computed": "bfloat16", "order": 0, "learning_rate": 0})
    assert found["emulated"] and len(found["losses"]) == 1
    assert seen.formats and set(seen.formats) == {torch.float32}


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
