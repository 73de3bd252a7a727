"""The sweeper of a probe: which jobs it hands to a launcher, and what it leaves."""

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
from mtl_runner.study.probe.sweeper import ProbeSweeper

# 60 rows in batches of 32: an epoch has two steps.
DATA = ("data=toy_mixed", "data.n=60", "data.n_val=40", "data.n_test=40", "data.batch_size=32")
Sweep = Callable[..., list[JobReturn]]


class RecordingLauncher(Launcher):
    """A launcher that trains nothing: each job leaves the record of a run at once.

    Args:
        folder: The directory of the sweep.
        failing: Parts of an option; jobs with such an option fail.
        gradients: Whether runs record gradients where they are asked to.
        refused: Whether jobs that fail were refused: their options do not fit the problem.
    """

    def __init__(
        self, folder: Path, failing: str = "", gradients: bool = True, refused: bool = False
    ) -> None:
        self.folder, self.failing, self.gradients = folder, failing, gradients
        self.refused = refused
        self.batches: list[list[list[str]]] = []

    def setup(self, **context: Any) -> None:
        """Take nothing of what Hydra offers."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Leave the record of a run per job."""
        self.batches.append([list(overrides) for overrides in job_overrides])
        returns = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            run = self.folder / f"{number}_run"
            run.mkdir(parents=True)
            fails = bool(self.failing) and any(self.failing in option for option in overrides)
            if fails:
                refusal = {"refused": True, "reason": "It cannot be."} if self.refused else {}
                write_json(run / "summary.json", {"status": "failed", **refusal})
            else:
                self.train(run, overrides)
            hydra: Any = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(run)}}})
            status = JobStatus.FAILED if fails else JobStatus.COMPLETED
            returns.append(JobReturn(hydra_cfg=hydra, status=status))
        return returns

    def train(self, run: Path, overrides: Sequence[str]) -> None:
        """Leave the record of a run, which is better with a smaller learning rate."""
        (rate,) = (float(o.partition("=")[2]) for o in overrides if "optimizer.lr=" in o)
        monitor = {"name": "relative_loss", "final": 0.5 + rate, "best": 0.5 + rate}
        write_json(
            run / "summary.json", {"monitor": monitor, "parameters": {"trained": 9}, "tasks": {}}
        )
        measured = self.gradients and any("record.gradients=true" in o for o in overrides)
        cells = ("1.5,,0.5", "2.5,0.5,") if measured else (",,", ",,")
        header = "epoch,split,task,loss,gradient_norm,cosine_value,cosine_label"
        rows = [f"1,train,{t},1,{c}" for t, c in zip(("value", "label"), cells, strict=True)]
        (run / "metrics.csv").write_text("\n".join([header, *rows, ""]))


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweep]:
    """``sweep(launcher, *options)`` makes the probe that these options ask for."""
    register()
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def run(launcher: Launcher, *options: str) -> list[JobReturn]:
            arguments = ["+probe=weighting", *DATA, *options]
            config = loader.load_configuration(
                "config",
                [*arguments, f"hydra.sweep.dir={tmp_path / 'sweep'}"],
                run_mode=RunMode.MULTIRUN,
            )
            sweeper = ProbeSweeper()
            sweeper.setup(
                hydra_context=HydraContext(loader, Callbacks()),
                task_function=lambda config: 0.0,
                config=config,
            )
            sweeper.launcher = launcher
            return sweeper.sweep(arguments)

        yield run


def probed(folder: Path) -> dict[str, Any]:
    """Return the content of probe.json."""
    return dict(json.loads((folder / "sweep" / "probe.json").read_text()))


def test_every_short_run_has_the_same_options_and_length(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a short run trains on other data, for another time, or keeps checkpoints."""
    launcher = RecordingLauncher(tmp_path / "sweep")
    own = ("trainer.epochs=40", "seed=7", "optimizer.lr=0.01", "model.hidden=[4]")
    returns = sweep(launcher, *own)
    jobs = list(itertools.chain.from_iterable(launcher.batches))
    assert [len(batch) for batch in launcher.batches] == [2, len(returns) - 2]
    for job in jobs:
        assert {*DATA, "model.hidden=[4]", "++trainer.epochs=10"} <= set(job)
        assert {"record.plots=none", "record.checkpoints=none"} <= set(job)
        assert not any(option.lstrip("+").startswith("probe") for option in job)
        assert sum("optimizer.lr=" in option for option in job) == 1
        assert {"seed=7", "seed=8"} & set(job)
    gradients = [any("record.gradients" in option for option in job) for job in jobs]
    assert gradients == [True, True] + [False] * (len(jobs) - 2)
    out = capsys.readouterr().out
    assert f"probe: {len(jobs)} short runs of 20 steps, where a whole one has 80." in out
    (line,) = (line for line in out.splitlines() if "what decides is a fair study: " in line)
    # A study takes the length and the middle of the learning rates from what was typed.
    assert f"mtl-run -m +study=fair {' '.join(DATA)} trainer.epochs=40 seed=7 " in line
    assert "optimizer.lr=0.01" in line


def test_an_epoch_that_is_longer_than_a_minute_allows_is_announced(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if somebody with a million rows waits for a minute that takes an hour."""
    launcher = RecordingLauncher(tmp_path / "sweep")
    sweep(launcher, "probe.steps=1", "trainer.epochs=40")
    assert all("++trainer.epochs=1" in job for batch in launcher.batches for job in batch)
    assert (
        "probe: an epoch has more steps than probe.steps=1, and a short run trains one: it may take longer than a minute."
        in capsys.readouterr().out
    )


def test_its_record_says_what_each_run_is(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if a comparison mixes learning rates, or takes two seeds of a probe for a study."""
    sweep(RecordingLauncher(tmp_path / "sweep"), "optimizer.lr=0.01")
    content = json.loads((tmp_path / "sweep" / "study.json").read_text())
    assert all(job["final"] == (job["lr"] == 0.01) for job in content["jobs"].values())
    assert content["notes"] == [
        "These are the short runs of a probe, with two seeds or few more: they judge no strategy, +study=fair does."
    ]
    measured = probed(tmp_path)["measurement"]
    assert measured["monitors"]["equal"] == [[0.51, 0.51], [0.53, 0.53]]
    assert (measured["rows"], measured["parameters"]) == (60, 9)


def test_a_strategy_that_failed_is_no_reason_to_stop(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if a probe of a problem where one strategy diverges says nothing at all."""
    sweep(RecordingLauncher(tmp_path / "sweep", failing="weighting=famo"))
    # JSON has no infinity.
    assert probed(tmp_path)["measurement"]["monitors"]["famo"] == [[None, None], [None, None]]


def test_single_tasks_that_cannot_be_trained_are_no_answer(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if an equation, where a task alone has no meaning, counts as won by sharing."""
    launcher = RecordingLauncher(tmp_path / "sweep", "weighting=single_task", refused=True)
    sweep(launcher)
    assert list(probed(tmp_path)["probabilities"]) == ["weighting"]


def test_equal_weights_that_fail_end_the_probe(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if thirty runs are compared with nothing."""
    launcher = RecordingLauncher(tmp_path / "sweep", failing="record.gradients=true")
    with pytest.raises(ConfigError) as error:
        sweep(launcher)
    assert (
        str(error.value)
        == "Equal weights failed in a short run, so there is nothing to compare with; its line says why."
    )
    assert len(launcher.batches) == 1


def test_a_model_without_shared_parameters_cannot_be_probed(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if gradients that nobody could compare make a probability."""
    launcher = RecordingLauncher(tmp_path / "sweep", gradients=False)
    with pytest.raises(ConfigError) as error:
        sweep(launcher)
    assert (
        str(error.value)
        == "A probe needs parameters that all tasks share, whose gradients it compares, and this model has none; choose another model, as model=mlp."
    )
    assert len(launcher.batches) == 1


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (
            "data.tasks=[value]",
            "A probe needs at least two tasks, this one has value: there is nothing to weigh.",
        ),
        (
            "optimizer=lbfgs",
            "A probe knows studies of optimizers that take one gradient per step; L-BFGS takes many, so leave optimizer=lbfgs out.",
        ),
        (
            "optimizer.lr=-1",
            "optimizer.lr must be a positive number, the middle of the learning rates; found -1.",
        ),
    ],
)
def test_what_cannot_be_probed_is_said_before_the_first_run(
    sweep: Sweep, tmp_path: Path, option: str, sentence: str
) -> None:
    """Breaks if a probe trains for a minute before it says that it cannot be."""
    launcher = RecordingLauncher(tmp_path / "sweep")
    with pytest.raises(ConfigError) as error:
        sweep(launcher, option)
    assert str(error.value) == sentence
    assert launcher.batches == []
