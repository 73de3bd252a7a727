"""The sweeper of a study of transfer: which jobs it hands to a launcher, and what it says."""

from __future__ import annotations

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
from mtl_runner.launch.plugins import register
from mtl_runner.study.transfer.sweeper import TransferSweeper
from tests.unit.results.run_builders import write_run

DATA = ("data=toy_mixed", "data.n=60", "data.n_val=40", "data.n_test=40", "model.hidden=[64]")
SMALL = (
    *("study.seeds=3", "study.tuning_seeds=1", "study.fixed_points=3", "study.splits=1"),
    *("study.per_decade=1", "study.extensions=0", "optimizer.lr=0.01"),
)
NARROW = "++model.hidden=[16]"
Sweep = Callable[..., list[JobReturn]]


class RecordingLauncher(Launcher):
    """A launcher that trains nothing: each job leaves the summary of a run at once.

    The best weighting has a large weight of ``value``; the best learning rate is 0.01 on the narrow
    model and 0.001 on the wide one.

    Args:
        folder: The directory of the sweep.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: list[list[str]] = []

    def setup(self, **context: Any) -> None:
        """Take nothing of what Hydra offers."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Leave a summary per job."""
        returns = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            self.jobs.append(list(overrides))
            options = dict(o.lstrip("+").partition("=")[::2] for o in overrides)
            best = 0.01 if NARROW in overrides else 0.001
            weight = float(options.get("weighting.weights.value", "0"))
            off = 1.0 if float(options["optimizer.lr"]) == best else 1.25
            seed = int(options["seed"])
            loss = off * (0.5 if weight < 1 else 0.4) * (1 + 0.01 * (seed % 7))
            tasks = {
                t: {"rmse": loss, "loss": loss, "relative_loss": loss} for t in ("value", "label")
            }
            chosen = {"optimizer.lr": options["optimizer.lr"]}
            write_run(
                self.folder, f"{number}_run", tasks, seed=seed, monitor=loss, overrides=chosen
            )
            run = self.folder / f"{number}_run"
            hydra: Any = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(run)}}})
            returns.append(JobReturn(hydra_cfg=hydra, status=JobStatus.COMPLETED))
        return returns


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweep]:
    """``sweep(launcher, *options)`` makes the study that these options ask for."""
    register()
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def run(launcher: Launcher, *options: str) -> list[JobReturn]:
            arguments = [*DATA, *SMALL, *options]
            config = loader.load_configuration(
                "config",
                ["+study=transfer", f"hydra.sweep.dir={tmp_path / 'sweep'}", *arguments],
                run_mode=RunMode.MULTIRUN,
            )
            sweeper = TransferSweeper()
            sweeper.setup(
                hydra_context=HydraContext(loader, Callbacks()),
                task_function=lambda config: 0.0,
                config=config,
            )
            sweeper.launcher = launcher
            return sweeper.sweep(["+study=transfer", *arguments])

        yield run


def test_the_narrow_runs_differ_in_the_model_alone(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if a narrow run has another seed, data or trainer, or a final run is narrow."""
    launcher = RecordingLauncher(tmp_path / "sweep")
    returns = sweep(launcher, "trainer.epochs=2")
    assert len(returns) == len(launcher.jobs) == 4 * 3 + 2 * 3 + 3 * 3
    for overrides in launcher.jobs:
        assert {*DATA, "trainer.epochs=2", "record.plots=none"} <= set(overrides)
        assert not any(option.lstrip("+").startswith("study") for option in overrides)
    narrow = [NARROW in overrides for overrides in launcher.jobs]
    assert narrow == [True] * 12 + [False] * 15
    study = json.loads((tmp_path / "sweep" / "study.json").read_text())
    assert [row["phase"] for row in study["jobs"].values()] == [20] * 12 + [22] * 6 + [4] * 9
    assert {row["role"] for row in study["jobs"].values()} == {"equal", "fixed", "strategy"}
    kept = ["record.checkpoints=none" in overrides for overrides in launcher.jobs]
    assert kept == [True] * 18 + [False] * 9, "tuning runs keep no checkpoint"


def test_the_answers_are_notes_of_the_study(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if the comparison does not say what transferred, or mixes the widths in it."""
    sweep(RecordingLauncher(tmp_path / "sweep"))
    weights, rate, cost = json.loads((tmp_path / "sweep" / "study.json").read_text())["notes"][:3]
    assert weights.startswith("The weights transfer: fixed value=1.64 label=0.363, the best of ")
    assert "are 20 % better than equal weights on the wide one" in weights
    assert rate.startswith(
        "The learning rate moved: 0.01 was best on the narrow model, 0.001 on the wide one; with the narrow model's the result is 25 % worse"
    )
    assert cost.startswith("Tuning took 12 narrow runs and 6 wide runs, ")


def test_the_users_proxy_is_the_narrow_model(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if study.proxy is passed over, or a misspelt one is found after an hour."""
    launcher = RecordingLauncher(tmp_path / "sweep")
    sweep(launcher, "study.proxy={model.hidden:[4]}", "study.rates=1")
    assert ["++model.hidden=[4]" in overrides for overrides in launcher.jobs[:12]] == [True] * 12


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("model.hidden=[]",), "model=mlp has no width that study.proxy=auto could divide; "),
        (
            ("+study.rate=3",),
            "study.rate is not an option of +study=transfer; did you mean 'rates'",
        ),
        (("data.tasks=[label]",), "A study needs at least two tasks, this one has label"),
        (("optimizer.lr=0",), "optimizer.lr must be a positive number"),
    ],
)
def test_a_study_that_cannot_be_made_begins_nothing(
    sweep: Sweep, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    """Breaks if a refused study starts runs, or leaves a directory in the way of the next one."""
    launcher = RecordingLauncher(tmp_path / "sweep")
    with pytest.raises(ConfigError) as error:
        sweep(launcher, *options)
    assert str(error.value).startswith(sentence)
    assert launcher.jobs == []
    assert not (tmp_path / "sweep").exists()
