"""The launcher ``stacked``: its labels, its lines and what it returns to Hydra."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobStatus
from hydra.types import HydraContext, RunMode

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError
from mtl_runner.launch.plugins import register
from mtl_runner.launch.stacked_launcher import LISTED_JOBS, StackedLauncher, _stacks
from tests.unit.runs.small_runs import tiny_request

TINY = [
    "data=toy_regression",
    "model.hidden=[4]",
    "trainer.epochs=1",
    "record.plots=none",
    "trainer.device=cpu",
]
Launch = Callable[..., Any]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """``launch(["seed=0"], ["seed=1"])`` runs these jobs in one sweep."""
    register()
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration(
            "config", [f"hydra.sweep.dir={tmp_path}"], run_mode=RunMode.MULTIRUN
        )
        config.hydra.runtime.cwd = str(tmp_path)
        launcher = StackedLauncher()
        launcher.setup(
            hydra_context=HydraContext(loader, Callbacks()),
            task_function=lambda config: 0.0,
            config=config,
        )
        yield lambda *jobs: launcher.launch([[*TINY, *job] for job in jobs], 0)


def test_jobs_return_their_monitors_in_order(launch: Launch, tmp_path: Path) -> None:
    """Breaks if a sweeper takes one run's result for another's."""
    returns = launch(["seed=0"], ["seed=1"])
    assert [job.status for job in returns] == [JobStatus.COMPLETED] * 2
    assert all(isinstance(job.return_value, float) for job in returns)
    folders = sorted(path.name for path in tmp_path.iterdir())
    assert [folder[0] for folder in folders] == ["0", "1"]


def test_a_job_whose_directory_is_taken_fails_alone(launch: Launch, tmp_path: Path) -> None:
    """Breaks if Hydra is not told of a failed job, or the others are lost with it."""
    folder = tmp_path / "1_toy_regression_uncertainty_seed1"
    folder.mkdir()
    (folder / "metrics.csv").write_text("precious")
    returns = launch(["seed=0"], ["seed=1"], ["seed=2"])
    assert [job.status for job in returns] == [
        JobStatus.COMPLETED,
        JobStatus.FAILED,
        JobStatus.COMPLETED,
    ]


def test_long_lists_of_jobs_are_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks if a sweep of a hundred jobs prints a hundred numbers, or hides a second reason."""
    reasons = dict.fromkeys(range(LISTED_JOBS + 2), "the model has dropout")
    StackedLauncher._print_reasons({**reasons, 20: "another reason"}, 30)
    assert capsys.readouterr().out.splitlines() == [
        "8 of 30 jobs run one by one (0, 1, 2, 3, 4, 5, ...): the model has dropout.",
        "1 of 30 jobs runs one by one (20): another reason.",
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"over": "joblib"}, "hydra.launcher.over must be null, gpus or slurm; found 'joblib'."),
        (
            {"slurm": {"partition": "a100"}},
            "hydra.launcher.slurm has no effect without hydra.launcher.over=slurm; add that.",
        ),
        (
            {"over": "slurm", "gpus": {"jobs": 2}},
            "hydra.launcher.gpus has no effect without hydra.launcher.over=gpus; add that.",
        ),
        (
            {"over": "gpus", "gpus": {"jobs": 0}},
            "hydra.launcher.gpus.jobs must be auto or a whole number of at least 1; found 0.",
        ),
        (
            {"over": "gpus", "gpus": {"job": 2}},
            "hydra.launcher.gpus.job is not an option of hydra/launcher=gpus; did you mean 'jobs'? allowed: jobs, retries.",
        ),
        (
            {"over": "slurm", "slurm": {"timeout": 0}},
            "hydra.launcher.slurm.timeout must be a whole number of at least 1; found 0.",
        ),
        (
            {"over": "slurm", "slurm": {"partitions": "a100"}},
            "hydra.launcher.slurm.partitions is not an option of hydra/launcher=slurm; did you mean 'partition'? allowed: cpus, gpus, jobs, memory, partition, retries, sbatch, setup, timeout.",
        ),
    ],
)
def test_a_wrong_option_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    """Breaks if stacks on a cluster are asked for in vain, without a word."""
    with pytest.raises(ConfigError) as error:
        StackedLauncher(**options)
    assert str(error.value) == sentence


def test_stacks_are_shared_out_so_that_no_place_is_idle(tmp_path: Path) -> None:
    """Breaks if a sweep of one strategy keeps one GPU of eight busy, or a large one starts too many."""
    requests = {n: tiny_request(tmp_path / str(n), f"seed={n}") for n in range(10)}
    assert _stacks(requests) == [list(range(10))]
    assert [len(members) for members in _stacks(requests, 4)] == [3, 3, 3, 1]
    others = {n: tiny_request(tmp_path / str(n), "weighting=uncertainty") for n in range(10, 14)}
    stacks = _stacks({**requests, **others}, 2)
    assert stacks == [list(range(10)), list(range(10, 14))]
