"""From the config to transformers' TrainingArguments, and whether what they ask for can be had here."""

from __future__ import annotations

import atexit
import os
from typing import Any

from yuantune.config import Config, StepSection
from yuantune.data.examples import ExampleSet
from yuantune.errors import ConfigError, DataError

MUON = "muon"
"""The name of `train.optim` that transformers does not know."""
FUSED = "adamw_torch_fused"
CHECKPOINTING = {"use_reentrant": False}
"""transformers' options for gradient checkpointing."""


def training_arguments(config: Config) -> Any:
    """`transformers.TrainingArguments` of the run: the `train` section under its own names, and what follows
    from the rest of the config."""
    options = config.train.model_dump()
    if not config.data.eval and not config.data.split:
        options["eval_strategy"] = "no"
    if config.eval.every != "no":
        # By the loss, until it is known what the rows are scored by (`train/run.py`).
        options |= {"load_best_model_at_end": True, "metric_for_best_model": "loss", "greater_is_better": False}
    return make_arguments(config.output_dir, config.model.device_map, options)


def muon_of(train: StepSection) -> dict[str, Any] | None:
    """What `SupervisedTrainer.muon` is under this section."""
    if train.optim != MUON:
        return None
    rate = train.muon_learning_rate or train.learning_rate
    return {"lr": rate, "momentum": train.muon_momentum, "weight_decay": train.weight_decay}


def make_arguments(output_dir: str, device_map: str, options: dict[str, Any]) -> Any:
    """`transformers.TrainingArguments` for `options` under their own names, but for gradient_checkpointing (see
    `keep_activations`), Muon (`muon_of`) and on_nonfinite, which is ours.

    Raises ConfigError for what they refuse, or a device on which the Trainer cannot run."""
    from transformers import TrainingArguments

    device = _training_device(device_map)
    options = dict(options)
    for own in ("gradient_checkpointing", "muon_learning_rate", "muon_momentum", "on_nonfinite"):
        del options[own]
    if options["optim"] == FUSED and options.get("fp16"):
        options["optim"] = "adamw_torch"  # A fused step hides from accelerate that float16's scaler has skipped it.
    if options["optim"] == MUON:
        options["optim"] = "adamw_torch"  # What it is for the other weights (`train/muon.py`).
    try:
        args = TrainingArguments(
            output_dir=output_dir,
            data_seed=options["seed"],
            use_cpu=device == "cpu",
            remove_unused_columns=False,
            restore_callback_states_from_checkpoint=False,
            logging_nan_inf_filter=False,
            ddp_find_unused_parameters=False,
            disable_tqdm=True,
            dataloader_pin_memory=False,
            **options,
        )
    except (ValueError, RuntimeError, ImportError) as error:
        raise ConfigError(f"the train section: {error}") from None
    if args.world_size > 1:
        atexit.register(_leave_group)
    # One process, one device: where it sees several GPUs, the Trainer would split its batches over all of them.
    args._n_gpu = min(args.n_gpu, 1)
    return args


def _leave_group() -> None:
    """Take leave of the other processes before this one ends: threads that still serve the group then would abort
    it, and a finished run have the exit code of a crash."""
    import torch.distributed as group

    if group.is_available() and group.is_initialized():
        group.destroy_process_group()


def keep_activations(args: Any, kept: bool) -> None:
    """Without gradient checkpointing, or (`kept` false) with it; before the Trainer begins."""
    args.activation_checkpointing = not kept
    args.activation_checkpointing_kwargs = None if kept else CHECKPOINTING


def _training_device(device_map: str) -> str:
    """`models.placement.device_of`, where the Trainer can follow. Raises ConfigError where it cannot."""
    from yuantune.models.placement import device_of

    device = device_of(device_map)
    own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    if device.startswith("cuda") and device != own:
        number = device.partition(":")[2]
        raise ConfigError(
            f"model.device_map: {device_map}: training runs on the first GPU that it sees",
            hint=f"say `model.device_map: cuda` and start with CUDA_VISIBLE_DEVICES={number}",
        )
    return device


def check_positions(model: Any, *sets: ExampleSet | None) -> None:
    """Raises DataError where a row is longer than the model has positions: learned ones end there in an error,
    rotary ones were never trained beyond."""
    from yuantune.models.load import positions_of

    positions = positions_of(model)
    longest = max(length for each in sets if each for length in each.lengths)
    if positions is not None and longest > positions:
        raise DataError(
            f"the longest row has {longest} tokens, and the model reads no more than {positions}",
            hint=f"set data.max_length to {positions}: the check then names the rows, and data.on_overflow deals "
            "with them",
        )


def check_usable(args: Any, model: Any) -> None:
    """Raises ConfigError where optimizer, scheduler or a place for metrics cannot be made from the options, or
    needs a package that is not there: the Trainer itself finds out when the run folder is there already."""
    import torch
    from transformers import Trainer, get_scheduler
    from transformers.integrations import get_reporting_integration_callbacks

    def scheduler() -> None:
        some = torch.optim.SGD([torch.zeros(1)])
        get_scheduler(
            args.lr_scheduler_type,
            some,
            num_warmup_steps=0,
            num_training_steps=1,
            scheduler_specific_kwargs=dict(args.lr_scheduler_kwargs or {}),
        )

    for option, make in {
        "report_to": lambda: [callback() for callback in get_reporting_integration_callbacks(args.report_to)],
        "optim": lambda: Trainer.get_optimizer_cls_and_kwargs(args, model),
        "lr_scheduler_type": scheduler,
    }.items():
        try:
            make()
        except Exception as error:  # Each is another package's code, which raises what it likes.
            what = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ConfigError(f"train.{option}: {what}") from error


def rows_per_step_of(args: Any) -> int:
    """Rows that one optimizer step learns from, over all processes."""
    return int(args.train_batch_size * args.gradient_accumulation_steps * args.world_size)
