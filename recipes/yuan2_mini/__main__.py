"""`python -m recipes.yuan2_mini`: from the corpus to the weights that ship, stage by stage or all at once.

Run from the repository's root. WORK is a folder outside it; a stage that is done there is not done again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from recipes.yuan2_mini.files import MANIFEST, read_json
from recipes.yuan2_mini.memory import memory_test
from recipes.yuan2_mini.shipping import TOKENIZER_FILES, describe, install_model
from recipes.yuan2_mini.tokens import make_tokenizer

from yuantune.cli.console import err, out, print_error
from yuantune.data.writing import write_text
from yuantune.errors import ConfigError, DataError, WorkFailed, YuantuneError
from yuantune.models.placement import computes_bfloat16
from yuantune.resources import RESOURCES

HERE = Path(__file__).parent
DATA, TOKENIZER, MEMORY, SCORES, METHODS = "data", "tokenizer", "memory.json", "scores", "methods"
"""What the folder WORK holds, beside the runs."""
RUNS = {
    "run": "pretrain.yaml",
    "extraction": "extraction.yaml",
    "annealed": "anneal.yaml",
    "refined": "refine.yaml",
    "lists": "lists.yaml",
}
"""The parts of the training in their order, and their configs: each goes on with the model of the one before."""
*_, ANNEALED, REFINED, LISTS = RUNS
SPREAD, MEAN = "spread", "mean"
"""Models between the parts. What `refined` goes on with: the one before, its rare pieces set apart. What `lists`
goes on with: the mean of what `refined` began with and what it came to; or the base that was named."""
MODEL = "model"
"""The finished model within a run."""

_YUANTUNE = "from yuantune.cli import main; main()"
_UNFINISHED = 75
"""Try again later (EX_TEMPFAIL of sysexits.h)."""

app = typer.Typer(help="Make yuan2-mini: corpus to weights.", no_args_is_help=True, add_completion=False)

Work = Annotated[Path, typer.Option("--to", help="WORK: the folder for everything that is made.")]
Corpus = Annotated[Path, typer.Option(help="Folder with the corpus files.")]
HeldOutRows = Annotated[
    list[Path], typer.Option("--held-out", help="Labelled rows that fine-tuning is scored on; say it once a file.")
]
Count = Annotated[int, typer.Option(min=1, help="Exercises.")]
Minutes = Annotated[float | None, typer.Option(help="Stop with a checkpoint after so many minutes.")]
Base = Annotated[
    str | None, typer.Option(help="Go on from this model (a folder, or yuan2-mini) with the last part alone.")
]
Target = Annotated[Path, typer.Option(help="Folder to write to.")]
Seed = Annotated[int, typer.Option(help="For everything that is drawn.")]


@app.callback()
def _root() -> None:
    # Libraries' own bars and notes would run through ours.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@app.command()
def data(corpus: Corpus, held_out: HeldOutRows, to: Work, count: Count = 400_000, seed: Seed = 0) -> None:
    """Clean the corpus, make the exercises, check both against the held-out rows. About 20 minutes."""
    asked = {"seed": seed, "count": count}
    folder = to / DATA
    if (done := _read_json(folder / MANIFEST)) is not None:
        if any(done[name] != value for name, value in asked.items()):
            raise DataError(f"{folder} was made with another seed or count", hint="name a new WORK")
        err.print("data: done before", markup=False)
        return
    from recipes.yuan2_mini.data import make_data

    make_data(corpus, held_out, folder, count=count, seed=seed, say=_say)


@app.command()
def tokenizer(to: Work, seed: Seed = 0, base: Base = None) -> None:
    """Train the tokenizer on the data, or take that of the base."""
    if (to / TOKENIZER / "tokenizer_config.json").is_file():
        err.print("tokenizer: done before", markup=False)
        return
    if base is not None:
        from yuantune.models.load import resolve

        (to / TOKENIZER).mkdir(parents=True, exist_ok=True)
        for name in TOKENIZER_FILES:  # As they are: to load and save them would change their wording.
            shutil.copyfile(resolve(base) / name, to / TOKENIZER / name)
        return
    make_tokenizer(to / DATA, to / TOKENIZER, seed=seed, say=_say)


@app.command()
def pretrain(to: Work, minutes: Minutes = None, base: Base = None) -> None:
    """Train the model in its parts (hours), or go on where that stopped. Exit 75: the time was up first."""
    shutil.copyfile(HERE / "model.json", to / "model.json")
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    more = []
    if not computes_bfloat16("cpu"):
        err.print("pretrain: no units for bfloat16 here, so all of it in float32", markup=False)
        more = ["--set", "train.bf16=false"]
    for run, config in RUNS.items():
        if base is not None and run != LISTS:
            continue
        if _trained(to / run):
            err.print(f"pretrain: {run} done before", markup=False)
            continue
        _prepare(run, to, base)
        begun = any((to / run).glob("checkpoint-*"))
        words = [run, "--resume"] if begun else [str((HERE / config).resolve()), *more]
        if ends is not None:
            words += ["--set", f"train.max_minutes={max(ends - time.monotonic(), 1) / 60:.2f}"]
        # The config names its files as WORK has them.
        command = [sys.executable, "-c", _YUANTUNE, "pretrain", *words]
        code = subprocess.run(command, cwd=to, check=False).returncode
        if code or not _trained(to / run):
            raise typer.Exit(code or _UNFINISHED)


@app.command()
def memory(to: Work, count: Annotated[int, typer.Option(min=1, help="Beginnings of lines.")] = 500) -> None:
    """Test whether the model recites its corpus: beginnings of lines, continued greedily. Exit 1 where it does."""
    found = memory_test(to / LISTS / MODEL, to / DATA, count=count, seed=0, say=_say)
    write_text(to / MEMORY, json.dumps(found, ensure_ascii=False, indent=2) + "\n")
    out.print_json(json.dumps(found, ensure_ascii=False))
    if found["recited"]:
        raise WorkFailed(f"the model recites: {found['recited']} continuations share {found['limit']} characters")


@app.command()
def install(to: Work, target: Target = RESOURCES / "yuan2-mini") -> None:
    """Put the model, in bfloat16, its tokenizer, manifest and losses where the package ships them."""
    install_model(to / LISTS / MODEL, to / TOKENIZER, target)
    own = [to / run for run in RUNS if _trained(to / run)]
    describe(own, to / DATA, to / MEMORY, to / MEAN, target)
    out.print(str(target), markup=False)


@app.command()
def scores(
    to: Work,
    resumener: Annotated[Path | None, typer.Option(help="Folder with ResumeNER's train and dev files.")] = None,
    model: Annotated[str, typer.Option(help="The model that is fine-tuned.")] = "yuan2-mini",
    only: Annotated[list[str] | None, typer.Option(help="Only this setting of scores.yaml; several times.")] = None,
    choose: Annotated[bool, typer.Option(help="Score on a tenth of the train rows, to choose by.")] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds of each setting: 0, 1, … (else its own).")] = None,
    trial: Annotated[str, typer.Option(help="A name for what --set changes; its results are kept apart.")] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change an option: section.option=value.")
    ] = None,
) -> None:
    """Fine-tune by scores.yaml and score before and after. Hours for ResumeNER; what is done is not done again."""
    from recipes.yuan2_mini import scores as stage

    if (settings or seeds) and not trial:
        raise ConfigError("--set and --seeds change the settings", hint="name the change: --trial NAME")
    folder = to / SCORES / (trial or ("chosen" if choose else "reported"))
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for setting in stage.settings(only or []):
        files = stage.data_files(setting.data, resumener, folder, choose=choose)
        for seed in range(seeds) if seeds else setting.seeds[:1] if choose else setting.seeds:
            err.print(f"scores: {setting.what}, seed {seed}", markup=False)
            results.append(
                stage.run_setting(
                    setting,
                    seed,
                    files,
                    folder / f"{setting.name}-{seed}",
                    model=model,
                    more=settings or [],
                    # The untrained model is the same for all, and trials compare what it becomes.
                    score_before=not trial and seed == setting.seeds[0],
                )
            )
    out.print_json(json.dumps(stage.table(results)))


@app.command()
def methods(
    to: Work,
    resumener: Annotated[Path | None, typer.Option(help="Folder with ResumeNER's train and dev files.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this method of methods.yaml; several times.")] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(help="Of few, whole and new (methods.yaml); several times; else all of them."),
    ] = None,
) -> None:
    """Measure every method by methods.yaml, each with its best rate. Hours; what is done is not done again."""
    from recipes.yuan2_mini import methods as stage

    chosen = list(dict.fromkeys(rows or stage.ROWS))
    results = stage.measure(stage.study(only or []), resumener, to / METHODS, _say, rows=chosen)
    for name in chosen:
        if lines := stage.table(results, name):
            typer.echo(f"\n{name} rows\n\n{stage.markdown(lines)}")


@app.command(name="all")
def everything(
    corpus: Corpus,
    held_out: HeldOutRows,
    to: Work,
    count: Count = 400_000,
    seed: Seed = 0,
    minutes: Minutes = None,
    base: Base = None,
    target: Target = RESOURCES / "yuan2-mini",
) -> None:
    """All stages in order. Started again, it goes on with the stage that was not done."""
    data(corpus, held_out, to, count, seed)
    tokenizer(to, seed, base)
    pretrain(to, minutes, base)
    memory(to)
    install(to, target)


def _trained(run: Path) -> bool:
    return (run / MODEL / "model.safetensors").is_file()


def _prepare(run: str, to: Path, base: str | None) -> None:
    """Make the model that a part goes on with, where it is not the one before as it is."""
    from recipes.yuan2_mini.between import mean_model, spread_model, take_base

    made = {REFINED: to / SPREAD, LISTS: to / MEAN}.get(run)
    if made is None or (made / "model.safetensors").is_file():
        return
    if run == REFINED:
        count = spread_model(to / ANNEALED / MODEL, made, seed=0)
        err.print(f"pretrain: {count:,} pieces set apart from each other", markup=False)
    elif base is not None:
        take_base(base, made)
    else:
        mean_model(to / SPREAD, to / REFINED / MODEL, made)


def _read_json(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.is_file() else None


def _say(text: str) -> None:
    err.print(text, markup=False)


def main() -> None:
    """Runs a command; turns its errors into messages and exit codes."""
    try:
        app()
    except YuantuneError as error:
        print_error(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
