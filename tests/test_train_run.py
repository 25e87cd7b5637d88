"""A run from config to run folder: what it leaves, that it repeats bit for bit, resumes, and loads anywhere."""

from __future__ import annotations

import hashlib
import io
import json
import resource
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import yuantune
from yuantune.config import Config
from yuantune.errors import ConfigError, DataError, Interrupted, ModelError, RunError, TemplateError, WorkFailed
from yuantune.train import folder as run_folder
from yuantune.train import space
from yuantune.train.arguments import training_arguments
from yuantune.train.prepare import read_records
from yuantune.train.run import fine_tune

QUIET = Console(quiet=True)


def config(model: Path, data: Path, out: Path, **changes: Any) -> Config:
    options: dict[str, Any] = {
        "output_dir": str(out),
        "template": "resume-ner",
        "model": {"name": str(model), "dtype": "float32", "device_map": "cpu"},
        "data": {"train": str(data), "eval": str(data)},
        "lora": {"r": 2},
        "train": {"per_device_train_batch_size": 2, "num_train_epochs": 2, "learning_rate": 1e-2},
        "generate": {"max_new_tokens": 8},
    }
    for name, value in changes.items():
        section, _, option = name.partition("__")
        if option:
            options.setdefault(section, {})[option] = value
        else:
            options[section] = value
    return Config.model_validate(options)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, yuan_folder: Path) -> tuple[Path, Path]:
    """A finished run and its data."""
    from tests.conftest import ROWS

    home = tmp_path_factory.mktemp("run")
    data = home / "rows.jsonl"
    data.write_text(
        "".join(json.dumps({"text": t, "labels": labels}, ensure_ascii=False) + "\n" for t, labels in ROWS), "utf-8"
    )
    fine_tune(config(yuan_folder, data, home / "run"), console=QUIET)
    return home / "run", data


def test_the_run_folder(finished: tuple[Path, Path]) -> None:
    run, _ = finished
    assert sorted(path.name for path in run.iterdir()) == [
        "adapter", "check.json", "checkpoint-3", "checkpoint-6", "config.yaml", "log.jsonl", "loss.png",
        "yuantune.json",
    ]  # fmt: skip
    assert {"adapter_config.json", "adapter_model.safetensors", "yuantune.json"} <= {
        path.name for path in (run / "adapter").iterdir()
    }
    assert {"trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth"} <= {
        path.name for path in (run / "checkpoint-3").iterdir()
    }
    log = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    losses = [line["loss"] for line in log if "loss" in line]
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    assert sum("eval_loss" in line for line in log) == 2
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")
    card = json.loads((run / "yuantune.json").read_text("utf-8"))
    assert list(card["template"]["labels"])[:2] == ["姓名", "国籍"]
    assert card["framing"]["prompt_end"] == "<sep>"
    assert card["versions"]["yuantune"] == yuantune.__version__
    assert card["seed"] == 42


def test_same_seed_same_run(finished: tuple[Path, Path], tmp_path: Path, yuan_folder: Path) -> None:
    run, data = finished
    fine_tune(config(yuan_folder, data, tmp_path / "again"), console=QUIET)
    assert (tmp_path / "again" / "log.jsonl").read_bytes() == (run / "log.jsonl").read_bytes()
    weights = Path("adapter") / "adapter_model.safetensors"
    assert digest(tmp_path / "again" / weights) == digest(run / weights)
    fine_tune(config(yuan_folder, data, tmp_path / "other", train__seed=7), console=QUIET)
    assert digest(tmp_path / "other" / weights) != digest(run / weights)


def signal_at(monkeypatch: pytest.MonkeyPatch, step: int, *, after: bool) -> None:
    """SIGTERM while `step` is computed or, `after` it, while its log line is written. An epoch has three steps."""
    from yuantune.train.progress import LogFile
    from yuantune.train.step import SupervisedTrainer

    log, compute = LogFile.on_log, SupervisedTrainer.training_step

    def on_log(self: LogFile, args: Any, state: Any, *rest: Any, **more: Any) -> None:
        log(self, args, state, *rest, **more)
        if after and state.global_step == step and "loss" in more["logs"]:
            signal.raise_signal(signal.SIGTERM)

    def training_step(self: SupervisedTrainer, *inputs: Any) -> torch.Tensor:
        if not after and self.state.global_step == step - 1:
            signal.raise_signal(signal.SIGTERM)
        return compute(self, *inputs)

    monkeypatch.setattr(LogFile, "on_log", on_log)
    monkeypatch.setattr(SupervisedTrainer, "training_step", training_step)


@pytest.mark.parametrize(
    ("step", "after", "stops_at"), [(2, False, 2), (3, False, 3), (3, True, 4), (4, True, 5), (5, True, 6)]
)
def test_resume_ends_where_the_whole_run_ended(
    finished: tuple[Path, Path],
    tmp_path: Path,
    yuan_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    after: bool,
    stops_at: int,
) -> None:
    """A signal at any time leaves a state from which the run ends bit for bit the same, its log too."""
    run, data = finished
    options = config(yuan_folder, data, tmp_path / "cut")
    signal_at(monkeypatch, step, after=after)
    expected = f"after step {stops_at} of 6, state saved" if stops_at < 6 else "after the last step"
    with pytest.raises(Interrupted, match=expected) as caught:
        fine_tune(options, console=QUIET)
    assert caught.value.exit_code == 143
    assert (tmp_path / "cut" / f"checkpoint-{stops_at}").is_dir()
    if stops_at < 6:
        assert "--resume" in caught.value.hint
        assert not (tmp_path / "cut" / "adapter").exists()
    monkeypatch.undo()
    with pytest.raises(RunError, match="already exists"):
        fine_tune(options, console=QUIET)
    fine_tune(options, resume=True, console=QUIET)
    weights = Path("adapter") / "adapter_model.safetensors"
    assert digest(tmp_path / "cut" / weights) == digest(run / weights)
    assert (tmp_path / "cut" / "log.jsonl").read_bytes() == (run / "log.jsonl").read_bytes()


@pytest.mark.parametrize(("method", "weights"), [("full", "model/model"), ("lora", "adapter/adapter_model")])
def test_fine_tuning_with_muon_goes_on_bit_for_bit(
    tmp_path: Path,
    yuan_folder: Path,
    rows_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    weights: str,
) -> None:
    options = {"method": method, "train__optim": "muon", "train__muon_learning_rate": 2e-2}
    whole, cut = (config(yuan_folder, rows_file, tmp_path / name, **options) for name in ("whole", "cut"))
    result = fine_tune(whole, console=QUIET)
    assert result.last_loss < result.first_loss
    signal_at(monkeypatch, 3, after=False)
    with pytest.raises(Interrupted):
        fine_tune(cut, console=QUIET)
    monkeypatch.undo()
    states = torch.load(next((tmp_path / "cut").glob("checkpoint-*")) / "optimizer.pt", weights_only=True)
    assert states["muon"]["state"] and all("momentum_buffer" in each for each in states["muon"]["state"].values())
    fine_tune(cut, resume=True, console=QUIET)
    assert digest(tmp_path / "cut" / f"{weights}.safetensors") == digest(
        tmp_path / "whole" / f"{weights}.safetensors"
    )


def test_a_signal_after_the_last_step_loses_nothing(
    finished: tuple[Path, Path], tmp_path: Path, yuan_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no checkpoint is written, the result is all there is: it is saved all the same."""
    run, data = finished
    signal_at(monkeypatch, 6, after=True)
    with pytest.raises(Interrupted, match="after the last step"):
        fine_tune(config(yuan_folder, data, tmp_path / "late", train__save_strategy="no"), console=QUIET)
    weights = Path("adapter") / "adapter_model.safetensors"
    assert digest(tmp_path / "late" / weights) == digest(run / weights)


def test_resume_refuses_another_run(finished: tuple[Path, Path], yuan_folder: Path) -> None:
    run, data = finished
    with pytest.raises(RunError, match="options differ") as caught:
        fine_tune(config(yuan_folder, data, run, lora__r=4, train__seed=1), resume=True, console=QUIET)
    assert {problem.where for problem in caught.value.problems} == {"lora.r", "train.seed"}


def test_resume_refuses_other_data_and_another_base(
    finished: tuple[Path, Path], tmp_path: Path, yuan_folder: Path
) -> None:
    """The options are the same, what they name is not."""
    base, data = tmp_path / "base", tmp_path / "rows.jsonl"
    shutil.copytree(yuan_folder, base)
    shutil.copy(finished[1], data)
    options = config(base, data, tmp_path / "run", train__max_steps=1)
    fine_tune(options, console=QUIET)
    data.write_text("".join(data.read_text("utf-8").splitlines(keepends=True)[:-1]), "utf-8")
    settings = json.loads((base / "config.json").read_text("utf-8"))
    (base / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 1e-5}), "utf-8")
    with pytest.raises(RunError, match="began with something else") as caught:
        fine_tune(options, resume=True, console=QUIET)
    assert {problem.where for problem in caught.value.problems} == {"base model", "training data"}
    assert "had 6 examples, has 5" in str(caught.value)


def test_a_checkpoint_without_its_last_file_is_passed_over(finished: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(finished[0], tmp_path / "run")
    assert run_folder.newest_checkpoint(tmp_path / "run") == tmp_path / "run" / "checkpoint-6"
    (tmp_path / "run" / "checkpoint-6" / "trainer_state.json").write_text("{", "utf-8")
    assert run_folder.newest_checkpoint(tmp_path / "run") == tmp_path / "run" / "checkpoint-3"


def test_the_adapter_loads_with_plain_peft(finished: tuple[Path, Path], yuan_folder: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run, _ = finished
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(yuan_folder, dtype="float32"), run / "adapter"
    ).eval()
    ours = yuantune.load(run, merge=False)
    record = yuantune.Record(yuantune.Source("t", 1), "张三,汉族,金融学硕士。")
    ids = torch.tensor([ours.template.prompt(record).ids])
    with torch.inference_mode():
        mine, theirs = ours.model(input_ids=ids).logits, plain(input_ids=ids).logits
        base = plain.get_base_model()
        with plain.disable_adapter():
            before = base(input_ids=ids).logits
        merged = yuantune.load(run).model(input_ids=ids).logits
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(merged, theirs)
    assert (mine - before).abs().max() > 100 * (mine - theirs).abs().max()


def test_answers_use_the_saved_prompt_and_name_a_changed_base(
    finished: tuple[Path, Path], tmp_path: Path, yuan_folder: Path
) -> None:
    run, data = finished
    extractor = yuantune.load(run)
    assert extractor.template.template.name == "resume-ner"
    assert isinstance(extractor.extract("张三,汉族,金融学硕士。"), dict)
    assert len(extractor.extract(["张三", "李四"])) == 2
    # The same folder with another tokenizer is another base.
    base = tmp_path / "base"
    shutil.copytree(yuan_folder, base)
    fine_tune(config(base, data, tmp_path / "run", train__max_steps=1), console=QUIET)
    tokenizer = json.loads((base / "tokenizer_config.json").read_text("utf-8"))
    (base / "tokenizer_config.json").write_text(json.dumps({**tokenizer, "model_max_length": 5}), "utf-8")
    with pytest.raises(ModelError, match="not the model that"):
        yuantune.load(tmp_path / "run")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_llama_trains_and_answers(tmp_path: Path, llama_folder: Path, rows_file: Path, method: str) -> None:
    options = config(llama_folder, rows_file, tmp_path / "run", method=method, data__max_length=2048)
    result = fine_tune(options, console=QUIET)
    assert result.last_loss < result.first_loss
    assert (tmp_path / "run" / ("adapter" if method == "lora" else "model")).is_dir()
    predictions = list(yuantune.load(tmp_path / "run").predict([yuantune.Record(yuantune.Source("t", 1), "张三")]))
    assert predictions[0].answer_tokens <= 8
    fine_tune(options, resume=True, console=QUIET)  # nothing is left to do, and that is no failure


def test_a_model_trained_in_full_needs_no_base(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(yuan_folder, base)
    for method in ("full", "lora"):
        fine_tune(config(base, rows_file, tmp_path / method, method=method, train__max_steps=1), console=QUIET)
    with_base = yuantune.load(tmp_path / "full").generate("张三")
    shutil.rmtree(base)
    assert yuantune.load(tmp_path / "full").generate("张三") == with_base
    with pytest.raises(ModelError, match="there is no folder"):
        yuantune.load(tmp_path / "lora")


def test_a_card_that_cannot_be_used_is_named(finished: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(finished[0], tmp_path / "run")
    with pytest.raises(RunError, match="no run folder"):
        yuantune.load(tmp_path / "run" / "config.yaml")
    card = json.loads((tmp_path / "run" / "yuantune.json").read_text("utf-8"))
    (tmp_path / "run" / "yuantune.json").write_text(json.dumps({**card, "method": "telepathy"}), "utf-8")
    with pytest.raises(RunError, match="method telepathy"):
        yuantune.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "error", "expected"),
    [
        ({"data__train": "missing.jsonl"}, DataError, "missing.jsonl"),
        ({"data__train": []}, ConfigError, "names no data"),
        ({"template": "resume-nr"}, TemplateError, "did you mean 'resume-ner'"),
        ({"template": {"prompt": "{text}", "labels": ["姓名"]}}, DataError, "unknown label type"),
        ({"template": {"prompt": "{text}", "prompt_end": "<nope>", "labels": ["姓名"]}}, TemplateError, "<nope>"),
        ({"model__name": "yuan2-mni"}, ModelError, "did you mean 'yuan2-mini'"),
        ({"data__max_length": 100}, DataError, "max_length"),
        ({"lora__target_modules": ["q_prj"]}, ConfigError, "did you mean 'q_proj'"),
        ({"train__lr_scheduler_type": "linearr"}, ConfigError, "linearr"),
        ({"train__optim": "adam_w"}, ConfigError, "adam_w"),
        ({"train__optim": "galore_adamw"}, ConfigError, "train.optim: "),
        ({"train__lr_scheduler_type": "cosine_with_min_lr"}, ConfigError, "train.lr_scheduler_type: .*min_lr"),
        ({"train__report_to": "none-such"}, ConfigError, "none-such"),
        ({"model__device_map": "gpu"}, ModelError, "^unknown device_map 'gpu'"),
    ],
)
def test_mistakes_come_before_anything_is_written(
    tmp_path: Path, yuan_folder: Path, rows_file: Path, changes: dict[str, Any], error: type, expected: str
) -> None:
    with pytest.raises(error, match=expected) as caught:
        fine_tune(config(yuan_folder, rows_file, tmp_path / "run", **changes), console=QUIET)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_a_missing_package_for_metrics_comes_before_the_folder(
    tmp_path: Path, yuan_folder: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.integrations import integration_utils

    monkeypatch.setattr(integration_utils, "is_wandb_available", lambda: False)
    with pytest.raises(ConfigError, match=r"train\.report_to: .*wandb"):
        fine_tune(config(yuan_folder, rows_file, tmp_path / "run", train__report_to="wandb"), console=QUIET)
    assert not (tmp_path / "run").exists()


def test_rows_longer_than_the_models_positions(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(yuan_folder, base)
    settings = json.loads((base / "config.json").read_text("utf-8"))
    (base / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": 150}), "utf-8")
    with pytest.raises(DataError, match="the model reads no more than 150") as caught:
        fine_tune(config(base, rows_file, tmp_path / "run"), console=QUIET)
    assert "data.max_length to 150" in caught.value.hint
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine", "utf-8")
    with pytest.raises(RunError, match="file is a file"):
        run_folder.check_new(tmp_path / "file" / "runs" / "one")
    with pytest.raises(RunError, match="cannot be made: File name too long"):
        run_folder.check_new(tmp_path / ("x" * 300))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(RunError, match="may not be written to"):
        run_folder.check_new(tmp_path / "runs" / "one")


def test_what_a_full_disk_or_memory_says_is_no_traceback(tmp_path: Path) -> None:
    """A limit on file sizes stands for a full disk; torch and safetensors report it each in their own way."""
    from safetensors.torch import save_file

    tensors = {"a": torch.zeros(100_000)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for save in (
        lambda path: save_file(tensors, path),
        lambda path: torch.save(tensors, path),
        lambda path: path.write_bytes(bytes(400_000)),
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
        try:
            with pytest.raises(WorkFailed, match=f"writing to {tmp_path} failed: "), run_folder.failures(tmp_path):
                save(tmp_path / "weights")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(WorkFailed, match="not enough memory") as caught, run_folder.failures(tmp_path):
        torch.empty(2**60)
    assert "per_device_train_batch_size" in caught.value.hint
    with pytest.raises(RuntimeError, match="must match"), run_folder.failures(tmp_path):
        torch.zeros(2) + torch.zeros(3)


def test_a_diverged_run_says_so(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    options = config(yuan_folder, rows_file, tmp_path / "run", train__learning_rate=1e30, train__max_grad_norm=0)
    with pytest.raises(WorkFailed, match="diverged: the loss is nan at step") as caught:
        fine_tune(options, console=QUIET)
    assert caught.value.exit_code == 1
    assert not (tmp_path / "run" / "adapter").exists()


def test_float16_has_an_optimizer_whose_skips_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scaler of float16 always calls a fused step, and accelerate would count it."""
    from transformers import TrainingArguments

    told: list[str] = []
    monkeypatch.setattr(
        TrainingArguments, "__init__", lambda self, **words: told.append(words["optim"]) or vars(self).update(words)
    )
    monkeypatch.setattr(TrainingArguments, "world_size", 1)
    monkeypatch.setattr(TrainingArguments, "n_gpu", 0)
    for train in ({}, {"fp16": True}, {"fp16": True, "optim": "sgd"}):
        training_arguments(Config.model_validate({"output_dir": str(tmp_path), "train": train}))
    assert told == ["adamw_torch_fused", "adamw_torch", "sgd"]


def test_one_process_trains_on_one_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs in sight are not two halves of a batch, and one that the Trainer does not take is refused."""
    from yuantune.models import placement

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(placement, "device_of", lambda name: "cuda:0")
    args = training_arguments(Config(output_dir=str(tmp_path)))
    assert (args.n_gpu, args.train_batch_size) == (1, 12)
    monkeypatch.setattr(placement, "device_of", lambda name: "cuda:1")
    with pytest.raises(ConfigError, match="first GPU") as caught:
        training_arguments(Config.model_validate({"model": {"device_map": "cuda:1"}}))
    assert "CUDA_VISIBLE_DEVICES=1" in caught.value.hint


def test_adapters_are_float32_on_a_bfloat16_base(tmp_path: Path, yuan_folder: Path, rows_file: Path) -> None:
    fine_tune(config(yuan_folder, rows_file, tmp_path / "run", model__dtype="bfloat16"), console=QUIET)
    parameters = dict(yuantune.load(tmp_path / "run").model.named_parameters())
    assert {p.dtype for name, p in parameters.items() if "lora_" in name} == {torch.float32}
    assert {p.dtype for name, p in parameters.items() if "lora_" not in name} == {torch.bfloat16}


def test_what_saves_memory_changes_nothing(finished: tuple[Path, Path], tmp_path: Path, yuan_folder: Path) -> None:
    """Checkpointing recomputes with the same dropout, and workers collate the same rows."""
    run, data = finished
    saving = {"train__gradient_checkpointing": True, "train__dataloader_num_workers": 1}
    fine_tune(config(yuan_folder, data, tmp_path / "run", **saving), console=QUIET)
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == (run / "log.jsonl").read_bytes()


def test_little_memory_changes_nothing_but_is_said(
    finished: tuple[Path, Path], tmp_path: Path, yuan_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yuantune.train import plan

    run, data = finished
    monkeypatch.setattr(plan, "fitting", lambda *args, **options: {False: 1, True: 10**9})
    said = io.StringIO()
    fine_tune(config(yuan_folder, data, tmp_path / "run"), console=Console(file=said, soft_wrap=True))
    assert (
        "note: gradient checkpointing is on: without it, half of the memory beside the model holds about 1 tokens"
        in said.getvalue()
    )
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == (run / "log.jsonl").read_bytes()


def test_no_disk_space(tmp_path: Path, yuan_folder: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(RunError, match="not enough disk space"):
        fine_tune(config(yuan_folder, rows_file, tmp_path / "run"), console=QUIET)
    assert not (tmp_path / "run").exists()


def test_space_counts_the_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    each = 3 * 2**20
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=space.RESERVE + 2**20 + 3 * each))
    options = Config.model_validate({"train": {"num_train_epochs": 3}})
    space.check_space(tmp_path / "run", options, trained_bytes=2**20, steps_per_epoch=17)
    options = Config.model_validate({"train": {"num_train_epochs": 4}})
    with pytest.raises(RunError, match="4 checkpoints"):
        space.check_space(tmp_path / "run", options, trained_bytes=2**20, steps_per_epoch=17)
    space.check_space(tmp_path / "run", options, trained_bytes=2**20, steps_per_epoch=17, first_step=17)
    options = Config.model_validate({"train": {"num_train_epochs": 40, "save_total_limit": 2}})
    space.check_space(tmp_path / "run", options, trained_bytes=2**20, steps_per_epoch=17)


def test_one_plain_source_is_walked_through_and_never_read_whole(
    tmp_path: Path, yuan_folder: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def whole(*_: object, **__: object) -> None:
        raise AssertionError("read whole")

    monkeypatch.setattr("yuantune.train.prepare.read_all", whole)
    options = config(yuan_folder, rows_file, tmp_path / "run", data__eval=[], data__limit=4, train__max_steps=1)
    fine_tune(options, console=QUIET)
    report = json.loads((tmp_path / "run" / "check.json").read_text("utf-8"))
    assert report["train"]["rows"] == 4
    with pytest.raises(AssertionError, match="read whole"):
        fine_tune(config(yuan_folder, rows_file, tmp_path / "split", data__eval=[], data__split=2), console=QUIET)


def test_a_limit_takes_of_every_data_set_its_share(tmp_path: Path, yuan_folder: Path) -> None:
    paths = []
    for name, size in (("a", 30), ("b", 10)):
        paths.append(tmp_path / f"{name}.jsonl")
        rows = [{"text": f"{name}{number}", "labels": {}} for number in range(size)]
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    sets = [{"path": str(paths[0])}, {"path": str(paths[1]), "weight": 3}]
    for split in (0, 4):
        options = config(
            yuan_folder,
            paths[0],
            tmp_path / "run",
            data__train=sets,
            data__eval=[],
            data__limit=8,
            data__split=split,
        )
        train, held_out = read_records(options, QUIET)
        names = [Path(record.source.file).name for record in train]
        assert len(names) == 8 and len(held_out) <= split
        assert abs(names.count("a.jsonl") - names.count("b.jsonl")) <= 3  # Alike, but for what is held out.
        assert train == read_records(options, QUIET)[0]


def test_quickstart_reads_and_checks_once(
    tmp_path: Path, yuan_folder: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And an untrained model that is scored on the way changes nothing of the run."""
    from yuantune.train import prepare, quickstart

    calls: list[str] = []

    def counted(name: str, function: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            calls.append(name)
            return function(*args, **more)

        return call

    for name in ("read_all", "prepare"):
        monkeypatch.setattr(prepare, name, counted(name, getattr(prepare, name)))
    options = {"data__eval": [], "data__split": 2, "train__max_steps": 2}
    both = quickstart.quickstart(
        config(yuan_folder, rows_file, tmp_path / "both", **options), score_before=True, console=QUIET
    )
    assert calls == ["read_all", "prepare", "prepare"]  # Training and evaluation rows.
    assert both.before is not None and both.after is not None and both.before["rows"] == both.after["rows"] == 2
    one = quickstart.quickstart(config(yuan_folder, rows_file, tmp_path / "one", **options), console=QUIET)
    assert one.before is None
    weights = Path("adapter") / "adapter_model.safetensors"
    assert digest(tmp_path / "both" / weights) == digest(tmp_path / "one" / weights)


def test_a_checkpoint_that_cannot_be_read_is_not_said_to_be_unwritable(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    """Its length is right, its content is not: only loading shows it."""
    shutil.copytree(finished[0], tmp_path / "run")
    state = tmp_path / "run" / "checkpoint-6" / "optimizer.pt"
    whole = state.read_bytes()
    state.write_bytes(whole.replace(b"PK\x01\x02", b"PK\x01\x03"))
    for error in (lambda: torch.load(io.BytesIO(b"no zip"), weights_only=True), lambda: torch.load(state)):
        with (
            pytest.raises(WorkFailed, match="checkpoint-6 is damaged") as caught,
            run_folder.failures(tmp_path / "run"),
        ):
            error()
        assert "goes on from checkpoint-3" in caught.value.hint


def test_a_base_that_moved_is_named_anew_and_still_held_to_its_hashes(
    tmp_path: Path, yuan_folder: Path, llama_folder: Path, rows_file: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(yuan_folder, base)
    fine_tune(config(base, rows_file, tmp_path / "run", train__max_steps=1), console=QUIET)
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="base") as caught:
        yuantune.load(tmp_path / "run")
    assert "--model" in caught.value.hint
    assert yuantune.load(tmp_path / "run", model=str(tmp_path / "elsewhere")).extract(["张三"]) is not None
    with pytest.raises(ModelError, match="not the model that"):
        yuantune.load(tmp_path / "run", model=str(llama_folder))
