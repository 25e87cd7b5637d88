"""`yuantune model`: get a model from its hub, and show what it is and what training it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yuantune.cli.console import err, out

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

app = typer.Typer(help="Get a base model, or look at one.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(
        help="yuan2-mini, a folder, org/model on Hugging Face (IEITYuan/… on ModelScope), modelscope:ID or hf:ID."
    ),
]
MEMORY_PARTS = ("weights", "trained", "activations", "logits")

Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")]


@app.command()
def get(
    name: Name,
    to: Annotated[Path | None, typer.Option(help="Folder to put it in (default: the hub's own cache).")] = None,
    revision: Revision = None,
) -> None:
    """Download weights, config and tokenizer; a download that stopped goes on. Code is never downloaded."""
    import os

    from yuantune.models import hub
    from yuantune.models.folder import read_config, refuse_mixture, require
    from yuantune.models.load import resolve, save_builtin
    from yuantune.resources import BUILTIN

    if name in BUILTIN and to is not None:
        folder = save_builtin(name, to)
        err.print("nothing to download: the built-in model was written as an ordinary model folder")
    elif hub.parse(name) is None or Path(name).is_dir():
        folder = resolve(name)
        err.print("nothing to download: the model is here already")
    else:
        refuse_mixture(name)
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "0"  # The bars are what is wanted here.
        folder = hub.download(name, to, revision=revision)
        read_config(folder)
        require(folder, weights=True, tokenizer=True)
    out.print(str(folder), markup=False)


@app.command()
def show(
    name: Name,
    revision: Revision = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows in a training batch, for the memory.")] = 12,
    length: Annotated[int, typer.Option(min=1, help="Tokens in a row, for the memory.")] = 384,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Show architecture, size, tokenizer, how prompts end, and the memory that LoRA needs. Loads no weights."""
    import json

    facts = _facts(name, revision, batch_size, length)
    if as_json:
        out.print_json(json.dumps(facts, ensure_ascii=False))
    else:
        _print(facts)


def _facts(name: str, revision: str | None, batch_size: int, length: int) -> dict[str, Any]:
    from transformers import AutoConfig

    from yuantune.models import folder as model_folder
    from yuantune.models.load import load_tokenizer, resolve
    from yuantune.models.memory import count_parameters, lora_parameters, meta_model
    from yuantune.models.placement import device_of, dtype_of, keeps_bfloat16
    from yuantune.models.stored import keep_bfloat16

    folder = resolve(name, revision=revision, weights=False)
    config_file = model_folder.read_config(folder)
    model_folder.refuse_unsupported(name, config_file)
    config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    model = meta_model(config)
    tokenizer = load_tokenizer(name, revision=revision)
    text = config.get_text_config()
    parameters, adapter = count_parameters(model), lora_parameters(model)
    computed = dtype_of("auto", name, device_of("auto"))
    # Of a model that is not here yet, nothing tells what its file has.
    here = not any(model_folder.damage(file) for file in model_folder.weight_files(folder))
    if here and keeps_bfloat16("auto", name, folder, dtype="auto", computed=computed):
        keep_bfloat16(model, computed, at_least_one=False)
    return {
        "name": name,
        "folder": str(folder),
        "architecture": type(model).__name__,
        "layers": text.num_hidden_layers,
        "hidden_size": text.hidden_size,
        "positions": getattr(text, "max_position_embeddings", None),
        "parameters": parameters,
        "dtype": str(text.dtype).removeprefix("torch.") if text.dtype else None,
        "weights": [file.name for file in model_folder.weight_files(folder)],
        "tokenizer": type(tokenizer).__name__,
        "tokens": len(tokenizer),
        "embedding_rows": text.vocab_size,
        "special_tokens": _special_tokens(tokenizer),
        "framing": _framing(tokenizer),
        "lora": {
            "r": 8,
            "parameters": adapter,
            "memory": _memory(model, computed, batch_size, length),
        },
    }


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    tokens: list[str] = tokenizer.all_special_tokens
    ids: list[int] = tokenizer.convert_tokens_to_ids(tokens)
    return dict(sorted(zip(tokens, ids, strict=True), key=lambda item: item[1]))


def _framing(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """How `template: auto` ends prompt and answer with this tokenizer."""
    from yuantune.data.template import Template

    return Template(prompt="{text}").bind(tokenizer).framing()


def _memory(model: Any, dtype: Any, batch_size: int, length: int) -> list[dict[str, Any]]:
    """Estimates for one batch, kept whole and with checkpointing; a quarter of a row is taken for its answer."""
    from yuantune.method_config import LoraSection
    from yuantune.methods import lora
    from yuantune.methods.layers import linear_names
    from yuantune.models.memory import estimate
    from yuantune.models.stored import stored

    kept = next((layer.FORMAT for layer in stored(model).values()), None)
    options, known = LoraSection().dump(), {path.rpartition(".")[2] for path in linear_names(model)}
    options["target_modules"] = [name for name in options["target_modules"] if name in known] or "all-linear"
    model = lora.apply(model, options)
    rows = []
    for checkpointing in (False, True):
        memory = estimate(
            model,
            dtype=dtype,
            batch_size=batch_size,
            length=length,
            answer_length=-(-length // 4),
            checkpointing=checkpointing,
        )
        rows.append(
            {
                "batch_size": batch_size,
                "length": length,
                "dtype": str(dtype).removeprefix("torch."),
                "kept": kept,
                "gradient_checkpointing": checkpointing,
                **{part: getattr(memory, part) for part in (*MEMORY_PARTS, "total")},
            }
        )
    return rows


def _print(facts: dict[str, Any]) -> None:
    for name, value in _rows(facts):
        out.print(f"{name:<16}{value}", markup=False)


def _rows(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    positions = facts["positions"] or "any number of"
    shown = [f"{token} {index}" for token, index in facts["special_tokens"].items()]
    more = f", … and {len(shown) - 24} more" if len(shown) > 24 else ""
    yield "model", facts["name"]
    yield "folder", facts["folder"]
    yield (
        "architecture",
        f"{facts['architecture']}, {facts['layers']} layers of {facts['hidden_size']}, {positions} positions",
    )
    yield "parameters", f"{facts['parameters']:,} ({facts['dtype'] or 'dtype not stated'})"
    yield "weights", ", ".join(facts["weights"]) or "none here"
    yield "tokenizer", f"{facts['tokenizer']}, {facts['tokens']:,} tokens, {facts['embedding_rows']:,} rows"
    yield "special tokens", ", ".join(shown[:24]) + more
    yield "prompt", _describe(facts["framing"])
    yield f"LoRA r={facts['lora']['r']}", f"{facts['lora']['parameters']:,} trainable parameters"
    for row in facts["lora"]["memory"]:
        parts = ", ".join(f"{part} {_size(row[part])}" for part in MEMORY_PARTS)
        what = "  checkpointing" if row["gradient_checkpointing"] else "  memory"
        shape = f"{row['batch_size']} × {row['length']} tokens in {row['dtype']}"
        shape += f" over {row['kept']} weights" if row["kept"] else ""
        yield what, f"about {_size(row['total'])} for {shape} ({parts})"


def _describe(framing: dict[str, Any]) -> str:
    if framing["kind"] == "chat":
        return f"the model's chat template; an answer ends with {framing['answer_end']}"
    begin = f"begins with {framing['begin']}, " if framing.get("begin") else ""
    end = "a newline" if framing["prompt_end"] == "\n" else framing["prompt_end"]
    return f"{begin}ends with {end}; an answer ends with {framing['answer_end']}"


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
