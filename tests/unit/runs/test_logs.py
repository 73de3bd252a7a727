"""The messages of a run: which go to the terminal, and which to run.log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtl_runner.runs.logs import NOTICES, RunLogs, logging_to, logging_to_many
from mtl_runner.train import interruption

LOG = logging.getLogger("mtl_runner")
TRACEBACKS = logging.getLogger("mtl_runner.file")


@pytest.fixture(autouse=True)
def unchanged_logger() -> Iterator[None]:
    """Put the level and propagation of our logger back."""
    level, propagate = LOG.level, LOG.propagate
    yield
    LOG.setLevel(level)
    LOG.propagate = propagate


def test_run_log_holds_what_the_terminal_shows_and_tracebacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a user sees a traceback, or cannot find it in run.log."""
    with logging_to(tmp_path):
        LOG.info("the loss falls")
        TRACEBACKS.error("Traceback: line 3")
    shown = capsys.readouterr().out
    written = (tmp_path / "run.log").read_text()
    assert shown == "the loss falls\n"
    assert written.splitlines()[1:] == ["the loss falls", "Traceback: line 3"]


def test_nothing_is_logged_after_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if the runs of one process write into each other's run.log."""
    with logging_to(tmp_path):
        pass
    before = (tmp_path / "run.log").read_text()
    LOG.info("another run")
    assert (tmp_path / "run.log").read_text() == before
    assert "another run" not in capsys.readouterr().out


def test_the_terminal_shows_messages_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a full disk, or a directory that is gone, silences a run."""
    with logging_to(tmp_path / "gone"):
        LOG.info("still here")
    assert capsys.readouterr().out == "still here\n"


def test_many_runs_have_their_own_logs_and_notices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a hundred runs warn a hundred times, or a message goes into another run's log."""
    logs = RunLogs()
    for name in ("a", "b"):
        (tmp_path / name / ".hydra").mkdir(parents=True)
    with logging_to_many(logs):
        for i, name in enumerate("ab"):
            logs.directory = tmp_path / name
            LOG.info("epoch 1")
            LOG.warning("lr=%s is high", 0.1 + i)
        logs.directory = None
        LOG.info("of no run")
    assert capsys.readouterr().out == "", "the report of the sweep shows its notices"
    assert (tmp_path / "b" / NOTICES).read_text() == "lr=1.1 is high\n"
    assert (tmp_path / "a" / "run.log").read_text() == "epoch 1\nlr=0.1 is high\n"
    assert (tmp_path / "b" / "run.log").read_text() == "epoch 1\nlr=1.1 is high\n"


def test_a_run_of_a_sweep_leaves_its_warnings_as_notices_a_line_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a notice of many lines counts as many, or tracebacks and single runs leave some."""
    (tmp_path / ".hydra").mkdir()
    with logging_to(tmp_path):
        LOG.warning("of a single run")
    assert not (tmp_path / NOTICES).exists()
    capsys.readouterr()
    with logging_to(tmp_path, in_sweep=True, terminal=False):
        LOG.info("epoch 1")
        LOG.warning("two\nlines")
        TRACEBACKS.error("Traceback: line 3")
        interruption.log.info("Stopping at the next evaluated epoch.")
    assert (tmp_path / NOTICES).read_text() == "two lines\n"
    assert "two\nlines\nTraceback: line 3\n" in (tmp_path / "run.log").read_text()
    # Who presses Ctrl-C is at the terminal of the sweep, and is answered there.
    assert capsys.readouterr().out == "Stopping at the next evaluated epoch.\n"
