"""The report on a sweep: its lines, its notices and its bar."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.runs import sweep_report
from mtl_runner.runs.sweep_report import SweepReport, result_of
from tests.support.screen import shown
from tests.unit.runs.test_sweep_records import RESULTS, leave, notice

JOBS = {number: ["data=digits", f"seed={number}"] for number in range(3)}


@pytest.fixture
def report(tmp_path: Path) -> SweepReport:
    """The report on a sweep of three runs."""
    return SweepReport(tmp_path)


def test_a_line_says_which_run_ended_how_and_after_what_time(
    report: SweepReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a sweep does not say what came of each run, or more than that."""
    with report.watching(JOBS):
        leave(tmp_path / "1_run", "finished", JOBS[1])
        report.look()
        leave(tmp_path / "0_run", "failed", JOBS[0], reason="The loss became nan.")
        report.look()
    printed = capsys.readouterr()
    assert printed.out == "[1 of 3] 1: seed=1  relative_loss 0.5, 3.2 s\n"
    assert printed.err == "[2 of 3] 0: seed=0  failed: The loss became nan.\n"
    assert (report.done, report.failed, report.total) == (2, 1, 3)


def test_what_no_directory_tells_is_told_by_the_launcher_once(
    report: SweepReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a run whose directory is taken, or whose disk is full, has no line, or two."""
    with report.watching(JOBS):
        report.end_run(0, None, "The disk is full.")
        leave(tmp_path / "0_run", "failed", JOBS[0], reason="The disk is full.")
        leave(tmp_path / "1_run", "finished", JOBS[1])
    report.end_run(1, tmp_path / "1_run", "")
    report.end_run(2, tmp_path / "2_run", "already holds a metrics.csv")
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 1
    assert [line.split("  ")[1] for line in printed.err.splitlines()] == [
        "failed: The disk is full.",
        "failed: already holds a metrics.csv",
    ]
    assert (report.done, report.failed) == (3, 2)


def test_notices_are_shown_once_per_sweep(
    report: SweepReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a hundred runs warn a hundred times."""
    with report.watching(JOBS):
        for number in JOBS:
            run = leave(tmp_path / f"{number}_run", "running", JOBS[number])
            notice(run, f"lr={0.1 + number} is high\n")
            report.look()
    assert capsys.readouterr().out == "note, first in 0: seed=0: lr=0.1 is high\n"


def test_a_resumed_sweep_counts_what_is_finished(
    report: SweepReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a sweep that goes on begins to count at 1, or lists what it has."""
    leave(tmp_path / "0_run", "finished", JOBS[0])
    with report.watching(JOBS):
        leave(tmp_path / "1_run", "finished", JOBS[1])
    assert capsys.readouterr().out.splitlines() == [
        "1 run of 3 is finished already.",
        "[2 of 3] 1: seed=1  relative_loss 0.5, 3.2 s",
    ]


def test_names_and_the_total_of_a_study_are_its_own(
    report: SweepReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if the lines of a study do not name its strategies, or count each phase anew."""
    report.total = 120
    report.names = {2: "famo frozen seed=1"}
    with report.watching({2: JOBS[2]}):
        leave(tmp_path / "2_run", "finished", JOBS[2])
    assert capsys.readouterr().out.startswith("[  1 of 120] 2: famo frozen seed=1  relative_loss")
    assert report.name_of(2) == "2: famo frozen seed=1"


def test_names_cannot_steer_a_terminal(
    report: SweepReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if the text of an option or a reason is obeyed by the terminal."""
    with report.watching({0: ["name=\x1b[2J"], 1: []}):
        leave(tmp_path / "0_run", "failed", ["name=\x1b[2J"], reason="\x1b]0;title\x07")
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ends", "seconds", "left"), [((12,), 1.0, "23 s"), ((12,), 30.0, "12 s"), ((5, 6), 1.0, "4 s")]
)
def test_the_time_left_counts_down_and_waits_for_a_late_run(
    report: SweepReport,
    monkeypatch: pytest.MonkeyPatch,
    ends: tuple[float, ...],
    seconds: float,
    left: str,
) -> None:
    """Breaks if the time left grows while a run trains, or runs out before the runs do."""
    now = 100.0
    monkeypatch.setattr(sweep_report.time, "monotonic", lambda: now)
    report.total, report.done = 3, len(ends)
    report._clock.start()
    for duration in ends:
        now += duration
        report._clock.count()
    now += seconds
    assert report.state == f"{len(ends)} of 3, {left} left"


def test_a_terminal_has_a_bar_below_the_lines(
    report: SweepReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the bar is missing, stays behind, or stands in the way of a line."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    with report.watching(JOBS):
        leave(tmp_path / "0_run", "failed", JOBS[0], reason="No data.")
        report.look()
        lines = shown(terminal.getvalue())
        assert lines[0] == "[1 of 3] 0: seed=0  failed: No data."
        assert lines[1].split("1 of 3")[1].startswith(", 1 failed")
    assert shown(terminal.getvalue()) == lines[:1]


@pytest.mark.parametrize(
    ("summary", "words"),
    [
        ({"status": "finished", **RESULTS, "judge": "best"}, "relative_loss 0.25, 3.2 s"),
        ({"status": "finished", "monitor": {"name": "loss", "final": None}}, "loss nan"),
        (
            {"status": "interrupted", "reason": "stopped by SIGTERM"},
            "interrupted: stopped by SIGTERM",
        ),
        ({"status": "running"}, "running: run.log may say why"),
        ({}, "finished"),
    ],
)
def test_a_result_is_told_as_it_is_judged(summary: dict[str, Any], words: str) -> None:
    """Breaks if a line shows another number than the one that judges the run."""
    assert result_of(summary) == words


def test_an_accuracy_has_its_own_sign() -> None:
    """Breaks if a person reads that an accuracy is -0.94."""
    metrics = {"accuracy": {"higher_is_better": True, "in_delta_m": True}}
    task = {"kind": "classification", "main_metric": "accuracy", "metrics": metrics}
    monitor = {"name": "label.accuracy", "final": -0.94, "best": -0.95}
    summary = {"status": "finished", "monitor": monitor, "tasks": {"label": task}}
    assert result_of(summary) == "label.accuracy 0.94"
