"""The sweeper of a search: which jobs it hands to a launcher, and what it leaves."""

from __future__ import annotations

import itertools
import json
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
from omegaconf import OmegaConf

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError
from mtl_runner.files import write_json
from mtl_runner.launch.plugins import register
from mtl_runner.study.search import sweeper as module
from mtl_runner.study.search import trials
from mtl_runner.study.search.space import Space
from mtl_runner.study.search.sweeper import SearchSweeper, command_of

DATA = ("data=toy_mixed", "data.n=60", "data.n_val=40", "data.n_test=40")
SMALL = ("search.trials=5", "search.batch=2", "trainer.epochs=2")
Sweep = Callable[..., list[JobReturn]]


class RecordingLauncher(Launcher):
    """A launcher that trains nothing: each job leaves a summary at once.

    Args:
        folder: The directory of the sweep.
        monitors: The result of each job; None for one that fails.
        stop_at: The number of the job at which somebody presses Ctrl-C.
    """

    def __init__(
        self, folder: Path, monitors: Sequence[float | None], stop_at: int | None = None
    ) -> None:
        self.folder, self.monitors, self.stop_at = folder, monitors, stop_at
        self.batches: list[list[list[str]]] = []

    def setup(self, **context: Any) -> None:
        """Take nothing of what Hydra offers."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Leave a summary per job."""
        self.batches.append([list(overrides) for overrides in job_overrides])
        returns = []
        for number in range(initial_job_idx, initial_job_idx + len(job_overrides)):
            if number == self.stop_at:
                raise KeyboardInterrupt
            run = self.folder / f"{number}_run"
            run.mkdir(parents=True)
            monitor = self.monitors[number]
            if monitor is not None:
                self.train(run, monitor, job_overrides[number - initial_job_idx])
            hydra: Any = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(run)}}})
            status = JobStatus.FAILED if monitor is None else JobStatus.COMPLETED
            returns.append(JobReturn(hydra_cfg=hydra, status=status))
        return returns

    @staticmethod
    def train(run: Path, monitor: float, overrides: Sequence[str]) -> None:
        """Leave the record of a run of four epochs, whose monitor is there from the first on."""
        (limits,) = [o.partition("={")[2] for o in overrides if "give_up" in o] or [""]
        limit = float(limits.partition(":")[2].partition(",")[0] or "inf")
        result = {"monitor": {"name": "relative_loss", "final": monitor, "best": monitor}}
        ended = {"epochs": 1, "given_up": True} if monitor > limit else {"epochs": 4}
        write_json(run / "summary.json", {**result, **ended})
        rows = [f"{epoch},val,total,{monitor}\n" for epoch in range(1, ended["epochs"] + 1)]
        (run / "metrics.csv").write_text("".join(["epoch,split,task,relative_loss\n", *rows]))


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweep]:
    """``sweep(launcher, *options)`` makes the search that these options ask for.

    Each trial has a larger weight of the second task than the one before.
    """

    def propose(
        ranges: Any, results: Any, first: Any, count: int, seed: int, given_up: Any
    ) -> list[Any]:
        places = range(len(results), len(results) + count)
        return [{"lr": 0.002, "weight of label": 1.0 + place} for place in places]

    monkeypatch.setattr(trials, "propose", propose)
    monkeypatch.setattr(module, "require_optuna", lambda: None)
    register()
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def run(launcher: Launcher, *options: str) -> list[JobReturn]:
            arguments = ["+search=optuna", *DATA, *SMALL, *options]
            config = loader.load_configuration(
                "config",
                [*arguments, f"hydra.sweep.dir={tmp_path / 'sweep'}"],
                run_mode=RunMode.MULTIRUN,
            )
            sweeper = SearchSweeper()
            sweeper.setup(
                hydra_context=HydraContext(loader, Callbacks()),
                task_function=lambda config: 0.0,
                config=config,
            )
            sweeper.launcher = launcher
            return sweeper.sweep(arguments)

        yield run


def recorded(folder: Path) -> dict[str, Any]:
    """Return the content of study.json."""
    return dict(json.loads((folder / "study.json").read_text()))


def test_every_batch_goes_to_the_launcher_with_all_common_options(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a trial trains on other data, keeps checkpoints, or the best one has no name."""
    launcher = RecordingLauncher(tmp_path / "sweep", [0.5, 0.4, 0.3, 0.2, 0.9])
    assert len(sweep(launcher, "seed=7", "optimizer.lr=0.002")) == 5
    assert [len(batch) for batch in launcher.batches] == [2, 2, 1]
    for overrides in itertools.chain.from_iterable(launcher.batches):
        assert {*DATA, "trainer.epochs=2", "weighting=fixed", "seed=7"} <= set(overrides)
        assert {"record.plots=none", "record.checkpoints=none"} <= set(overrides)
        assert not any(option.lstrip("+").startswith("search") for option in overrides)
        assert sum("optimizer.lr=" in option for option in overrides) == 1
        assert sum("weighting.weights." in option for option in overrides) == 2
    finals = [name for name, row in recorded(tmp_path / "sweep")["jobs"].items() if row["final"]]
    assert finals == ["3_run"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("search: 5 trials of 4 steps each, 2 at a time: the weights of 2 ")
    assert any(
        line.startswith("search: the best trial is 3_run (lr=0.002 value=") for line in lines
    )
    command = lines[-1].partition("with others: ")[2]
    assert command.startswith("mtl-run -m data=toy_mixed data.n=60 ")
    assert command.endswith(" optimizer.lr=0.002 'seed=range(8,13)'")


def test_a_trial_that_failed_is_never_the_best(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if a search ends at a learning rate that diverges."""
    sweep(RecordingLauncher(tmp_path / "sweep", [None, 0.4, None, 0.5, None]))
    jobs = recorded(tmp_path / "sweep")["jobs"]
    assert [row["final"] for row in jobs.values()] == [False, True, False, False, False]


def test_later_trials_are_given_up_where_they_are_worse_than_the_median(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if limits come too early, are those of another batch, or count trials cut off."""
    monitors = [0.1, 0.2, 0.3, 0.4, 0.5, 0.05, 0.6, None, 0.15, 0.16]
    size = ("search.trials=10", "search.batch=2")
    pruned = RecordingLauncher(tmp_path / "sweep", monitors)
    sweep(pruned, *size)
    given = [[o for o in job if "give_up" in o] for batch in pruned.batches for job in batch]
    option = "++trainer.give_up={{1:{0},2:{0}}}".format
    # The first four are too few; that of the 0.6 and the failed one is no result.
    assert given == [[]] * 6 + [[option(0.25)]] * 2 + [[option(0.25)]] * 2
    lines = capsys.readouterr().out.splitlines()
    assert (
        "search: 1 of 10 trials ended early, worse than the median of those before (search.prune)."
        in lines
    )
    assert not any("give_up" in line for line in lines)
    assert (
        json.loads((tmp_path / "sweep" / "search.json").read_text())["give_up"][6:]
        == [{"1": 0.25, "2": 0.25}] * 4
    )


def test_without_pruning_every_trial_trains_to_its_end(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if search.prune=false is not obeyed."""
    launcher = RecordingLauncher(tmp_path / "sweep", [0.1] * 10)
    sweep(launcher, "search.trials=10", "search.prune=false")
    jobs = itertools.chain.from_iterable(launcher.batches)
    assert not any("give_up" in option for job in jobs for option in job)


def test_a_first_batch_that_fails_ends_the_search(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if forty runs fail for one wrong option."""
    launcher = RecordingLauncher(tmp_path / "sweep", [None] * 5)
    with pytest.raises(ConfigError) as error:
        sweep(launcher)
    assert (
        str(error.value)
        == "All 2 trials of the first batch failed, so there is nothing to go on from; their lines say why."
    )
    assert len(launcher.batches) == 1


def test_a_stopped_search_knows_its_best_trial_so_far(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if Ctrl-C costs a search its record."""
    launcher = RecordingLauncher(tmp_path / "sweep", [0.4, 0.3, 0.2, 0.1], stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        sweep(launcher)
    jobs = recorded(tmp_path / "sweep")["jobs"]
    assert [name for name, row in jobs.items() if row["final"]] == ["1_run"]
    asked = json.loads((tmp_path / "sweep" / "search.json").read_text())["trials"]
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("search.trials=0",), "search.trials must be a whole number of at least 1"),
        (("optimizer.lr=fast",), "optimizer.lr must be a positive number"),
        (("data.tasks=[label]",), "A search needs at least two tasks, this one has label"),
        (("weighting=dwa",), "+search=optuna searches the weights of weighting=fixed"),
    ],
)
def test_a_search_that_cannot_be_made_begins_nothing(
    sweep: Sweep, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    """Breaks if a refused search starts runs, or leaves a directory in the way of the next one."""
    launcher = RecordingLauncher(tmp_path / "sweep", [])
    with pytest.raises(ConfigError) as error:
        sweep(launcher, *options)
    assert str(error.value).startswith(sentence)
    assert launcher.batches == []
    assert not (tmp_path / "sweep").exists()


def test_the_command_of_the_best_trial_is_one_that_can_be_typed() -> None:
    """Breaks if the command for other seeds goes into the search's directory, or is not quoted."""
    run = Space({"a": 1.0, "my task": 1.0}, (0.01, 100), (1e-3, 0.1)).run(
        {"lr": 0.01, "weight of my task": 1.0}, seed=0
    )
    typed = ["data=digits", "hydra.sweep.dir=out", "hydra/launcher=basic", "+debug=true"]
    assert command_of(run, typed) == (
        "mtl-run -m data=digits +debug=true weighting=fixed 'weighting.weights={a: 1, my task: 1}' "
        "optimizer.lr=0.01 'seed=range(1,6)'"
    )
