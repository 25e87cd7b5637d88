"""A pretraining run: it learns, resumes bit for bit from anywhere, and leaves a model that works everywhere."""

from __future__ import annotations

import hashlib
import io
import json
import math
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from tests.conftest import ROWS
from yuantune.config import Config
from yuantune.errors import ConfigError, DataError, Interrupted, ModelError, RunError, WorkFailed
from yuantune.models.load import load_model, load_tokenizer
from yuantune.pretrain_config import PretrainConfig
from yuantune.train.pretrain import pretrain
from yuantune.train.run import fine_tune

QUIET = Console(quiet=True)
TINY = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
MAMBA = {"model_type": "mamba", "hidden_size": 16, "num_hidden_layers": 1}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, instruction rows, and a text held out."""
    home = tmp_path_factory.mktemp("sources")
    lines = [f"{text}第{i}号文件。" for i in range(8) for text, _ in ROWS]
    (home / "text.txt").write_text("\n".join(lines), "utf-8")
    (home / "held.txt").write_text("\n".join(text for text, _ in ROWS), "utf-8")
    rows = [{"input": text, "output": json.dumps(labels, ensure_ascii=False)} for text, labels in ROWS]
    (home / "rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return home


def config(sources: Path, out: Path, **changes: Any) -> PretrainConfig:
    tree: dict[str, Any] = {
        "output_dir": str(out),
        "model": {"config": TINY, "tokenizer": "yuan2-mini", "device_map": "cpu"},
        "data": {
            "train": [{"path": str(sources / "text.txt"), "weight": 2}, {"path": str(sources / "rows.jsonl")}],
            "eval": [str(sources / "held.txt"), str(sources / "rows.jsonl")],
            "sequence_length": 64,
            "eval_rows": 2,
            "shuffle_buffer": 10,
        },
        "train": {
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "max_steps": 12,
            "learning_rate": 1e-2,
            "logging_steps": 3,
            "eval_steps": 5,
            "save_steps": 4,
            "save_total_limit": None,
        },
    }
    for name, value in changes.items():
        section, _, option = name.partition("__")
        tree[section][option] = value
    return PretrainConfig.model_validate(tree)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def log_of(folder: Path) -> list[dict[str, float]]:
    """The log, but for how fast it went."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    return [{name: line[name] for name in line if name != "tokens_per_second"} for line in lines]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, sources: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    result = pretrain(config(sources, folder), console=QUIET)
    assert result.finished
    assert result.last_loss < result.first_loss
    assert result.tokens == 12 * 4 * 64
    assert result.padding == 0
    assert [source.name for source in result.sources] == ["text", "rows"]
    assert result.sources[0].share == pytest.approx(2 / 3, abs=0.03)
    return folder


def test_the_run_folder(finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == [
        "checkpoint-12", "checkpoint-4", "checkpoint-8", "config.yaml", "log.jsonl", "loss.png", "model",
        "pretraining.json",
    ]  # fmt: skip
    log = log_of(finished)
    trained = [line for line in log if "loss" in line]
    assert [line["step"] for line in trained] == [3, 6, 9, 12]
    assert [line["tokens"] for line in trained] == [256 * step for step in (3, 6, 9, 12)]
    assert trained[0].keys() == {"step", "loss", "grad_norm", "learning_rate", "tokens"}
    evaluated = [line for line in log if "eval_loss" in line]
    assert [line["step"] for line in evaluated] == [5, 10, 12]
    assert evaluated[0].keys() == {
        "step", "eval_loss", "eval_loss_held", "eval_perplexity_held", "eval_loss_rows", "eval_perplexity_rows",
    }  # fmt: skip
    assert evaluated[-1]["eval_loss_held"] < evaluated[0]["eval_loss_held"]


def test_the_model_works_everywhere(finished: Path, tmp_path: Path, sources: Path) -> None:
    """Plain transformers loads it, `train` and `pretrain` go on with it, a checkpoint is a model as well."""
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(finished / "model")
    ours = load_model(finished / "checkpoint-12", device_map="cpu", dtype="float32")
    assert plain.config.vocab_size >= len(load_tokenizer(finished / "model"))
    assert plain.config.max_position_embeddings == 64
    for (name, one), other in zip(plain.named_parameters(), ours.parameters(), strict=True):
        assert torch.equal(one, other), name
    tuned = Config.model_validate(
        {
            "output_dir": str(tmp_path / "tuned"),
            "model": {"name": str(finished / "model"), "device_map": "cpu"},
            "data": {"train": str(sources / "rows.jsonl"), "max_length": 64, "on_overflow": "drop"},
            "train": {"max_steps": 1},
        }
    )
    assert fine_tune(tuned, console=QUIET).steps == 1


def test_same_seed_same_run(finished: Path, tmp_path: Path, sources: Path) -> None:
    pretrain(config(sources, tmp_path / "again"), console=QUIET)
    assert digest(tmp_path / "again/model/model.safetensors") == digest(finished / "model/model.safetensors")
    pretrain(config(sources, tmp_path / "other", train__seed=1, train__max_steps=1), console=QUIET)
    assert log_of(tmp_path / "other")[0]["loss"] != log_of(finished)[0]["loss"]


@pytest.mark.parametrize("step", [4, 8])
def test_a_killed_run_goes_on_bit_for_bit(finished: Path, tmp_path: Path, step: int) -> None:
    """Of a run killed at any time a checkpoint is left, a log that is ahead of it, perhaps half a checkpoint."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    shutil.rmtree(run / "model")
    for later in (4, 8, 12):
        if later > step:
            (run / f"checkpoint-{later}" / "trainer_state.json").unlink()
    result = pretrain(resumed(run), resume=True, console=QUIET)
    assert result.finished
    assert digest(run / "model/model.safetensors") == digest(finished / "model/model.safetensors")
    assert digest(run / "checkpoint-12/stream.json") == digest(finished / "checkpoint-12/stream.json")
    assert log_of(run) == log_of(finished)


def resumed(run: Path, **train: Any) -> PretrainConfig:
    from yuantune.train.folder import config_of

    options = config_of(run, PretrainConfig)
    return options.model_copy(update={"train": options.train.model_copy(update=train)})


@pytest.mark.parametrize(("number", "step"), [(signal.SIGTERM, 2), (signal.SIGINT, 7), (signal.SIGTERM, 11)])
def test_a_signal_saves_and_the_run_goes_on_bit_for_bit(
    finished: Path,
    tmp_path: Path,
    sources: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    step: int,
) -> None:
    """In the middle of an accumulation, and between two lines of the log."""
    from yuantune.train.packed_trainer import PackedTrainer

    compute = PackedTrainer.training_step

    def training_step(self: PackedTrainer, *inputs: Any) -> torch.Tensor:
        if self.state.global_step == step - 1:
            signal.raise_signal(number)
            monkeypatch.undo()
        return compute(self, *inputs)

    monkeypatch.setattr(PackedTrainer, "training_step", training_step)
    run = tmp_path / "run"
    with pytest.raises(Interrupted, match=f"after step {step} of 12, state saved") as caught:
        pretrain(config(sources, run), console=QUIET)
    assert caught.value.exit_code == 128 + number
    assert f"yuantune pretrain {run} --resume" in caught.value.hint
    assert not (run / "model").exists()
    pretrain(resumed(run), resume=True, console=QUIET)
    assert digest(run / "model/model.safetensors") == digest(finished / "model/model.safetensors")
    assert log_of(run) == log_of(finished)


def test_stretches_of_a_few_minutes_make_the_same_run(finished: Path, tmp_path: Path, sources: Path) -> None:
    run = tmp_path / "run"
    result = pretrain(config(sources, run, train__max_minutes=1e-6), console=QUIET)
    stretches = 1
    while not result.finished:
        assert result.steps == stretches
        assert not (run / "model").exists()
        result = pretrain(resumed(run), resume=True, console=QUIET)
        stretches += 1
    assert stretches == 12
    assert digest(run / "model/model.safetensors") == digest(finished / "model/model.safetensors")
    assert log_of(run) == log_of(finished)


def test_a_finished_run_only_writes_its_model_again(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    shutil.rmtree(run / "model")
    result = pretrain(resumed(run), resume=True, console=QUIET)
    assert result.finished
    assert (result.steps, result.tokens) == (12, 12 * 256)
    assert digest(run / "model/model.safetensors") == digest(finished / "model/model.safetensors")


def test_a_resume_refuses_another_run(finished: Path, tmp_path: Path, sources: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    with pytest.raises(RunError, match="options differ") as caught:
        pretrain(resumed(run, learning_rate=1.0), resume=True, console=QUIET)
    assert [problem.where for problem in caught.value.problems] == ["train.learning_rate"]
    text = sources / "text.txt"
    before = text.read_text("utf-8")
    try:
        text.write_text(before + "还有一行", "utf-8")
        with pytest.raises(RunError, match="began with something else") as caught:
            pretrain(resumed(run), resume=True, console=QUIET)
    finally:
        text.write_text(before, "utf-8")
    assert [problem.where for problem in caught.value.problems] == [str(text)]
    (run / "checkpoint-12/stream.json").write_text("{", "utf-8")
    for marker in run.glob("*/COMPLETE.json"):  # As an earlier version wrote them: nothing is known of the content.
        marker.unlink()
    with pytest.raises(RunError, match=r"stream\.json is missing or damaged"):
        pretrain(resumed(run), resume=True, console=QUIET)


def test_a_tiny_corpus_is_learnt_by_heart(tmp_path: Path, sources: Path) -> None:
    result = pretrain(
        config(
            sources,
            tmp_path / "run",
            data__train=str(sources / "held.txt"),
            data__eval=str(sources / "held.txt"),
            data__sequence_length=32,
            train__max_steps=150,
            train__gradient_accumulation_steps=1,
            train__learning_rate=2e-2,
            train__eval_steps=150,
            train__save_steps=150,
        ),
        console=QUIET,
    )
    assert result.first_loss > 6
    assert result.eval_losses["held"] < 0.7


def test_going_on_with_a_base_and_another_format(tmp_path: Path, llama_folder: Path, sources: Path) -> None:
    """A Llama, in bfloat16 autocast, its result in bfloat16, by tokens instead of steps."""
    result = pretrain(
        config(
            sources,
            tmp_path / "run",
            model__config=None,
            model__tokenizer=None,
            model__name=str(llama_folder),
            model__save_dtype="bfloat16",
            train__bf16=True,
            train__max_steps=-1,
            train__max_tokens=1000,
        ),
        console=QUIET,
    )
    assert result.steps == 4  # 256 tokens each
    saved = json.loads((tmp_path / "run/model/config.json").read_text("utf-8"))
    assert saved["dtype"] == "bfloat16"
    assert load_model(tmp_path / "run/model", device_map="cpu", dtype="bfloat16").dtype == torch.bfloat16
    assert load_model(tmp_path / "run/checkpoint-4", device_map="cpu", dtype="float32").dtype == torch.float32


def test_only_examples_are_padded_and_long_ones_left_out(tmp_path: Path, sources: Path) -> None:
    rows = (sources / "rows.jsonl").read_text("utf-8").splitlines()
    long = json.dumps({"input": "长" * 200, "output": "x"}, ensure_ascii=False)
    (tmp_path / "rows.jsonl").write_text("\n".join([*rows, long]), "utf-8")
    console = Console(record=True, quiet=False, file=io.StringIO(), width=200)
    result = pretrain(config(sources, tmp_path / "run", data__train=str(tmp_path / "rows.jsonl")), console=console)
    assert result.padding > 0
    assert result.tokens + result.padding == 12 * 256
    assert result.sources[0].too_long > 0
    told = console.export_text()
    assert "examples longer than a row, left out" in told
    assert "tokens of padding" in told


@pytest.mark.parametrize(
    ("changes", "error", "expected"),
    [
        ({"data__train": []}, ConfigError, "data.train: names no data"),
        ({"train__max_steps": -1}, ConfigError, "say how long"),
        ({"model__config": None, "model__tokenizer": None}, ConfigError, "give name, to go on with a model"),
        ({"data__train": ["text.tx", "row.jsonl"]}, DataError, "2 sources of data.train"),
        ({"data__sequence_length": 2, "data__eval": []}, DataError, "not one document"),
        ({"model__config": {**TINY, "hiden_size": 3}}, ModelError, "did you mean 'hidden_size'"),
        ({"model__config": {**TINY, "num_attention_heads": 3}}, ModelError, "not a multiple"),
        ({"model__config": {**TINY, "vocab_size": 100}}, ModelError, "the tokenizer has"),
        ({"model__config": {**TINY, "eos_token_id": 5}}, ModelError, "end token"),
        ({"model__config": {**TINY, "max_position_embeddings": 32}}, ConfigError, "no more than 32 tokens"),
        ({"model__config": {"model_type": "lama"}}, ModelError, "unknown model_type 'lama'"),
        ({"model__config": "none/config.json"}, ModelError, "no file none/config.json"),
        ({"model__config": MAMBA, "model__attn_implementation": "eager"}, ModelError, "see each other"),
        ({"model__config": MAMBA}, ModelError, "does not support an attention implementation"),
        ({"train__lr_scheduler_type": "cosin"}, ConfigError, "cosin"),
        ({"train__lr_scheduler_kwargs": {"min_rate": 0.1}}, ConfigError, "lr_scheduler_type.*min_rate"),
    ],
)
def test_mistakes_come_before_anything_is_written(
    tmp_path: Path, sources: Path, changes: dict[str, Any], error: type[Exception], expected: str
) -> None:
    with pytest.raises(error, match=expected) as caught:
        pretrain(config(sources, tmp_path / "run", **changes), console=QUIET)
    assert caught.value.exit_code == 2  # type: ignore[attr-defined]
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, sources: Path) -> None:
    changes = {"train__learning_rate": 1e20, "train__max_grad_norm": 0.0, "train__warmup_steps": 0}
    with pytest.raises(WorkFailed, match="diverged"):
        pretrain(config(sources, tmp_path / "run", **changes), console=QUIET)


# ------------------------------------------------------------------------------------------------------------- muon


def test_muon_moves_the_hidden_matrices(yuan_folder: Path) -> None:
    from yuantune.train.muon import hidden_matrices

    model = load_model(yuan_folder, device_map="cpu", dtype="float32")
    names = hidden_matrices(model)
    assert all(name.startswith("model.layers.") for name in names)
    kinds = {name.split(".", 3)[3] for name in names}
    assert kinds == {
        "self_attn.v_proj.weight", "self_attn.o_proj.weight", "self_attn.q_proj.weight", "self_attn.k_proj.weight",
        "self_attn.lf_gate.conv1.weight", "self_attn.lf_gate.conv2.weight", "mlp.up_proj.weight",
        "mlp.gate_proj.weight", "mlp.down_proj.weight",
    }  # fmt: skip


def test_muon_beside_adamw_is_each_alone() -> None:
    from yuantune.train.muon import CoupledAdamW, Muon, MuonAdamW

    torch.manual_seed(0)
    start = [torch.randn(*shape) for shape in ((6, 4), (6, 4, 2, 1), (5,), (9, 4))]
    together, apart = ([torch.nn.Parameter(each.clone()) for each in start] for _ in range(2))
    flat = torch.nn.Parameter(start[1].flatten(1).clone())
    muon = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    tables, rest = ([{"params": [each], "weight_decay": 0.0}] for each in (together[3], together[2]))
    whole = MuonAdamW(together[:2], tables, rest, muon=muon, adamw={"lr": 0.2})
    one = Muon([apart[0], flat], adjust_lr_fn="match_rms_adamw", **muon)
    other = torch.optim.AdamW(apart[2:3], lr=0.2, weight_decay=0.0)
    third = CoupledAdamW(apart[3:], lr=0.2)
    for _ in range(3):
        gradients = [torch.randn_like(each) for each in start]
        for weight, gradient in zip(together, gradients, strict=True):
            weight.grad = gradient
        apart[0].grad, flat.grad, apart[2].grad = gradients[0], gradients[1].flatten(1), gradients[2]
        apart[3].grad = gradients[3]
        for optimizer in (whole, one, other, third):
            optimizer.step()
        # As a run does that goes on from a checkpoint.
        whole.load_state_dict(whole.state_dict())
    assert torch.equal(together[0], apart[0])
    assert torch.equal(together[1].flatten(1), flat)
    assert torch.equal(together[2], apart[2])
    assert torch.equal(together[3], apart[3])


@pytest.mark.parametrize("shape", [(24, 16), (16, 24), (20, 20)])
def test_muon_is_torchs_in_wider_products(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """As near to torch's as bfloat16 lets it be; and each step is nearly an orthogonal matrix of AdamW's size."""
    from yuantune.train import muon
    from yuantune.train.muon import Muon

    monkeypatch.setattr(muon, "computes_bfloat16", lambda device: False)
    torch.manual_seed(0)
    start = torch.randn(*shape)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    options: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    optimizers = Muon([ours], **options), torch.optim.Muon([theirs], **options)
    for _ in range(4):
        before = ours.detach() * (1 - 0.1 * 0.1)
        ours.grad = torch.randn(*shape)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
        sizes = torch.linalg.svdvals((before - ours.detach()) / (0.1 * 0.2 * max(shape) ** 0.5))
        assert float(sizes.min()) > 0.5 and float(sizes.max()) < 1.3
    moved = torch.linalg.norm(theirs.detach() - start)
    assert torch.linalg.norm(ours.detach() - theirs.detach()) < 0.03 * moved


def test_coupled_adamw_is_adamw_with_one_second_moment_a_column() -> None:
    """Against the paper's formula, number by number; a single row is torch's AdamW."""
    from yuantune.train.muon import CoupledAdamW

    torch.manual_seed(0)
    rate, beta1, beta2, eps, decay = 0.1, 0.8, 0.95, 1e-3, 0.2
    options = {"lr": rate, "betas": (beta1, beta2), "eps": eps, "weight_decay": decay}
    start_VD = torch.randn(5, 3, dtype=torch.float64)
    table, row, as_torch = (torch.nn.Parameter(each.clone()) for each in (start_VD, start_VD[:1], start_VD[:1]))
    coupled, alone = CoupledAdamW([table], **options), CoupledAdamW([row], **options)
    adamw = torch.optim.AdamW([as_torch], **options)
    value, first, second = start_VD.tolist(), [[0.0] * 3 for _ in range(5)], [0.0] * 3
    for step in range(1, 5):
        gradient = torch.randn(5, 3, dtype=torch.float64) * torch.tensor([[3.0], [1.0], [1e-3], [0.0], [1e-6]])
        table.grad, row.grad, as_torch.grad = gradient, gradient[:1].clone(), gradient[:1].clone()
        for optimizer in (coupled, alone, adamw):
            optimizer.step()
        g = gradient.tolist()
        for d in range(3):
            second[d] = beta2 * second[d] + (1 - beta2) * sum(g[v][d] ** 2 for v in range(5)) / 5
            for v in range(5):
                first[v][d] = beta1 * first[v][d] + (1 - beta1) * g[v][d]
                update = first[v][d] / (1 - beta1**step) / (math.sqrt(second[d] / (1 - beta2**step)) + eps)
                value[v][d] = value[v][d] * (1 - rate * decay) - rate * update
    torch.testing.assert_close(table.detach(), torch.tensor(value, dtype=torch.float64), rtol=1e-12, atol=0)
    torch.testing.assert_close(row.detach(), as_torch.detach(), rtol=1e-12, atol=1e-15)


def test_rare_tokens_stay_apart_with_muon(tmp_path: Path) -> None:
    """The tokens that never occur keep their places; Adam by itself moves them all the same way."""
    from yuantune.train.muon import CoupledAdamW

    torch.manual_seed(0)
    start_VD, seen_ND = torch.randn(1000, 8) * 0.1, torch.randn(64, 8) + 1.0
    likeness: dict[Any, float] = {}
    for make in (torch.optim.AdamW, CoupledAdamW):
        table = torch.nn.Parameter(start_VD.clone())
        optimizer = make([table], lr=0.03, weight_decay=0.0)
        for _ in range(100):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(seen_ND @ table.T, torch.arange(64) % 4).backward()
            optimizer.step()
        rare_VD = torch.nn.functional.normalize(table.detach()[4:])
        likeness[make] = float((rare_VD @ rare_VD.T).mean())
    assert likeness[torch.optim.AdamW] > 0.9
    assert likeness[CoupledAdamW] < 0.1


def test_a_run_with_muon_goes_on_bit_for_bit(tmp_path: Path, sources: Path) -> None:
    options = config(sources, tmp_path / "whole", train__optim="muon", train__muon_learning_rate=2e-2)
    result = pretrain(options, console=QUIET)
    assert result.last_loss < result.first_loss
    shutil.copytree(tmp_path / "whole", run := tmp_path / "run")
    shutil.rmtree(run / "checkpoint-12")
    shutil.rmtree(run / "model")
    pretrain(resumed(run), resume=True, console=QUIET)
    assert digest(run / "model/model.safetensors") == digest(tmp_path / "whole/model/model.safetensors")
    assert log_of(run) == log_of(tmp_path / "whole")
