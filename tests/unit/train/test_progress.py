"""The progress bar shows a training on a terminal, and leaves it alone elsewhere."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest
from tqdm import tqdm

from mtl_runner.train.progress import ProgressBar
from mtl_runner.train.terminal import say
from tests.support.screen import shown


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def make_training() -> SimpleNamespace:
    """Return a loop of 4 epochs that is resumed after the second one, at step 20."""
    settings = SimpleNamespace(trainer=SimpleNamespace(epochs=4))
    return SimpleNamespace(
        epoch=2, step=20, on_epoch=None, settings=settings, progress="val relative_loss 0.5"
    )


def test_a_terminal_shows_epochs_objective_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if the bar starts at 0 after a resume, or does not say how training goes."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    training = make_training()
    with ProgressBar(training) as bar:
        assert training.on_epoch == bar.update
        training.step = 30
        training.on_epoch(3, 0.12345)
        bar.bar.refresh()
    assert "3/4" in terminal.getvalue()
    # The number that judges the run comes first: a narrow terminal cuts the others off.
    assert ", val relative_loss 0.5, total loss 0.1235, " in terminal.getvalue()
    assert "steps/s" in terminal.getvalue()


def test_a_pipe_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if the log file of a batch job fills with bars."""
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    training = make_training()
    with ProgressBar(training):
        assert training.on_epoch is None
    assert pipe.getvalue() == ""


def test_a_short_run_under_the_bar_of_a_sweep_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if the bars of short runs flicker under that of their sweep, or workers show some."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for name, is_shown in (("4 runs", True), ("4 runs", False), (None, False)):
        training = make_training()
        with ProgressBar(training, name, is_shown) as bar:
            bar.update(3, 0.5)
            assert (training.on_epoch is not None) == is_shown
    assert terminal.getvalue().strip() == ""


def test_a_bar_that_a_line_has_drawn_before_its_time_is_gone_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Breaks if a short run of a sweep leaves its bar in the line that is printed next."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", terminal)
    of_sweep = tqdm(bar_format="{desc}", desc="of the sweep", leave=False, file=terminal)
    with ProgressBar(make_training(), "of the run"):
        say("a line above both")
        assert "of the run" in "\n".join(shown(terminal.getvalue()))
    say("the next line")
    of_sweep.close()
    assert [line for line in shown(terminal.getvalue()) if line.strip()] == [
        "a line above both",
        "the next line",
    ]
