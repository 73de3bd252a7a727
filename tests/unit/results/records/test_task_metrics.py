"""The metrics of tasks in runs of today and of older versions."""

from __future__ import annotations

import json
from pathlib import Path

from mtl_runner.results.records.task_metrics import TaskMetrics
from mtl_runner.tasks.kinds import KINDS
from tests.unit.results.evidence_builders import dataset_in
from tests.unit.results.run_builders import write_run


def test_old_and_new_runs_name_the_same_metrics_and_directions() -> None:
    """Breaks if a comparison of old and new runs averages other metrics, or turns one around."""
    for name, kind in KINDS.items():
        if name == "regression_log":  # its runs have always recorded their metrics
            continue
        before = TaskMetrics.of({"kind": name})
        today = {metric.name: metric for metric in kind.metrics}
        assert dict(before.directions) == {
            name: metric.higher_is_better for name, metric in today.items()
        }
        assert before.in_delta_m == tuple(
            name for name, metric in today.items() if metric.in_delta_m
        )
        assert before.main == next(iter(today), "loss")


def test_a_run_says_what_its_tasks_are_measured_by(tmp_path: Path) -> None:
    """Breaks if a user's metric is unknown to the comparison, or judged the wrong way round."""
    write_run(tmp_path, "0", {"a": {"own": 0.5, "loss": 1.0}})
    path = tmp_path / "0" / "summary.json"
    summary = json.loads(path.read_text())
    metrics = {
        "own": {"higher_is_better": True, "in_delta_m": True},
        "other": {"higher_is_better": None, "in_delta_m": False},
    }
    summary["tasks"]["a"] |= {"kind": "ordinal", "main_metric": "own", "metrics": metrics}
    path.write_text(json.dumps(summary))
    data = dataset_in(tmp_path)
    assert (data.main_metric("a"), data.tasks["a"].in_delta_m) == ("own", ("own",))
    assert [data.tasks["a"].higher_is_better(name) for name in ("own", "other", "loss")] == [
        True,
        False,
        False,
    ]
    assert len(data.strategies[0].values) == 1


def test_a_run_recorded_before_directions_is_measured_by_its_measures_or_its_kind(
    tmp_path: Path,
) -> None:
    """Breaks if older runs cannot be compared any more."""
    write_run(tmp_path, "0", {"a": {"accuracy": 0.5, "loss": 1.0}})
    path = tmp_path / "0" / "summary.json"
    summary = json.loads(path.read_text())
    summary["tasks"]["a"] |= {"kind": "regression", "measures": "classification"}
    path.write_text(json.dumps(summary))
    data = dataset_in(tmp_path)
    assert data.tasks["a"].directions == {"accuracy": True, "f1": True, "ece": False}
    assert data.main_metric("a") == "accuracy"
    assert len(data.strategies[0].values) == 1
    assert not data.strategies[0].failures
