"""Runs that wait for a process of their own: recorded, trained, and accounted for."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from mtl_runner.errors import RunDirectoryError
from mtl_runner.results.records.run import read_run
from mtl_runner.runs.lifecycle import write_status
from mtl_runner.runs.lock import locked
from mtl_runner.runs.queued import (
    dequeue,
    enqueue,
    record_death,
    recorded_outcome,
    recorded_request,
    was_interrupted,
)
from mtl_runner.runs.records import read_summary
from mtl_runner.runs.runner import run
from tests.unit.runs.small_runs import tiny_request


def test_a_queued_run_is_all_in_its_directory(tmp_path: Path) -> None:
    """Breaks if a process that knows the directory trains something else."""
    request = replace(tiny_request(tmp_path / "run", "seed=3"), choices={"weighting": "fixed"})
    assert enqueue(request) is None
    assert read_run(tmp_path / "run").status == "queued"
    recorded = recorded_request(tmp_path / "run", "3: seed=3")
    assert recorded.config == request.config
    assert (recorded.overrides, recorded.choices) == (["seed=3"], {"weighting": "fixed"})
    assert recorded.job == "3: seed=3"
    outcome = run(recorded)
    assert math.isfinite(outcome.monitor)
    assert enqueue(request) == outcome, "a finished run is not queued again"
    assert read_run(tmp_path / "run").status == "finished"


def test_a_run_that_a_process_trains_is_not_queued(tmp_path: Path) -> None:
    """Breaks if two processes train one run."""
    request = tiny_request(tmp_path / "run")
    enqueue(request)
    write_status(request, "running")
    with locked(tmp_path / "run"):
        with pytest.raises(RunDirectoryError, match="is being written by another process"):
            enqueue(request)
        assert read_run(tmp_path / "run").status == "running"
    assert read_run(tmp_path / "run").reason == "killed, or still running"


def test_a_run_that_nobody_will_train_is_forgotten_unless_it_has_begun(tmp_path: Path) -> None:
    """Breaks if a refused sweep leaves runs behind, or takes a trained one away."""
    fresh, begun = tiny_request(tmp_path / "fresh"), tiny_request(tmp_path / "begun")
    enqueue(fresh)
    enqueue(begun)
    (tmp_path / "begun" / "metrics.csv").write_text("precious")
    for request in (fresh, begun):
        dequeue(request)
    assert not (tmp_path / "fresh").exists()
    assert (tmp_path / "begun" / "metrics.csv").read_text() == "precious"


def test_a_dead_process_is_a_failed_run_with_its_reason(tmp_path: Path) -> None:
    """Breaks if nobody says why a run has no result."""
    request = tiny_request(tmp_path / "run")
    enqueue(request)
    write_status(request, "running")
    assert recorded_outcome(request) is None
    outcome = record_death(request, "It was killed.")
    assert (outcome.error, outcome.exit_code) == ("It was killed.", 1)
    recorded = read_run(tmp_path / "run")
    assert (recorded.status, recorded.reason) == ("failed", "It was killed.")
    assert record_death(request, "Another reason.").error == "It was killed."


def test_a_run_that_a_signal_stopped_may_go_on(tmp_path: Path) -> None:
    """Breaks if a launcher takes a saved run for one that failed by itself."""
    request = tiny_request(tmp_path / "run")
    enqueue(request)
    assert not was_interrupted(tmp_path / "run")
    write_status(request, "interrupted", "stopped by SIGTERM")
    assert was_interrupted(tmp_path / "run")
    outcome = recorded_outcome(request)
    assert outcome is not None
    assert outcome.error == "stopped by SIGTERM"
    assert read_summary(tmp_path / "run")["status"] == "interrupted"
