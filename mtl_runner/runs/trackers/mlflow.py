"""MLflow: a run of an experiment on a tracking server, in a database or in a folder."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_runner.config.extras import import_extra
from mtl_runner.runs.trackers.base import TrackedRun, Tracker

STATUSES = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
TAG = "mtl_runner.id"
PARAMS = 100  # the most that one request takes
LONGEST = 500  # of a parameter's value


class MLflow(Tracker):
    """Send the record of a run to MLflow, without its telemetry.

    A resumed run goes on with its MLflow run, which has a tag ``mtl_runner.id``, after the last
    step that MLflow has.

    Args:
        tracking_uri: Where to, as MLflow writes it (``http://host:5000``, ``sqlite:///my.db``);
            None: what ``MLFLOW_TRACKING_URI`` says, else MLflow's own default.
        experiment: Name of the experiment.

    Raises:
        ConfigError: If ``mlflow`` is not installed.
    """

    def __init__(self, tracking_uri: str | None = None, experiment: str = "mtl-runner") -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # MLflow's own 7 would hold a run up for minutes before a server that is away is given up.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        # MLflow prepares a new database at length.
        for name in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.mlflow = import_extra("mlflow", "mlflow", "tracker=mlflow")
        self.tracking_uri, self.experiment = tracking_uri, experiment
        self.client: Any = None
        self.run_id = ""

    def start(self, run: TrackedRun) -> int:
        """Create the MLflow run, or find it again."""
        self.client = self.mlflow.MlflowClient(tracking_uri=self.tracking_uri)
        uri = self.tracking_uri or self.mlflow.get_tracking_uri()
        self.place = f"mlflow ui --backend-store-uri {uri}" if "http" not in uri else uri
        experiment_id = self._experiment_id()
        runs = self.client.search_runs([experiment_id], f"tags.`{TAG}` = '{run.id}'")
        if runs:
            self.run_id = runs[0].info.run_id
            self.client.update_run(self.run_id, "RUNNING")
            history = self.client.get_metric_history(self.run_id, "epoch")
            return max((metric.step for metric in history), default=0)
        tags = {TAG: run.id, "directory": str(run.directory), "sweep": run.group}
        self.run_id = self.client.create_run(
            experiment_id, run_name=run.name, tags=tags
        ).info.run_id
        parameter = self.mlflow.entities.Param
        params = [
            parameter(_allowed(key), str(value)[:LONGEST]) for key, value in run.settings.items()
        ]
        for first in range(0, len(params), PARAMS):
            self.client.log_batch(self.run_id, params=params[first : first + PARAMS])
        self.client.log_dict(self.run_id, dict(run.config), "config.yaml")
        return 0

    def _experiment_id(self) -> str:
        """Return the id of the experiment, which another run may create at the same time."""
        experiment = self.client.get_experiment_by_name(self.experiment)
        if experiment is None:
            try:
                return str(self.client.create_experiment(self.experiment))
            except self.mlflow.exceptions.MlflowException:
                experiment = self.client.get_experiment_by_name(self.experiment)
                if experiment is None:
                    raise
        return str(experiment.experiment_id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send the numbers as one request, the epoch last: what has it has all of them."""
        now, metric = int(time.time() * 1000), self.mlflow.entities.Metric
        names = sorted(values, key=lambda name: name == "epoch")
        metrics = [metric(_allowed(name), values[name], now, step) for name in names]
        self.client.log_batch(self.run_id, metrics=metrics)

    def end(
        self, status: str, step: int, values: Mapping[str, float], pictures: Sequence[Path]
    ) -> None:
        """Send the test numbers and the pictures, and end the MLflow run."""
        # A run that was killed while it ended does it again.
        new = {
            name: value
            for name, value in values.items()
            if step not in {m.step for m in self.client.get_metric_history(self.run_id, name)}
        }
        if new:
            self.log(step, new)
        for path in pictures:
            self.client.log_artifact(self.run_id, str(path), "pictures")
        self.client.set_terminated(self.run_id, STATUSES[status])


def _allowed(name: str) -> str:
    """Return a name in the letters that MLflow takes.

    Example:
        >>> _allowed("val/größe²/loss")
        'val/größe_/loss'
    """
    return re.sub(r"[^\w\-. /:]", "_", name.replace("²", "_"))
