"""A run from config to run folder: data (`train/prepare.py`), load, train (the step: `train/step.py`), save."""

from __future__ import annotations

import functools
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from yuantune.config import Config
from yuantune.errors import ConfigError, Interrupted
from yuantune.train import folder as run_folder
from yuantune.train.arguments import (
    check_positions,
    check_usable,
    keep_activations,
    muon_of,
    rows_per_step_of,
    training_arguments,
)
from yuantune.train.checkpoint import step_of, without_better
from yuantune.train.lock import RunLock
from yuantune.train.prepare import Prepared, note_to, prepare_data

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from yuantune.train.plan import MemoryPlan


KEPT = (
    "the base's bfloat16 weights stay as they are, and are computed with in float32: this processor only emulates "
    "bfloat16, and float32 ones would take more than a third of the memory (`model.quantization: none` makes them)"
)
"""What is said where memory decides what the base is."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run came to. Losses are per supervised token, in nats; `rows_per_second` counts training rows;
    `first_step` is the step that it went on from: as many as `steps` where nothing was left to do."""

    folder: Path
    first_step: int
    steps: int
    first_loss: float
    last_loss: float
    eval_loss: float | None
    trainable: int
    parameters: int
    seconds: float
    rows_per_second: float


def fine_tune(
    config: Config, *, resume: bool = False, console: Console | None = None, callbacks: Sequence[Any] = ()
) -> RunResult:
    """Train by `config` and leave everything in its `output_dir`.

    With `resume`, goes on from the folder's newest checkpoint. Notes and progress go to `console` (default:
    stderr); `callbacks` are transformers' own kind, beside ours. Raises the errors of `yuantune.errors`: a
    UserError comes before anything is written.

    Under torchrun or `accelerate launch` every process checks; then the first one alone writes and prints."""
    return run_prepared(config, resume=resume, console=console, callbacks=callbacks)[0]


def run_prepared(
    config: Config,
    *,
    resume: bool = False,
    console: Console | None = None,
    before: Callable[[PreTrainedModel, Prepared], None] | None = None,
    callbacks: Sequence[Any] = (),
) -> tuple[RunResult, Prepared]:
    """`fine_tune`, with the data that it has read and checked. `before` is called when all is checked and nothing
    written, with the model as it is then, without virtual tokens: what else has not learnt changes no answer."""
    folder = Path(config.output_dir)
    try:
        with RunLock(folder) as lock:
            return _run(config, resume, console, before, callbacks, lock)
    except KeyboardInterrupt:
        begun = (folder / run_folder.CONFIG_FILE).is_file()
        message = "stopped by Ctrl-C" + ("" if begun else " before the first step; nothing was written")
        hint = run_folder.resume_hint(folder) if begun else ""
        raise Interrupted(message, signal_number=signal.SIGINT, hint=hint) from None


def _run(
    config: Config,
    resume: bool,
    console: Console | None,
    before: Callable[[PreTrainedModel, Prepared], None] | None,
    callbacks: Sequence[Any],
    lock: RunLock,
) -> tuple[RunResult, Prepared]:
    console = console or Console(stderr=True, highlight=False, soft_wrap=True)
    folder = Path(config.output_dir)
    if resume:
        run_folder.check_resumable(folder, config)
    else:
        run_folder.check_new(folder)

    from transformers import set_seed

    from yuantune.methods import METHODS, trainable_parameters
    from yuantune.models.load import load_tokenizer
    from yuantune.models.probe import inner
    from yuantune.train.plan import fitting
    from yuantune.train.space import check_space, trained_bytes

    args = training_arguments(config)
    writes = args.process_index == 0
    console = console if writes else Console(quiet=True)
    checkpoint = None
    if resume:
        checkpoint = run_folder.by_first(
            args, functools.partial(run_folder.take_up, folder, lock, functools.partial(note_to, console))
        )
    tokenizer = load_tokenizer(config.model.name, revision=config.model.revision)
    data = prepare_data(config, tokenizer, console)
    card = card_of(config, data)
    if checkpoint is not None:
        run_folder.check_same(folder, card, data.reports)
    model = _load_base(config, console)
    set_seed(config.train.seed)
    method = METHODS[config.method]
    model = method.apply(model, method_options(config), tokenizer)
    fits = fitting(model, args.device)
    check_positions(model, data.train, data.eval)
    trainable, parameters = trainable_parameters(model)
    console.print(
        f"trainable params: {trainable:,d} || all params: {parameters:,d} || "
        f"trainable%: {100 * trainable / parameters:.4f}"
    )
    check_usable(args, model)
    collator = _collator(config, args, model, tokenizer, data, console)
    plan = _plan_memory(config, args, fits, data, model, collator, console)
    check_space(
        folder,
        config,
        trained_bytes=4 * trainable,
        steps_per_epoch=-(-len(data.train) // rows_per_step_of(args)),
        first_step=step_of(checkpoint),
    )
    if checkpoint is None:
        _begin_with_data(config, args, model, tokenizer, data, console)
    if before is not None:
        before(inner(model), data)
    args.distributed_state.wait_for_everyone()  # Nobody writes before all have checked.
    if checkpoint is None:
        run_folder.by_first(args, functools.partial(run_folder.begin, folder, lock, config, card, data.reports))
    result, signal_number = _train(config, args, model, collator, plan, data, checkpoint, callbacks, console)
    if writes:
        save = functools.partial(method.save, model)
        size = trained_bytes(model)
        run_folder.save_result(folder, method.FOLDER, save, tokenizer, result["steps"], size=size)
    args.distributed_state.wait_for_everyone()
    if signal_number:
        raise Interrupted(
            f"stopped by {run_folder.signal_name(signal_number)} after the last step: the run is finished",
            signal_number=signal_number,
        )
    return RunResult(folder=folder, trainable=trainable, parameters=parameters, **result), data


def _load_base(config: Config, console: Console) -> PreTrainedModel:
    """The base model as the config has it; it says where memory has decided on that."""
    from yuantune.models.load import load_model
    from yuantune.models.stored import stored

    model = load_model(
        config.model.name,
        revision=config.model.revision,
        dtype=weights_dtype(config),
        device_map=config.model.device_map,
        attn_implementation=config.model.attn_implementation,
        quantization=config.model.quantization,
        int8_products=config.model.int8_products,
    )
    if config.model.quantization == "auto" and stored(model):
        note_to(console, KEPT)
    return model


def _begin_with_data(
    config: Config, args: Any, model: Any, tokenizer: Any, data: Prepared, console: Console
) -> None:
    """What a method begins with that comes from the training rows; a checkpoint holds it."""
    if config.method == "lora" and config.lora.init_lora_weights == "eva":
        from yuantune.methods import eva

        started = time.monotonic()
        batches = eva.begin(
            model,
            data.train,
            rows=args.train_batch_size,
            pad_id=tokenizer.pad_token_id,
            seed=config.train.seed,
        )
        seconds = time.monotonic() - started
        note_to(console, f"lora.init_lora_weights: eva has read {batches} batches, {seconds:.1f} s")


def weights_dtype(config: Config) -> str:
    """`model.dtype` with auto resolved: float32 where the weights themselves are trained."""
    return "float32" if config.model.dtype == "auto" and config.wide else config.model.dtype


def method_options(config: Config) -> dict[str, Any]:
    """The options of the chosen method."""
    section = getattr(config, config.method, None)
    return {} if section is None else section.dump()


# --------------------------------------------------------------------------------------------------- training


def _train(
    config: Config,
    args: Any,
    model: Any,
    collator: Any,
    plan: MemoryPlan,
    data: Prepared,
    checkpoint: Path | None,
    callbacks: Sequence[Any],
    console: Console,
) -> tuple[dict[str, Any], int]:
    """Train, and draw the losses. Returns the fields of `RunResult` that training gives, and the number of a signal
    that came too late to stop it (else 0)."""
    from transformers.trainer_callback import PrinterCallback

    from yuantune.methods import METHODS
    from yuantune.train.portions import RowsTrainer
    from yuantune.train.progress import (
        LOG_FILE,
        PLOT_FILE,
        LogFile,
        Paused,
        ProgressBar,
        StopOnSignal,
        plot_losses,
        read_log,
    )

    folder = Path(config.output_dir)
    rows_per_step = rows_per_step_of(args)
    bar = ProgressBar(console, rows_per_step)
    stop = StopOnSignal()
    trainer = RowsTrainer(
        collator,
        plan.most_tokens,
        plan.may_turn_on,
        model=model,
        args=args,
        train_dataset=data.train,
        eval_dataset=data.eval,
        callbacks=[LogFile(folder), bar, stop, *callbacks],
    )
    trainer.note = functools.partial(note_to, console)
    trainer.skip_nonfinite = config.train.on_nonfinite == "skip"
    if checkpoint is not None:
        trainer.restore(checkpoint)
    method = METHODS[config.method]
    trainer.save_weights, trainer.restore_weights = method.save, method.restore
    if config.method == "lora" and config.lora.loraplus_lr_ratio is not None:
        trainer.faster = ("lora_B", config.lora.loraplus_lr_ratio)
    trainer.muon = muon_of(config.train)
    if config.eval.every != "no":
        _score_while_training(trainer, config, args, model, data, checkpoint)
    trainer.remove_callback(PrinterCallback)
    started = time.monotonic()
    first_step = step_of(checkpoint)
    try:
        with stop, run_folder.failures(folder):
            output = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            trainer.check()
    except Paused:
        if stop.received:
            raise _stopped(stop.received, trainer.state, folder) from None
        raise
    finally:
        bar.close()
    seconds = time.monotonic() - started
    steps = trainer.state.global_step
    log = read_log(folder / LOG_FILE)
    if args.process_index == 0:
        with run_folder.failures(folder):
            plot_losses(log, folder / PLOT_FILE)
    if stop.received and steps < trainer.state.max_steps:
        raise _stopped(stop.received, trainer.state, folder)
    if (best := trainer.state.best_model_checkpoint) is not None and config.eval.every != "no":
        what, value = args.metric_for_best_model.removeprefix("eval_"), trainer.state.best_metric
        console.print(f"the best checkpoint is kept: {Path(best).name}, {what} {value:.4f}", markup=False)
    # A run shorter than logging_steps logs no loss; the Trainer knows the mean.
    losses = [line["loss"] for line in log if "loss" in line] or [output.training_loss]
    evaluations = [line["eval_loss"] for line in log if "eval_loss" in line]
    result = {
        "first_step": first_step,
        "steps": steps,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "eval_loss": evaluations[-1] if evaluations else None,
        "seconds": seconds,
        "rows_per_second": (steps - first_step) * rows_per_step / seconds,
    }
    return result, stop.received


def _stopped(signal_number: int, state: Any, folder: Path) -> Interrupted:
    return Interrupted(
        f"stopped by {run_folder.signal_name(signal_number)} after step {state.global_step} of {state.max_steps}, "
        "state saved",
        signal_number=signal_number,
        hint=run_folder.resume_hint(folder),
    )


def _plan_memory(
    config: Config,
    args: Any,
    fits: Mapping[bool, int | None],
    data: Prepared,
    model: Any,
    collator: Any,
    console: Console,
) -> MemoryPlan:
    """How steps fit into memory; gradient checkpointing is turned on where the plan has it, which is said."""
    from yuantune.train.grouping import may_checkpoint
    from yuantune.train.plan import longest, plan_rows

    together = rows_per_step_of(args) if args.world_size == 1 else args.train_batch_size
    rows = longest(data.train, together)
    asked, most_tokens = config.train.gradient_checkpointing, config.data.max_batch_tokens
    if not may_checkpoint(model, collator):
        if asked is True:
            raise ConfigError(
                "train.gradient_checkpointing: true: it drops the prefix of prefix tuning from padded rows",
                hint="say `data.shared_prefixes: auto` where the model can share prompts, or "
                "`train.gradient_checkpointing: false`",
            )
        asked = False
    plan = plan_rows(asked, most_tokens, fits, rows, collator, whole=args.world_size > 1)
    keep_activations(args, not plan.checkpointing)
    if plan.turned_on:
        note_to(console, plan.turned_on)
    return plan


def _score_while_training(
    trainer: Any, config: Config, args: Any, model: Any, data: Prepared, checkpoint: Path | None
) -> None:
    """Let the trainer answer evaluation rows whenever it evaluates, choose the best checkpoint by it, and stop
    where nothing gets better; how long nothing has, a resume knows from its checkpoint."""
    from transformers import EarlyStoppingCallback

    from yuantune.infer.extractor import Extractor
    from yuantune.train.evaluate import scores_of

    extractor = Extractor(model, data.template, **config.generate.model_dump())
    records = [record for record in data.eval_records if record.has_answer][: config.eval.rows]
    name = "f1" if data.template.template.extraction else "rouge_l"

    def score() -> dict[str, float]:
        scores = scores_of(extractor, records, list(extractor.predict(records)), None) or {}
        # Outputs that are labels as JSON are scored as labels whatever the template.
        return {name: scores["micro"]["f1"] if "micro" in scores else scores.get("rouge_l", 0.0)}

    trainer.scorer = score
    if config.eval.metric == "score":
        args.metric_for_best_model, args.greater_is_better = name, True
    if config.eval.patience is not None:
        stopping = EarlyStoppingCallback(early_stopping_patience=config.eval.patience)
        trainer.add_callback(stopping)
        if checkpoint is not None:
            stopping.early_stopping_patience_counter = without_better(checkpoint)


def _collator(config: Config, args: Any, model: Any, tokenizer: Any, data: Prepared, console: Console) -> Any:
    """Prefix groups, or padded rows where they cannot be had, which is said."""
    import torch

    from yuantune.train.grouping import choose_collator

    collator, why = choose_collator(
        model,
        [each for each in (data.train, data.eval) if each is not None],
        how=config.data.shared_prefixes,
        pad_id=tokenizer.pad_token_id,
        autocast=torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None,
    )
    if why is not None:
        console.print(
            f"note: each row computes the prompt for itself, since the model cannot share it: {why}", markup=False
        )
    return collator


def card_of(config: Config, data: Prepared) -> Any:
    """The run's `yuantune.json`."""
    from yuantune.methods.card import Card
    from yuantune.models.load import identity

    return Card(
        method=config.method,
        options=method_options(config),
        template=data.template.template.to_dict(),
        framing=data.template.framing(),
        base=identity(config.model.name, revision=config.model.revision),
        model={**config.model.model_dump(), "dtype": weights_dtype(config)},
        generate=config.generate.model_dump(),
        max_length=config.data.max_length,
        seed=config.train.seed,
    )
