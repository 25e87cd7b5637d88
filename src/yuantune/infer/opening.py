"""A run folder is opened: its card, its base and its trained weights, or why they do not load."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from yuantune.data.bound import BoundTemplate
from yuantune.data.template import Template
from yuantune.errors import ModelError, Problem, RunError, UserError
from yuantune.infer.extractor import Extractor
from yuantune.models.probe import inner
from yuantune.models.stored import stored

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from yuantune.methods import LoadModel, Method
    from yuantune.methods.card import Card

    Attach = Callable[[Method, LoadModel, Path], PreTrainedModel]


def load(
    run: str | Path,
    *,
    model: str | None = None,
    device_map: str | None = None,
    dtype: str | None = None,
    int8_products: str | None = None,
    merge: bool = True,
) -> Extractor:
    """The extractor of a run folder (or of an adapter or checkpoint folder in it).

    `model` names the base model where it is not found under its own name any more; the others go over the run's
    options of the model. Template and special tokens are the saved ones; base model and tokenizer must be those of
    the training. A model that was trained in full brings its own weights and tokenizer and needs no base. `merge`
    puts an adapter into the base's weights, in memory, where the method can and they are float32 or finer, never
    quantised: it answers faster, and the same up to rounding. Raises RunError for a folder that holds no trained
    model, ModelError where the base differs."""
    from yuantune.methods import METHODS

    folder = Path(run)
    tuned, template, card = open_run(
        folder, model=model, device_map=device_map, dtype=dtype, int8_products=int8_products
    )
    put = METHODS[card.method].merge
    if merge and not isinstance(put, str) and _holds_update(tuned, card):
        try:
            tuned = put(tuned)
        except ValueError as error:  # PEFT's, for an update that is no number.
            raise RunError(
                f"the trained weights of {folder} are no weights: {error}",
                hint=_other_weights(folder, folder / METHODS[card.method].FOLDER),
            ) from error
    return Extractor(tuned, template, **card.generate)


def open_run(
    folder: Path,
    *,
    model: str | None = None,
    device_map: str | None = None,
    dtype: str | None = None,
    int8_products: str | None = None,
    attach: Attach | None = None,
) -> tuple[PreTrainedModel, BoundTemplate, Card]:
    """What `load` makes an extractor of: the tuned model, the saved prompt, and the run's card. `attach` makes the
    tuned model otherwise than the method's own `load` does. Raises as `load`."""
    from safetensors import SafetensorError

    from yuantune.methods import METHODS
    from yuantune.methods.card import CARD_FILE, read_card
    from yuantune.models.load import check_identity, load_model, load_tokenizer

    card = read_card(folder)
    if card.method not in METHODS:
        raise RunError(f"{folder} was trained by the method {card.method}, which this version of yuantune lacks")
    method = METHODS[card.method]
    weights = folder / method.FOLDER if (folder / method.FOLDER).is_dir() else folder
    check_weights(folder, weights)
    base = model or card.base["name"]
    alone = not method.NEEDS_BASE and (weights / "tokenizer_config.json").is_file()
    if not alone:
        try:
            problems = check_identity(card.base, base)
        except ModelError as error:
            hint = "if the base model has moved, say where it is now: --model NAME (in Python: load(run, model=…))"
            raise ModelError(f"the base model of {folder}: {error.message}", hint=hint) from error
        if problems:
            raise ModelError(f"{base} is not the model that {folder} was trained on", problems=problems)
    others = {"device_map": device_map, "dtype": dtype, "int8_products": int8_products}
    options = {**card.model, **{option: value for option, value in others.items() if value}}
    options.pop("name")
    if dtype and card.model["dtype"] != "auto" and options.get("quantization") == "auto":
        options["quantization"] = "none"  # It was none in training, and trained weights may be the base's own.

    def load_base(tuned: Path | None) -> PreTrainedModel:
        return load_model(str(tuned or base), **options)

    tokenizer = load_tokenizer(weights if alone else base, revision=card.model["revision"])
    template = Template.from_dict(card.template, where=CARD_FILE).bind(tokenizer)
    template.check_framing(card.framing)
    try:
        tuned = method.load(load_base, weights) if attach is None else attach(method, load_base, weights)
    except UserError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise RunError(
            f"the trained weights in {weights} do not load, they are damaged or incomplete: {why}",
            hint=_other_weights(folder, weights),
        ) from error
    return tuned, template, card


def _holds_update(model: PreTrainedModel, card: Card) -> bool:
    """Whether the base's weights hold an update as finely as the adapter does, and for its layers alone: where the
    head is trained and is one weight with the embedding, the update would change both."""
    import torch

    base = inner(model)
    ends = [base.get_input_embeddings(), base.get_output_embeddings()]
    tuned = any(hasattr(each, "get_base_layer") for each in ends)
    first, last = (each.get_base_layer() if hasattr(each, "get_base_layer") else each for each in ends)
    if tuned and last is not None and first.weight is last.weight:
        return False
    return model.dtype in (torch.float32, torch.float64) and card.quantization == "none" and not stored(model)


def check_weights(folder: Path, weights: Path) -> None:
    """Raises RunError where there are none, or where a file of them is cut short."""
    from yuantune.models.folder import damage, weight_files

    files = sorted({*weights.glob("*.safetensors"), *weight_files(weights)})
    if not files:
        raise RunError(
            f"{folder} holds no trained weights yet",
            hint=f"`yuantune train {shlex.quote(str(folder))} --resume` finishes the training",
        )
    problems = [Problem(str(file), what) for file in files if (what := damage(file))]
    if problems:
        raise RunError(
            f"the trained weights in {weights} are damaged or incomplete",
            problems=problems,
            hint=_other_weights(folder, weights),
        )


def _other_weights(folder: Path, weights: Path) -> str:
    """What else a damaged result leaves to answer with."""
    home = folder if weights != folder else folder.parent
    steps = {int(path.name[11:]): path for path in home.glob("checkpoint-*") if path.name[11:].isdecimal()}
    others = [path for _, path in sorted(steps.items()) if path != weights]
    if not others:
        return "train again"
    return f"a checkpoint answers too: `yuantune generate {shlex.quote(str(others[-1]))} …`; or train again"
