"""The launcher around any other one: every job has a line, whatever the other one does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from mtl_runner.errors import RunDirectoryError
from mtl_runner.launch.reported_launcher import ReportedLauncher
from mtl_runner.runs.sweep_report import SweepReport
from tests.unit.runs.test_sweep_records import leave


@pytest.fixture(autouse=True)
def no_report_is_left() -> Iterator[None]:
    """Leave no report behind, which other tests would take for that of a sweep."""
    yield
    SweepReport.current = None


class Half:
    """A launcher whose first job records its end, and whose second cannot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def launch(self, jobs: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
        """Leave the record of the first job."""
        run = leave(self.folder / f"{first}_run", "failed", jobs[0], reason="No data.")
        hydra: Any = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(run)}}})
        taken = RunDirectoryError("'1_run' holds another run.")
        return [
            JobReturn(hydra_cfg=hydra, status=JobStatus.COMPLETED, _return_value=float("nan")),
            JobReturn(status=JobStatus.FAILED, _return_value=taken),
        ]


def config_of(folder: Path, **sweeper: Any) -> DictConfig:
    """Return the config of a sweep."""
    return OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}, "sweeper": sweeper}})


def test_every_job_has_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks if a job that could not even begin is not told, or the launcher's answer is lost."""
    launcher = ReportedLauncher(Half(tmp_path), config_of(tmp_path))
    assert SweepReport.current is launcher.report
    returns = launcher.launch([["seed=0"], ["seed=1"]], 0)
    assert [job.status for job in returns] == [JobStatus.COMPLETED, JobStatus.FAILED]
    assert capsys.readouterr().err.splitlines() == [
        "[1 of 2] 0: seed=0  failed: No data.",
        "[2 of 2] 1: seed=1  failed: '1_run' holds another run.",
    ]


def test_trials_that_come_one_by_one_are_counted_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if each of Optuna's trials is the first of one."""
    launcher = ReportedLauncher(Half(tmp_path), config_of(tmp_path, n_trials=20))
    launcher.launch([["seed=0"]], 0)
    launcher.launch([["seed=1"]], 1)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("]")[0] for line in lines] == ["[ 1 of 20", "[ 2 of 20"]
