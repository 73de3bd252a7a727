"""The record of a run in a database of MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Command
from tests.support.tracked_runs import curves, killed_and_resumed, numbers_of_test

pytestmark = [pytest.mark.extras, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def test_a_killed_and_resumed_run_is_one_record(mtl: Command, tmp_path: Path) -> None:
    """Breaks if MLflow has two runs, a step twice or not at all, or no config and pictures."""
    mlflow = pytest.importorskip("mlflow", reason="MLflow is asked for its record")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    options = ("tracker=mlflow", f"tracker.mlflow.tracking_uri={uri}")
    run = killed_and_resumed(mtl, tmp_path, *options)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("mtl-runner").experiment_id
    (record,) = client.search_runs([experiment])
    assert record.info.status == "FINISHED"
    assert record.data.params["trainer.epochs"] == "6"
    assert Path(record.data.tags["directory"]) == run
    for name, expected in curves(run).items():
        history = client.get_metric_history(record.info.run_id, name)
        assert [(metric.step, metric.value) for metric in history] == expected, name
    for name, value in numbers_of_test(run).items():
        (metric,) = client.get_metric_history(record.info.run_id, name)
        assert metric.value == value, name
    pictures = client.list_artifacts(record.info.run_id, "pictures")
    assert {"pictures/losses.png", "pictures/weights.png"} <= {file.path for file in pictures}
