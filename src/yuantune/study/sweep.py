"""A sweep from its config to its leaderboard: every trial an ordinary run, one after the other, resumable.

    SWEEP/sweep.yaml         the sweep's options as they were used
    SWEEP/plan.json          the trials, each with its run's whole config: written once, before the first is trained
    SWEEP/trials/003/        trial 3's run folder
    SWEEP/trials/003.json    what has become of it so far (`study/leaderboard.py`)
    SWEEP/trials/003.txt     what its run said
    SWEEP/leaderboard.*      json, csv and png
    SWEEP/best.yaml          the best trial's config, to train it anew

Whatever ends a sweep, these files say how far it was: finished work is never done again. Successive halving
(Jamieson and Talwalkar 2016; Li et al., Hyperband, 2018) pauses trials behind an evaluation, where their run writes
a checkpoint anyway, and goes on with the best ones as `yuantune train --resume` does: bit for bit the runs that
never paused.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from yuantune.config import Config
from yuantune.data.writing import write_text
from yuantune.errors import (
    DiskFailed,
    Interrupted,
    Problem,
    RunError,
    UserError,
    WorkFailed,
    YuantuneError,
)
from yuantune.study.leaderboard import LEADERBOARD, Score, Standing, ranked, read_standing, save_tables
from yuantune.study.sweep_folder import PLAN_FILE, begin, check_same, read_plan, resume_command
from yuantune.study.sweep_picture import draw_sweep
from yuantune.study.sweep_plan import Trial, check_data, plan
from yuantune.study.sweep_progress import SweepProgress
from yuantune.sweep_config import Places, Range, SweepConfig
from yuantune.train import folder as run_folder
from yuantune.train.checkpoint import FORMER, TEMPORARY, checkpoints, flaws, newest_checkpoint, step_of
from yuantune.train.lock import RunLock
from yuantune.train.progress import LOG_FILE, PauseAt, Paused, read_log

TRIALS = "trials"
BEST_FILE = "best.yaml"


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep came to: all trials, the best first, and the best one's run folder and config file."""

    folder: Path
    names: list[str]
    standings: list[Standing]
    best: Path
    best_config: Path


def sweep(
    config: SweepConfig, *, resume: bool = False, console: Console | None = None, where: Places | None = None
) -> SweepResult:
    """Train the trials of `config` and leave everything in its `output_dir`; with `resume`, go on with it.

    Progress goes to `console` (default: stderr); `where` tells in which file each option stands. Raises the errors
    of `yuantune.errors`: a UserError comes before anything is written, WorkFailed where no trial has a score."""
    console = console or Console(stderr=True, highlight=False, soft_wrap=True)
    folder = Path(config.output_dir)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("a sweep is one process", hint="start it without torchrun or accelerate launch")
    if resume:
        check_same(folder, config)
        trials = read_plan(folder)
    else:
        run_folder.check_new(folder)
        trials, same = plan(config, where)
        if same:
            many = "combination is" if same == 1 else "combinations are"
            console.print(f"note: {same} {many} the same run as others, and left out", markup=False)
    try:
        with RunLock(folder) as lock:
            if resume:
                with run_folder.failures(folder):
                    lock.take()
            work = _Sweep(config, trials, console)
            check_data([each for each in trials if not work.standings[each.number].over], console)
            if not resume:
                begin(config, trials, lock)
            return work.go()
    except Interrupted as stopped:
        raise _interrupted(folder, stopped.message, stopped.exit_code - 128) from None
    except KeyboardInterrupt:
        raise _interrupted(folder, "stopped by Ctrl-C", signal.SIGINT) from None
    except DiskFailed as error:
        raise DiskFailed(error.message, problems=error.problems, hint=_hint(folder)) from error


def _hint(folder: Path) -> str:
    begun = (folder / PLAN_FILE).is_file()
    return f"`{resume_command(folder)}` goes on with the sweep" if begun else ""


def _interrupted(folder: Path, message: str, signal_number: int) -> Interrupted:
    hint = _hint(folder)
    if not hint:
        message += " before the first trial; nothing was written"
    return Interrupted(message, signal_number=signal_number, hint=hint)


# ------------------------------------------------------------------------------------------------------ the trials


class _Sweep:
    """A sweep at work: its trials, and the standings that are on the disk."""

    def __init__(self, config: SweepConfig, trials: Sequence[Trial], console: Console) -> None:
        self.config, self.trials, self.console = config, trials, console
        self.folder = Path(config.output_dir)
        self.place = self.folder / TRIALS
        self.names = [name for name in config.options if any(name in each.options for each in trials)]
        self.standings: dict[int, Standing] = {}
        for each in trials:
            path = self._file(each, "json")
            self.standings[each.number] = (
                read_standing(path) if path.exists() else Standing(each.number, each.options)
            )

    def go(self) -> SweepResult:
        """Rung by rung, then to the end."""
        alive, rung = list(self.trials), 0
        factor = self.config.halving.factor
        with SweepProgress(self.console, len(self.trials)) as self.progress:
            while True:
                halving = factor is not None and len(alive) > 1
                budget = self.config.halving.first * factor**rung if factor is not None and halving else None
                for each in alive:
                    self._leg(each, budget, rung + 1)
                if budget is None or factor is None or all(self._standing(each).over for each in alive):
                    break
                rung += 1
                alive = self._promoted(alive, budget, max(1, len(alive) // factor), rung)
        return self._end()

    def _promoted(self, alive: list[Trial], evaluations: int, most: int, rung: int) -> list[Trial]:
        """The best `most` of them by their first `evaluations`; the others that have not ended are stopped."""
        order = ranked([self._standing(each) for each in alive], evaluations)
        chosen = {each.trial for each in order[:most]}
        for each in alive:
            standing = self._standing(each)
            if each.number not in chosen and not standing.over:
                standing.state, standing.rung = "stopped", rung
                self._save(each)
        self._tidy()
        there = "1 evaluation" if evaluations == 1 else f"{evaluations} evaluations"
        self.progress.say(f"rung {rung}, {there}: {len(chosen)} of {len(alive)} trials go on")
        return [each for each in alive if each.number in chosen]

    def _leg(self, trial: Trial, budget: int | None, rung: int) -> None:
        """Train a trial until it has been evaluated `budget` times (None: to its end), as far as it is not yet."""
        standing, run = self._standing(trial), self.place / trial.name
        if standing.over or (budget is not None and len(standing.evaluations) >= budget):
            return
        checkpoint = newest_checkpoint(run)
        started = time.monotonic()
        interrupted = None
        try:
            if self._is_finished(trial):
                standing.state = "finished"
            elif budget is not None and len(scores_of(run, trial.config, step_of(checkpoint))[1]) >= budget:
                standing.state = "paused"
            else:
                self._train(trial, budget, rung, resume=checkpoint is not None)
                standing.state = "finished"
        except Paused:
            standing.state = "paused"
        except (DiskFailed, RunError):
            raise
        except Interrupted as stopped:
            if self._is_finished(trial):
                standing.state = "finished"
            message = f"{stopped.message} (trial {trial.number} of {len(self.trials)})"
            interrupted = Interrupted(message, signal_number=stopped.exit_code - 128)
        except Exception as error:  # A trial that fails is a result, whatever it was.
            standing.state = "failed"
            standing.reason = _reason(error)
            with suppress(OSError), self._file(trial, "txt").open("a", encoding="utf-8") as file:
                file.write(f"{error}\n" if isinstance(error, YuantuneError) else traceback.format_exc())
        finally:
            standing.seconds += time.monotonic() - started
            self._look(trial)
            gc.collect()  # A trainer and its model hold one another.
        self._save(trial)
        self._tidy()
        if interrupted is not None:
            raise interrupted
        self.progress.ended(standing)

    def _train(self, trial: Trial, budget: int | None, rung: int, *, resume: bool) -> None:
        from yuantune.train.run import fine_tune

        run = self.place / trial.name
        if not resume and run.exists():  # It was killed before its first checkpoint.
            shutil.rmtree(run)
        self.place.mkdir(exist_ok=True)
        train = trial.config.train
        if self.config.keep == "best" and train.save_total_limit is None:
            train = train.model_copy(update={"save_total_limit": 1})
        config = trial.config.model_copy(update={"output_dir": str(run), "train": train})
        watch: list[Any] = [self.progress.begin(trial, rung if budget is not None else 0)]
        pause = [] if budget is None else [PauseAt(budget)]
        with self._file(trial, "txt").open("a", encoding="utf-8") as file:
            own = Console(file=file, highlight=False, soft_wrap=True, force_terminal=False)
            fine_tune(config, resume=resume, console=own, callbacks=[*watch, *pause])

    def _look(self, trial: Trial) -> None:
        """What its log says of it."""
        standing, run = self._standing(trial), self.place / trial.name
        newest = None if standing.state in ("finished", "failed") else step_of(newest_checkpoint(run))
        standing.metric, standing.evaluations = scores_of(run, trial.config, newest)
        standing.steps = max((line["step"] for line in read_log(run / LOG_FILE)), default=0)
        train = trial.config.train
        standing.rows = standing.steps * train.per_device_train_batch_size * train.gradient_accumulation_steps
        metrics = {each.metric for each in self.standings.values() if each.metric and each.state != "failed"}
        if len(metrics) > 1 and standing.state != "failed":
            others = ", ".join(sorted(metrics - {standing.metric}))
            standing.state, standing.reason = "failed", f"scored by {standing.metric}, the others by {others}"
        if standing.state == "finished" and standing.best() is None:
            standing.state, standing.reason = "failed", "it ended before it was evaluated"

    def _end(self) -> SweepResult:
        """The last files: picture, and the best trial's config."""
        standings = list(self.standings.values())
        self._save_tables()
        order = ranked(standings)
        if not order:
            raise WorkFailed(
                f"none of {len(standings)} trials has a score",
                problems=[Problem(str(each), self._standing(each).reason) for each in self.trials],
                hint=f"what they said is in {self.place}/*.txt; sweep again into another output_dir",
            )
        scales = {}
        for name in self.names:
            tried = self.config.options[name]
            scales[name] = tried.scale if isinstance(tried, Range) else "values"
        with run_folder.failures(self.folder):
            draw_sweep(standings, scales, self.folder / f"{LEADERBOARD}.png")
        best = next(each for each in self.trials if each.number == order[0].trial)
        anew = best.config.model_copy(update={"output_dir": str(self.folder / "best")})
        write_text(self.folder / BEST_FILE, anew.dump())
        return SweepResult(
            folder=self.folder,
            names=self.names,
            standings=[*order, *(each for each in standings if each not in order)],
            best=self.place / best.name,
            best_config=self.folder / BEST_FILE,
        )

    # ---------------------------------------------------------------------------------------------- on the disk

    def _standing(self, trial: Trial) -> Standing:
        return self.standings[trial.number]

    def _file(self, trial: Trial, kind: str) -> Path:
        return self.place / f"{trial.name}.{kind}"

    def _is_finished(self, trial: Trial) -> bool:
        from yuantune.methods import METHODS

        return not flaws(self.place / trial.name / METHODS[trial.config.method].FOLDER, hashes=False)

    def _save(self, trial: Trial) -> None:
        self._standing(trial).save(self._file(trial, "json"))
        self._save_tables()

    def _save_tables(self) -> None:
        save_tables(list(self.standings.values()), self.names, self.folder)

    def _tidy(self) -> None:
        """Under `keep: best`, remove the weights of trials that have ended, but for those of the best result."""
        if self.config.keep == "all":
            return
        from yuantune.methods import METHODS

        results = ranked([each for each in self.standings.values() if each.state == "finished"])
        for trial in self.trials:
            standing = self._standing(trial)
            if not standing.over or standing in results[:1]:
                continue
            run = self.place / trial.name
            result = run / METHODS[trial.config.method].FOLDER
            for weights in (result, *checkpoints(run).values(), run / TEMPORARY, run / FORMER):
                shutil.rmtree(weights, ignore_errors=True)


def _reason(error: Exception) -> str:
    """What a table says of a failure; the rest is in the trial's `.txt`."""
    if not isinstance(error, YuantuneError):
        return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
    more = f" ({error.problems[0]})" if error.problems else ""
    return error.message + more


def scores_of(run: Path, config: Config, last: int | None) -> tuple[str, list[Score]]:
    """The metric of a run and its evaluations until step `last` (None: all), by its log."""
    metric, scores = "", []
    for line in read_log(run / LOG_FILE):
        if "eval_loss" not in line or (last is not None and line["step"] > last):
            continue
        names = ["loss"] if config.eval.metric == "loss" else ["f1", "rouge_l"]
        metric = next((name for name in names if f"eval_{name}" in line), names[0])
        scores.append(Score(line["step"], line.get(f"eval_{metric}"), line["eval_loss"]))
    return metric, scores
