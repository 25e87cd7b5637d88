"""What a person sees of a run: a bar on a terminal, lines elsewhere; and what signals and logs do."""

from __future__ import annotations

import io
import json
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from transformers import TrainerControl, TrainerState

from yuantune.train.progress import LogFile, ProgressBar, StopOnSignal, plot_losses, read_log

ARGS = SimpleNamespace(fp16=False)


def state(step: int = 0, **more: object) -> TrainerState:
    return TrainerState(global_step=step, max_steps=40, is_world_process_zero=True, **more)


def shown(*, terminal: bool) -> str:
    """What 40 steps and an evaluation print."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120, highlight=False)
    bar, control = ProgressBar(console, per_step=12), TrainerControl()
    bar.on_train_begin(ARGS, state(), control)
    for step in range(1, 41):
        bar.on_log(ARGS, state(step), control, logs={"loss": 1 / step})
    bar.on_log(ARGS, state(40, epoch=3.0), control, logs={"eval_loss": 0.5})
    bar.on_train_end(ARGS, state(40), control)
    bar.close()
    return stream.getvalue()


def test_a_terminal_gets_a_bar_with_loss_and_rate() -> None:
    text = shown(terminal=True)
    assert "40/40" in text
    assert "loss 0.0250" in text
    assert "rows/s" in text
    assert "epoch 3.00: evaluation loss 0.5000" in text
    assert "step 40/40" not in text


def test_elsewhere_about_twenty_lines() -> None:
    lines = shown(terminal=False).splitlines()
    assert len(lines) == 21
    assert lines[0].startswith("step 2/40  loss 0.5000  ")
    assert lines[-1] == "epoch 3.00: evaluation loss 0.5000"


def test_the_second_signal_stops_at_once(request: pytest.FixtureRequest) -> None:
    # A job in the background starts with SIGINT ignored.
    outer = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, outer))
    before = signal.getsignal(signal.SIGINT)
    stop, control = StopOnSignal(), TrainerControl()
    with pytest.raises(KeyboardInterrupt), stop:
        assert not stop.on_step_end(ARGS, state(1), control).should_training_stop
        signal.raise_signal(signal.SIGINT)
        assert stop.on_step_end(ARGS, state(2), control).should_training_stop
        assert control.should_save
        signal.raise_signal(signal.SIGINT)
    assert stop.received == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before


def test_the_log_is_cut_back_to_where_training_goes_on(tmp_path: Path) -> None:
    log, control = LogFile(tmp_path), TrainerControl()
    for step in range(1, 5):
        log.on_log(ARGS, state(step), control, logs={"loss": 1.0 / step, "eval_runtime": 3.0, "epoch": step / 2})
    log.on_log(ARGS, state(4), control, logs={"train_loss": 0.5})
    with log.path.open("a", encoding="utf-8") as file:
        file.write('{"step": 5, "lo')
    assert [line["step"] for line in read_log(log.path)] == [1, 2, 3, 4]
    log.on_train_begin(ARGS, state(2), control)
    lines = log.path.read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "loss": 1.0, "epoch": 0.5},
        {"step": 2, "loss": 0.5, "epoch": 1.0},
    ]


def test_a_plot_of_nothing_is_a_plot(tmp_path: Path) -> None:
    plot_losses([], tmp_path / "empty.png")
    plot_losses([{"step": 1, "loss": 2.0}, {"step": 1, "eval_loss": 1.0}], tmp_path / "two.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("empty.png", "two.png"))


def test_a_plot_shows_every_loss_and_counts_steps_in_whole_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, file, format: drawn.append(self))
    log = [{"step": step, "loss": 9.0 - step / 100} for step in (1, 2, 3)]
    plot_losses([*log, {"step": 3, "eval_loss": 9.02}], tmp_path / "loss.png")
    axes = drawn[0].axes[0]
    low, high = axes.get_ylim()
    assert low < 8.97 and high > 9.02 and high - low < 0.1  # The curve fills the axes, and is not cut.
    assert all(float(tick).is_integer() for tick in axes.get_xticks())
