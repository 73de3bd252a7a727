"""Which jobs of a sweep that grows are handed on, where, and what Hydra is told of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.files import write_json
from mtl_runner.launch.plugins import register
from mtl_runner.launch.prepared_jobs import PreparingLauncher
from mtl_runner.launch.reusing_launcher import ReusingLauncher
from mtl_runner.runs.directory import claimed
from mtl_runner.runs.sweep_report import SweepReport

SHARED = ["data=toy_regression", "model.hidden=[4]"]


class LeavingLauncher(PreparingLauncher):
    """A launcher that trains nothing: each job leaves a run that has finished, or not."""

    def __init__(self) -> None:
        self.launched: list[str] = []
        self.unfinished: tuple[int, ...] = ()
        self.names: dict[int, str] = {}

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Leave the directory of each run, in which ``unfinished`` have no summary."""
        if SweepReport.current is not None:
            self.names = dict(SweepReport.current.names)
        requests, returns = self.prepare(job_overrides, initial_job_idx)
        for number, request in requests.items():
            self.launched.append(request.directory.name)
            with claimed(request.directory, request.config, request.overrides, {}, None):
                pass
            if number not in self.unfinished:
                summary = {"status": "finished", "monitor": {"name": "loss", "final": number / 10}}
                more = {"epochs": 1, "tasks": {"y1": {}}, "time": {}}
                write_json(request.directory / "summary.json", summary | more)
            returns[number].status, returns[number].return_value = JobStatus.COMPLETED, 0.0
        return list(returns.values())


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Callable[[Launcher], ReusingLauncher]]:
    """``sweep(launcher)`` begins a sweep in ``tmp_path`` with this launcher."""
    register()
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def begin(launcher: Launcher) -> ReusingLauncher:
            config = loader.load_configuration(
                "config", [f"hydra.sweep.dir={tmp_path}"], run_mode=RunMode.MULTIRUN
            )
            config.hydra.runtime.cwd = str(tmp_path)
            reusing = ReusingLauncher(launcher)
            for part in (launcher, reusing):
                part.setup(
                    hydra_context=HydraContext(loader, Callbacks()),
                    task_function=lambda config: 0.0,
                    config=config,
                )
            return reusing

        yield begin


def jobs(*seeds: int) -> list[list[str]]:
    """Return the options of jobs with these seeds."""
    return [[*SHARED, f"seed={seed}"] for seed in seeds]


def folder_of(job: JobReturn) -> str:
    """Return the name of the directory that Hydra is told of a job."""
    hydra: Any = job.hydra_cfg
    return Path(hydra.hydra.runtime.output_dir).name


def test_only_what_is_missing_is_handed_on(
    sweep: Callable[[Launcher], ReusingLauncher], capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if growing makes runs again, or gives a new one the number of another."""
    first = LeavingLauncher()
    first.unfinished = (1,)
    reusing = sweep(first)
    reusing.launch(jobs(0, 1, 2), 0)
    name = "{}_toy_regression_uncertainty_seed{}"
    assert first.launched == [name.format(n, n) for n in range(3)]
    assert (reusing.reused, reusing.trained, capsys.readouterr().out) == (0, 3, "")
    failed = Path(reusing.directory) / name.format(1, 1) / "summary.json"
    write_json(failed, {"status": "failed", "reason": "No memory."})

    second = LeavingLauncher()
    reusing = sweep(second)
    returns = reusing.launch(jobs(5, 0, 1, 2, 4), 0)
    assert capsys.readouterr().out == "reused 2 runs, 3 to do, 1 of which failed before\n"
    assert second.launched == [name.format(3, 5), name.format(4, 4), name.format(1, 1)]
    expected = [(3, 5), (0, 0), (1, 1), (2, 2), (4, 4)]
    assert [folder_of(job) for job in returns] == [name.format(*pair) for pair in expected]
    assert reusing.folders == {k: name.format(*pair) for k, pair in enumerate(expected)}
    assert [job.return_value for job in returns] == [0.0, 0.0, 0.0, 0.2, 0.0]
    assert (reusing.reused, reusing.trained) == (2, 3)


def test_a_later_batch_goes_on_with_the_numbers(
    sweep: Callable[[Launcher], ReusingLauncher],
) -> None:
    """Breaks if the second round of a study that grows overwrites what the first one left."""
    sweep(LeavingLauncher()).launch(jobs(0, 1), 0)
    launcher = LeavingLauncher()
    reusing = sweep(launcher)
    reusing.launch(jobs(0, 2), 0)
    reusing.launch(jobs(1, 3), 2)
    assert [name.partition("_")[0] for name in launcher.launched] == ["2", "3"]
    assert reusing.next_number == 4


def test_an_interrupted_sweep_keeps_its_numbers(
    sweep: Callable[[Launcher], ReusingLauncher],
) -> None:
    """Breaks if the runs of a sweep that was killed are named otherwise than without the kill."""
    first = LeavingLauncher()
    sweep(first).launch(jobs(0, 1), 0)
    reusing = sweep(first)
    reusing.launch(jobs(0, 1, 2, 3), 0)
    assert [name.partition("_")[0] for name in first.launched] == ["0", "1", "2", "3"]
    for name in ("1_toy_regression_uncertainty_seed1", "3_toy_regression_uncertainty_seed3"):
        (reusing.directory / name / "summary.json").unlink()
    second = LeavingLauncher()
    reusing = sweep(second)
    reusing.launch(jobs(0, 1, 2, 3), 0)
    reusing.launch(jobs(4), 4)
    assert [name.partition("_")[0] for name in second.launched] == ["1", "3", "4"]
    assert reusing.keeps_numbers


def test_what_is_done_is_named_by_what_varies_in_the_whole_sweep(
    sweep: Callable[[Launcher], ReusingLauncher], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the runs of a new strategy are listed without its name, or a study's with one."""
    report = SweepReport(tmp_path)
    monkeypatch.setattr(SweepReport, "current", report)
    sweep(LeavingLauncher()).launch([[*job, "weighting=fixed"] for job in jobs(0, 1)], 0)
    new = [[*job, "weighting=dwa"] for job in jobs(0, 1)]
    launcher = LeavingLauncher()
    sweep(launcher).launch(new, 0)  # the strategies of before need not be typed
    assert launcher.names == {2: "seed=0 weighting=dwa", 3: "seed=1 weighting=dwa"}
    assert report.names == {}
    report.names = {0: "dwa seed=0", 2: "dwa seed=2"}
    sweep(launcher).launch([*new, [*jobs(2)[0], "weighting=dwa"]], 0)
    assert launcher.names == {4: "dwa seed=2"}


def test_a_job_that_is_asked_for_twice_is_two_runs(
    sweep: Callable[[Launcher], ReusingLauncher],
) -> None:
    """Breaks if two candidates with equal weights share a run: a study needs both."""
    sweep(LeavingLauncher()).launch(jobs(0), 0)
    launcher = LeavingLauncher()
    reusing = sweep(launcher)
    reusing.launch(jobs(0, 0), 0)
    assert (reusing.reused, len(launcher.launched)) == (1, 1)


def test_a_launcher_that_is_stopped_has_named_its_folders(
    sweep: Callable[[Launcher], ReusingLauncher],
) -> None:
    """Breaks if Ctrl-C costs a study the record of the runs that it began."""

    class StoppedLauncher(LeavingLauncher):
        """A launcher that a user stops."""

        def launch(
            self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
        ) -> Sequence[JobReturn]:
            """Stop."""
            raise KeyboardInterrupt

    sweep(LeavingLauncher()).launch(jobs(0), 0)
    reusing = sweep(StoppedLauncher())
    with pytest.raises(KeyboardInterrupt):
        reusing.launch(jobs(0, 1), 0)
    assert reusing.folders == {
        0: "0_toy_regression_uncertainty_seed0",
        1: "1_toy_regression_uncertainty_seed1",
    }
