"""`yuantune eval` and `compare`, and how scores are printed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from yuantune.cli.console import err, out
from yuantune.errors import DataError, UserError

_RATIOS = ("precision", "recall", "f1")
_NAMES = ("precision", "recall", "F1")


def register(app: typer.Typer) -> None:
    """Put the commands on the app."""
    app.command(name="eval")(evaluate)
    app.command()(compare)


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    data: Annotated[str, typer.Option(help="Labelled rows: file, folder or hub dataset.")],
    name: Annotated[str | None, typer.Option(help="Folder under RUN/eval (default: the data's name).")] = None,
    free: Annotated[bool, typer.Option(help="Answer without constraint, too, and say how valid that is.")] = True,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer in tokens.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows answered at once.")] = None,
    constrain: Annotated[bool | None, typer.Option(help="Extraction: hold answers to the labels' JSON.")] = None,
    grounded: Annotated[bool | None, typer.Option(help="And their strings to pieces of the text.")] = None,
    model: Annotated[str | None, typer.Option(help="Where the base model is now, if it has moved.")] = None,
    device_map: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps.")] = None,
) -> None:
    """Score a trained run on labelled rows; everything is left in RUN/eval/NAME."""
    from yuantune.data.readers import read_all
    from yuantune.infer.opening import load
    from yuantune.train import evaluate as stage

    records = read_all(data)
    if not any(record.has_answer for record in records):
        raise DataError(f"{data} holds no answers to compare with", hint="`yuantune extract` answers rows without")
    name = name or Path(data.replace("#", "-")).stem
    stage.check_name(run, name)
    extractor = load(run, model=model, device_map=device_map)
    extractor.set(max_new_tokens=max_new_tokens, batch_size=batch_size, constrain=constrain, grounded=grounded)
    try:
        seen = stage.forms_seen(run)
    except (UserError, OSError) as error:
        err.print(f"note: seen and unseen strings are not told apart: {error}", markup=False)
        seen = None
    done = stage.evaluate(extractor, records, err, seen=seen, free=free)
    folder = done.save(run, name)
    assert done.scores is not None
    print_scores({"": done.scores}, f"{run} on {data}")
    if "micro" in done.scores:
        _print_details(done.scores)
    files = ", ".join(sorted(path.name for path in folder.iterdir()))
    err.print(f"in {folder}: {files}", markup=False)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, at least two; the first is compared with.")],
    name: Annotated[
        str | None, typer.Option(help="Folder under RUN/eval (default: the one that all have).")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything there as JSON.")] = None,
    show: Annotated[int, typer.Option(min=0, help="Rows to name of those that changed.")] = 5,
) -> None:
    """Runs that were scored on the same rows, beside each other: differences, and whether they may be chance."""
    from yuantune.data.writing import write_text
    from yuantune.score.compare import compare as beside
    from yuantune.score.compare import markdown
    from yuantune.train.evaluate import read_evaluation

    if len(runs) < 2:
        raise UserError("name at least two runs")
    chosen = name or _common_name(runs)
    compared = beside([read_evaluation(run, chosen) for run in runs])
    out.print(markdown(compared), markup=False)
    for each in compared[1:]:
        for what, sources in (("right", each.better), ("wrong", each.worse)):
            more = f", … and {len(sources) - show} more" if len(sources) > show else ""
            if sources and show:
                err.print(f"newly {what} in {each.name}: {', '.join(sources[:show])}{more}", markup=False)
    if json_file is not None:
        write_text(
            json_file, json.dumps([each.to_dict() for each in compared], ensure_ascii=False, indent=2) + "\n"
        )


def _common_name(runs: list[Path]) -> str:
    """The one evaluation that all runs have. Raises UserError where there is none, or several."""
    from yuantune.train.evaluate import EVAL_FOLDER, PREDICTIONS_FILE

    sets = [{path.parent.name for path in (run / EVAL_FOLDER).glob(f"*/{PREDICTIONS_FILE}")} for run in runs]
    common = sorted(set.intersection(*sets))
    if not common:
        had = "; ".join(
            f"{run}: {', '.join(sorted(names)) or 'none'}" for run, names in zip(runs, sets, strict=True)
        )
        raise UserError(
            f"no evaluation is there for all of these runs ({had})", hint="`yuantune eval RUN --data FILE`"
        )
    if len(common) > 1:
        raise UserError(f"there are several evaluations: {', '.join(common)}", hint="say which: --name NAME")
    return common[0]


def print_scores(scores: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """One line for each of several scores: of labels, or of free text."""
    if "micro" in next(iter(scores.values())):
        _print_labels(scores, f"entities {title} (exact type and string)")
    else:
        _print_text(scores, f"answers {title}")


def _print_labels(scores: Mapping[str, Mapping[str, Any]], title: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    table.add_column("")
    for name in (*_NAMES, "95 %", "valid JSON", "rows right"):
        table.add_column(name, justify="right")
    for name, score in scores.items():
        micro, rows = score["micro"], score["rows"]
        low, high = (100 * bound for bound in micro["interval"])
        shares = [f"{round(score[share] * rows)}/{rows}" for share in ("valid", "exact")]
        table.add_row(escape(name), *_percent(micro), f"{low:.1f} to {high:.1f}", *shares)
    err.print(table)


def _print_text(scores: Mapping[str, Mapping[str, Any]], title: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    for name in ("", "exact match", "ROUGE-L", "token accuracy", "perplexity", "rows"):
        table.add_column(name, justify="right" if name else "left")
    for name, score in scores.items():
        cells = [f"{100 * score[each]:.1f}" for each in ("exact_match", "rouge_l")]
        # `generate` reads no expected answers: it has answered.
        cells.append(f"{100 * score['token_accuracy']:.1f}" if "token_accuracy" in score else "")
        cells.append(f"{score['perplexity']:.4g}" if "perplexity" in score else "")
        table.add_row(escape(name), *cells, str(score["rows"]))
    err.print(table)


def _print_details(scores: Mapping[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="by type, by place, by what was seen in training", title_justify="left")
    table.add_column("")
    for name in (*_NAMES, "gold", "predicted"):
        table.add_column(name, justify="right")
    for name, counts in scores["per_type"].items():
        table.add_row(escape(name), *_percent(counts), str(counts["gold"]), str(counts["predicted"]))
    table.add_section()
    others = {"spans": scores["span"]} | {name: scores[name] for name in ("seen", "unseen") if name in scores}
    for name, counts in others.items():
        table.add_row(name, *_percent(counts), str(counts["gold"]), str(counts["predicted"]))
    for name, near in scores["span"]["schemes"].items():
        table.add_row(f"spans, {name}", *_percent(near), "", "")
    err.print(table)
    speed = scores["speed"]
    lines = {"held": scores} if "unconstrained" not in scores else {"held": scores, "free": scores["unconstrained"]}
    for name, each in lines.items():
        shares = ", ".join(f"{what} {100 * each[what]:.1f} %" for what in ("valid", "schema", "grounded"))
        err.print(f"{name} answers: {shares}; F1 {100 * each['micro']['f1']:.1f}", markup=False)
    err.print(
        f"{speed['rows_per_second']:.1f} rows/s, {speed['answer_tokens_per_second']:.0f} answer tokens/s",
        markup=False,
    )


def _percent(counts: Mapping[str, Any]) -> list[str]:
    return [f"{100 * counts[name]:.1f}" for name in _RATIOS]
