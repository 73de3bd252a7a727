"""The jobs of a sweep before they run: their labels, their directories, and what Hydra is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobStatus
from hydra.types import HydraContext, RunMode

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import RunDirectoryError
from mtl_runner.launch.gpus_launcher import GpusLauncher
from mtl_runner.launch.plugins import register
from mtl_runner.launch.prepared_jobs import PreparingLauncher
from mtl_runner.runs.request import Outcome


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[PreparingLauncher]:
    """A launcher of a sweep in ``tmp_path``."""
    register()
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration(
            "config", [f"hydra.sweep.dir={tmp_path}"], run_mode=RunMode.MULTIRUN
        )
        config.hydra.runtime.cwd = str(tmp_path)
        launcher = GpusLauncher()
        launcher.setup(
            hydra_context=HydraContext(loader, Callbacks()),
            task_function=lambda config: 0.0,
            config=config,
        )
        yield launcher


def test_jobs_are_labelled_by_what_they_do_not_share(
    launcher: PreparingLauncher, tmp_path: Path
) -> None:
    """Breaks if a line about a run does not say which one it is, or trains elsewhere."""
    jobs = [
        ["data=digits", "trainer.epochs=1", "weighting=fixed", f"seed={seed}"] for seed in range(2)
    ]
    requests, returns = launcher.prepare(jobs, 5)
    assert [request.job for request in requests.values()] == ["5: seed=0", "6: seed=1"]
    assert [request.directory.name for request in requests.values()] == [
        "5_digits_fixed_seed0",
        "6_digits_fixed_seed1",
    ]
    assert all(request.directory.parent == tmp_path for request in requests.values())
    assert [request.overrides for request in requests.values()] == jobs
    assert "hydra" not in requests[5].config
    assert returns[5].hydra_cfg.hydra.job.num == 5


def test_a_single_job_is_labelled_by_its_number(launcher: PreparingLauncher) -> None:
    """Breaks if a sweep of one job has a label without a name."""
    requests, _ = launcher.prepare([["seed=0"]], 0)
    assert requests[0].job == "0"


def test_hydra_gets_the_monitor_or_the_error(launcher: PreparingLauncher) -> None:
    """Breaks if a sweeper optimizes another number, or does not see that a job failed."""
    requests, returns = launcher.prepare([["seed=0"], ["seed=1"]], 0)
    launcher.complete(returns[0], requests[0], Outcome(monitor=0.5))
    launcher.complete(returns[1], requests[1], RunDirectoryError("It is taken."))
    assert (returns[0].status, returns[0].return_value) == (JobStatus.COMPLETED, 0.5)
    assert returns[1].status == JobStatus.FAILED
    with pytest.raises(RunDirectoryError, match="It is taken"):
        returns[1].return_value  # noqa: B018
