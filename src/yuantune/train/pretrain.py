"""A pretraining run from config to run folder: open the sources, make or load the model, train, save.

The trainer is in `train/packed_trainer.py`, the step in `train/step.py`, what fills the rows in `batch/pack.py`.
"""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console

from yuantune.batch.pack import Packer, Row
from yuantune.data.corpus import fingerprint
from yuantune.data.documents import Corpus
from yuantune.data.strict_json import parse_json
from yuantune.data.writing import write_text
from yuantune.errors import ConfigError, Interrupted, ModelError, Problem, RunError
from yuantune.pretrain_config import PretrainConfig
from yuantune.train import folder as run_folder
from yuantune.train.arguments import check_usable, keep_activations, make_arguments, muon_of, rows_per_step_of
from yuantune.train.checkpoint import step_of
from yuantune.train.lock import RunLock
from yuantune.train.mix import SourceUse, eval_rows_of, names_of, notes_of, open_all, packer_of, uses_of

FREE_TO_CHANGE = (
    "output_dir",
    "data.eval",
    "model.save_dtype",
    "train.eval_",
    "train.logging_steps",
    "train.max_",
    "train.on_nonfinite",
    "train.per_device_eval_batch_size",
    "train.report_to",
    "train.save_",
)
"""Options that may differ on a resume. (A new length bends the learning rate's schedule from here on.)"""


@dataclass(frozen=True, slots=True)
class PretrainResult:
    """What a run came to. Losses are per supervised token, in nats; `finished` is False where
    `train.max_minutes` ended it before its last step; `tokens` counts those of all stretches, the rate those of
    this one."""

    folder: Path
    steps: int
    max_steps: int
    finished: bool
    first_loss: float
    last_loss: float
    eval_losses: dict[str, float]
    parameters: int
    tokens: int
    padding: int
    seconds: float
    tokens_per_second: float
    sources: list[SourceUse]


def pretrain(
    config: PretrainConfig,
    *,
    resume: bool = False,
    console: Console | None = None,
    callbacks: Sequence[Any] = (),
) -> PretrainResult:
    """Train by `config` and leave everything in its `output_dir`, the finished model in its `model/`.

    With `resume`, goes on from the folder's newest checkpoint, bit for bit as if it had not stopped. `callbacks`
    are transformers' own kind, beside ours. Raises the errors of `yuantune.errors`: a UserError comes before
    anything is written."""
    with RunLock(Path(config.output_dir)) as lock:
        return _pretrain(config, resume, console, callbacks, lock)


def _pretrain(
    config: PretrainConfig, resume: bool, console: Console | None, callbacks: Sequence[Any], lock: RunLock
) -> PretrainResult:
    started = time.monotonic()
    console = console or Console(stderr=True, highlight=False, soft_wrap=True)
    folder = Path(config.output_dir)
    if resume:
        run_folder.check_resumable(folder, config, FREE_TO_CHANGE)
    else:
        run_folder.check_new(folder)
    _check_whole(config)
    config = run_folder.located(config)

    from transformers import set_seed

    from yuantune.methods import full, trainable_parameters
    from yuantune.models.load import load_tokenizer
    from yuantune.train.space import check_room, trained_bytes

    args = _arguments(config)
    writes = args.process_index == 0
    console = console if writes else Console(quiet=True)
    checkpoint = None
    if resume:
        note = functools.partial(_note, console)
        checkpoint = run_folder.by_first(args, functools.partial(run_folder.take_up, folder, lock, note))
    tokenizer = load_tokenizer(config.model.name or config.model.tokenizer or "", revision=config.model.revision)
    train = open_all(config.data.train, tokenizer, "data.train")
    held_out = open_all(config.data.eval, tokenizer, "data.eval")
    packer = packer_of(config.data, train, pad_id=tokenizer.pad_token_id, seed=config.train.seed)
    eval_rows = eval_rows_of(config.data, held_out, pad_id=tokenizer.pad_token_id)
    beginning = _beginning(config)
    if checkpoint is not None:
        _check_same(folder, beginning)
    model = full.apply(_model(config, tokenizer), {})
    _check_model(model, config)
    check_usable(args, model)
    _, parameters = trainable_parameters(model)
    every = args.save_steps if args.save_steps >= 1 else args.save_steps * args.max_steps
    left = max(args.max_steps - step_of(checkpoint), 0)
    check_room(folder, math.ceil(left / max(every, 1)), args.save_total_limit, 4 * parameters)
    _describe(console, config, args, parameters, train)
    _plan_memory(config, args, model, console)
    args.distributed_state.wait_for_everyone()  # Nobody writes before all have checked.
    if checkpoint is None:
        run_folder.by_first(args, functools.partial(_begin, folder, lock, config, beginning))
    set_seed(config.train.seed)
    run = _Run(config, args, model, tokenizer, packer, eval_rows, console, started, callbacks)
    result = run.train(checkpoint)
    if result["finished"] and writes:
        run_folder.save_result(
            folder, full.FOLDER, run.save_finished, tokenizer, result["steps"], size=trained_bytes(model)
        )
    args.distributed_state.wait_for_everyone()
    if run.signal_number:
        raise Interrupted(
            f"stopped by {run_folder.signal_name(run.signal_number)} after the last step: the run is finished",
            signal_number=run.signal_number,
        )
    sources = uses_of(config.data.train, packer)
    for text in notes_of(sources, packer):
        _note(console, text)
    return PretrainResult(folder=folder, parameters=parameters, padding=packer.padded, sources=sources, **result)


# ---------------------------------------------------------------------------------------------- before training


def _check_whole(config: PretrainConfig) -> None:
    """Raises ConfigError where the config leaves out what nothing can stand for."""
    problems = []
    if config.model.name is None and config.model.config is None:
        problems.append(
            Problem("model", "give name, to go on with a model, or config and tokenizer, to make a new one")
        )
    if not config.data.train:
        problems.append(Problem("data.train", "names no data"))
    if config.train.max_steps <= 0 and config.train.max_tokens is None:
        problems.append(Problem("train", "say how long: max_tokens or max_steps"))
    if problems:
        raise ConfigError("the config leaves something open", problems=problems)


def _arguments(config: PretrainConfig) -> Any:
    """`transformers.TrainingArguments` of the run, with its number of steps."""
    options = config.train.model_dump()
    max_tokens = options.pop("max_tokens")
    del options["max_minutes"]
    options |= {"eval_strategy": "steps" if config.data.eval else "no", "save_strategy": "steps"}
    # The stream goes on from its own place: nothing is to be skipped.
    options |= {"ignore_data_skip": True, "max_steps": max(options["max_steps"], 1)}
    kwargs = options["lr_scheduler_kwargs"]
    if config.train.lr_scheduler_type == "cosine_with_min_lr" and not kwargs:
        options["lr_scheduler_kwargs"] = {"min_lr_rate": 0.1}
    args = make_arguments(config.output_dir, config.model.device_map, options)
    if max_tokens is not None:
        args.max_steps = math.ceil(max_tokens / (rows_per_step_of(args) * config.data.sequence_length))
    if config.train.lr_scheduler_type == "warmup_stable_decay":
        decay = kwargs.get("num_decay_steps", 0.2)
        if isinstance(decay, float) and decay < 1:
            args.lr_scheduler_kwargs = {**kwargs, "num_decay_steps": math.ceil(decay * args.max_steps)}
    return args


def _plan_memory(config: PretrainConfig, args: Any, model: Any, console: Console) -> None:
    """Turn gradient checkpointing on where the config or memory wants it, and say the latter."""
    from yuantune.train.plan import fitting, plan_tokens

    together = args.train_batch_size * config.data.sequence_length
    fits = fitting(model, args.device)
    plan = plan_tokens(config.train.gradient_checkpointing, together, fits)
    keep_activations(args, not plan.checkpointing)
    if plan.turned_on:
        _note(console, plan.turned_on)


def _model(config: PretrainConfig, tokenizer: Any) -> Any:
    from yuantune.models.load import load_model
    from yuantune.models.scratch import new_model

    options = config.model
    place: dict[str, Any] = options.model_dump(include={"dtype", "device_map", "attn_implementation"})
    if options.config is None:
        return load_model(str(options.name), revision=options.revision, **place)
    length, seed = config.data.sequence_length, config.train.seed
    return new_model(options.config, tokenizer, positions=length, seed=seed, **place)


def _check_model(model: Any, config: PretrainConfig) -> None:
    """Raises ConfigError for rows longer than the model's positions, ModelError where packing would mix
    documents."""
    from yuantune.models.load import positions_of
    from yuantune.models.packed import keeps_apart

    positions, length = positions_of(model), config.data.sequence_length
    if positions is not None and length > positions:
        raise ConfigError(
            f"data.sequence_length is {length}, and the model reads no more than {positions} tokens",
            hint=f"set data.sequence_length to {positions}"
            + ("" if config.model.name else ", or max_position_embeddings in model.config higher"),
        )
    if not keeps_apart(model):
        raise ModelError(
            f"a {type(model).__name__} lets documents that are packed into one row see each other",
            hint="choose a model whose layers are attention only, or Yuan2",
        )


def _beginning(config: PretrainConfig) -> dict[str, Any]:
    """What the run begins with, besides its options: sources, base and tokenizer as they are now."""
    from yuantune.models.folder import tokenizer_hash
    from yuantune.models.load import identity, resolve
    from yuantune.models.scratch import config_fields

    base = identity(config.model.name, revision=config.model.revision) if config.model.name else None
    tokenizer = resolve(
        config.model.name or config.model.tokenizer or "", revision=config.model.revision, weights=False
    )
    packages = ("accelerate", "torch", "transformers", "yuantune")
    return {
        "base": base,
        "config": None if config.model.config is None else config_fields(config.model.config),
        "tokenizer": tokenizer_hash(tokenizer),
        "sources": {source.path: fingerprint(source.path) for source in config.data.train},
        "versions": {package: metadata.version(package) for package in packages},
    }


def _begin(folder: Path, lock: RunLock, config: PretrainConfig, beginning: dict[str, Any]) -> None:
    """Make the run folder: options, and what the run begins with."""
    run_folder.make(folder, lock)
    write_text(folder / run_folder.CONFIG_FILE, config.dump())
    write_text(folder / run_folder.PRETRAINING_FILE, json.dumps(beginning, ensure_ascii=False, indent=2) + "\n")


def _check_same(folder: Path, beginning: dict[str, Any]) -> None:
    """Raises RunError where base, tokenizer or sources are no longer those that the run began with."""
    path = folder / run_folder.PRETRAINING_FILE
    try:
        before = parse_json(path.read_text(encoding="utf-8"))
        problems = [
            Problem(what, "is not what it was")
            for what in ("base", "config", "tokenizer")
            if before[what] != beginning[what]
        ]
        now = beginning["sources"]
        problems += [
            Problem(name, "is not what it was") for name in now if before["sources"].get(name) != now[name]
        ]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise RunError(f"{path} is missing or damaged", hint="train anew") from error
    if problems:
        raise RunError(
            f"{folder} began with something else than there is now",
            problems=problems,
            hint="put back what it began with, or train anew into another output_dir",
        )


# --------------------------------------------------------------------------------------------------- training


@dataclass(slots=True)
class _Run:
    """Everything is ready: train, and say how it went."""

    config: PretrainConfig
    args: Any
    model: Any
    tokenizer: Any
    packer: Packer
    eval_rows: dict[str, list[Row]]
    console: Console
    started: float
    further: Sequence[Any]
    """Callbacks beside ours."""
    signal_number: int = 0
    """Of a signal that came too late to stop the run."""

    def train(self, checkpoint: Path | None) -> dict[str, Any]:
        """Train from `checkpoint` to the end, the deadline or a signal; the fields of `PretrainResult` that
        come of it."""
        from transformers.trainer_callback import PrinterCallback

        from yuantune.train.packed_trainer import PackedTrainer
        from yuantune.train.progress import LogFile, ProgressBar, StopAfter, StopOnSignal

        folder = Path(self.config.output_dir)
        per_step = rows_per_step_of(self.args) * self.config.data.sequence_length
        bar, stop = ProgressBar(self.console, per_step, unit="tokens", lines=200), StopOnSignal()
        callbacks = [LogFile(folder, without=("epoch", "runtime")), bar, stop, *self.further]
        minutes = self.config.train.max_minutes
        if minutes is not None:
            callbacks.append(StopAfter(self.started + 60 * minutes))
        trainer = PackedTrainer(self.packer, self.eval_rows, model=self.model, args=self.args, callbacks=callbacks)
        trainer.save_weights = self.save
        trainer.muon = muon_of(self.config.train)
        trainer.note = functools.partial(_note, self.console)
        trainer.skip_nonfinite = self.config.train.on_nonfinite == "skip"
        trainer.remove_callback(PrinterCallback)
        started, before = time.monotonic(), 0
        try:
            with stop, run_folder.failures(folder):
                if checkpoint is not None:
                    trainer.restore(checkpoint)
                    before = sum(self.packer.drawn)
                if step_of(checkpoint) < self.args.max_steps:
                    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
                    trainer.check()
                else:  # All steps are done, and the end was cut short.
                    trainer._load_from_checkpoint(str(checkpoint))
                    trainer.state.global_step = step_of(checkpoint)
        finally:
            bar.close()
        seconds = time.monotonic() - started
        steps = int(trainer.state.global_step)
        if stop.received and steps < self.args.max_steps:
            self._draw(folder)
            raise Interrupted(
                f"stopped by {run_folder.signal_name(stop.received)} after step {steps} of {self.args.max_steps}, "
                "state saved",
                signal_number=stop.received,
                hint=run_folder.resume_hint(folder),
            )
        self.signal_number = stop.received
        tokens = sum(self.packer.drawn)
        return {
            **self._draw(folder),
            "steps": steps,
            "max_steps": int(self.args.max_steps),
            "finished": steps >= self.args.max_steps,
            "tokens": tokens,
            "seconds": seconds,
            "tokens_per_second": (tokens - before) / seconds,
        }

    def _draw(self, folder: Path) -> dict[str, Any]:
        """Draw the losses of the log; first and last of them, and the last ones of the evaluation."""
        from yuantune.train.progress import EVAL_OF, LOG_FILE, PLOT_FILE, plot_losses, read_log

        log = read_log(folder / LOG_FILE)
        if self.args.process_index == 0:
            with run_folder.failures(folder):
                plot_losses(log, folder / PLOT_FILE)
        losses = [line["loss"] for line in log if "loss" in line] or [math.nan]
        evaluated: dict[str, float] = next((line for line in reversed(log) if "eval_loss" in line), {})
        each = {name[len(EVAL_OF) :]: loss for name, loss in evaluated.items() if name.startswith(EVAL_OF)}
        return {"first_loss": losses[0], "last_loss": losses[-1], "eval_losses": each}

    def save(self, model: Any, folder: Path) -> None:
        """The weights as they are; with the tokenizer beside them, a checkpoint is a model folder too."""
        from yuantune.methods import full

        full.save(model, folder)
        self.tokenizer.save_pretrained(folder)

    def save_finished(self, folder: Path) -> None:
        """The weights in `model.save_dtype`."""
        import torch

        from yuantune.methods import full

        if self.config.model.save_dtype != "auto":
            self.model.to(getattr(torch, self.config.model.save_dtype))
        self.model.config.use_cache = True
        full.save(self.model, folder)


# --------------------------------------------------------------------------------------------------- what is said


def _note(console: Console, text: str) -> None:
    console.print(f"note: {text}", markup=False)


def _describe(
    console: Console, config: PretrainConfig, args: Any, parameters: int, corpora: Sequence[Corpus]
) -> None:
    total = sum(source.weight for source in config.data.train)
    console.print(f"model: {parameters:,d} parameters, all of them trained, {config.model.dtype}")
    for name, source, corpus in zip(names_of(config.data.train), config.data.train, corpora, strict=True):
        kind = "text" if corpus.cuttable else "instruction"
        console.print(f"source {name}: {kind}, {source.weight / total:.0%} of the tokens", markup=False)
    per_step = rows_per_step_of(args) * config.data.sequence_length
    console.print(
        f"{args.max_steps:,d} steps of {per_step:,d} tokens: {args.max_steps * per_step / 1e6:,.1f} M tokens"
    )
