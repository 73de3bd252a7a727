"""The sweeper of a study: which jobs it hands to a launcher, and what it leaves if they stop."""

from __future__ import annotations

import json
import math
import re
import shutil
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
from mtl_runner.study.sweeper import StudySweeper

DATA = ("data=toy_mixed", "data.n=60", "data.n_val=40", "data.n_test=40")
SMALL = (
    *("study.seeds=2", "study.tuning_seeds=1", "study.fixed_points=3"),
    *("study.per_decade=1", "study.extensions=0"),
)
JOBS = 7 * 5  # equal, single_task, dwa, famo, two fixed and 1/trivial; three rates, two more
Sweep = Callable[..., list[JobReturn]]


class RecordingLauncher(Launcher):
    """A launcher that trains nothing: each job leaves a summary at once."""

    def __init__(self, folder: Path, stop_at: int | None = None) -> None:
        self.folder, self.stop_at = folder, stop_at
        self.jobs: list[list[str]] = []
        self.first_numbers: list[int] = []

    def setup(self, **context: Any) -> None:
        """Take nothing of what Hydra offers."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Leave a summary per job, with a monitor that falls with the number of the job."""
        self.first_numbers.append(initial_job_idx)
        returns = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            run = self.folder / f"{number}_run"
            run.mkdir(parents=True)
            write_json(run / "summary.json", {"monitor": {"final": 1 / (1 + number)}})
            if number == self.stop_at:
                raise KeyboardInterrupt
            self.jobs.append(list(overrides))
            hydra: Any = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(run)}}})
            job = JobReturn(hydra_cfg=hydra, status=JobStatus.COMPLETED)
            job.return_value = 0.0
            returns.append(job)
        return returns


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweep]:
    """``sweep(launcher, *options, **study)`` makes the study that these options ask for."""
    register()
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def run(launcher: Launcher, *options: str, **study: Any) -> list[JobReturn]:
            swept = [option for option in options if "," in option]
            single = [option for option in (*DATA, *SMALL, *options) if "," not in option]
            config = loader.load_configuration(
                "config",
                ["+study=fair", f"hydra.sweep.dir={tmp_path / 'sweep'}", *single],
                run_mode=RunMode.MULTIRUN,
            )
            for name, value in study.items():
                config.study[name] = value
            sweeper = StudySweeper()
            sweeper.setup(
                hydra_context=HydraContext(loader, Callbacks()),
                task_function=lambda config: 0.0,
                config=config,
            )
            sweeper.launcher = launcher
            return sweeper.sweep([*single, *swept])

        yield run


def test_three_tasks_try_the_weights_of_norms_unless_they_cannot_be_measured(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if many tasks have no weights by gradients, or a model without a trunk no study."""
    three = (
        "data=related",
        "data.scales=[1,3,10]",
        "data.n=60",
        "weighting=dwa",
        "weighting=dwa,famo",
    )
    for model, fixed in (("mlp", 5), ("separate_mlps", 4)):
        launcher = RecordingLauncher(tmp_path / "sweep", stop_at=0)
        with pytest.raises(KeyboardInterrupt):
            sweep(launcher, *three, f"model={model}", "model.hidden=[8]")
        out = capsys.readouterr().out
        assert f"and {fixed} fixed weightings" in out
        assert ("no fixed weights 1/norm: the norms" in out) == (model == "separate_mlps")
        shutil.rmtree(tmp_path / "sweep")


def test_every_round_goes_to_the_launcher_with_all_common_options(
    sweep: Sweep, tmp_path: Path
) -> None:
    """Breaks if a run of a study trains on other data, draws pictures, or gets another's number."""
    launcher = RecordingLauncher(tmp_path / "sweep")
    returns = sweep(launcher, "weighting=dwa,famo", "trainer.epochs=2")
    assert len(returns) == len(launcher.jobs)
    assert launcher.first_numbers[:3] == [0, JOBS * 3 // 5, JOBS]
    for overrides in launcher.jobs:
        assert {*DATA, "trainer.epochs=2", "record.plots=none"} <= set(overrides)
        assert not any(option.startswith("study") for option in overrides)
        assert sum("optimizer.lr=" in option for option in overrides) == 1
        assert sum(option.startswith("seed=") for option in overrides) == 1
    study = json.loads((tmp_path / "sweep" / "study.json").read_text())
    assert list(study["jobs"]) == [f"{number}_run" for number in range(len(launcher.jobs))]
    assert (tmp_path / "sweep" / "multirun.yaml").exists(), "resume=true needs it"


def test_the_fresh_seeds_of_small_data_have_a_split_each(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if the final runs of 60 rows are all of one split, or tuning sees several."""
    launcher = RecordingLauncher(tmp_path / "sweep")
    sweep(launcher, "weighting=dwa,famo", "data.seed=7")
    splits = {
        tuple(o.lstrip("+") for o in overrides if re.match(r"\+*(data\.)?seed=", o))
        for overrides in launcher.jobs
    }
    assert splits == {
        ("data.seed=7", "seed=0"),
        ("seed=1", "data.seed=7"),
        ("seed=2", "data.seed=8"),
    }


@pytest.mark.parametrize(
    ("options", "tuning"),
    [
        ((), ["record.checkpoints=none"]),
        (("record.checkpoints=best",), ["record.checkpoints=best"]),
        (("record.plots=best",), ["record.plots=none", "record.checkpoints=none"]),
    ],
)
def test_tuning_runs_keep_no_checkpoint_unless_asked_to(
    sweep: Sweep, tmp_path: Path, options: tuple[str, ...], tuning: list[str]
) -> None:
    """Breaks if a study of large models fills a disk with runs that nobody looks at again."""
    launcher = RecordingLauncher(tmp_path / "sweep")
    sweep(launcher, "weighting=dwa,famo", "trainer.epochs=2", *options)
    study = json.loads((tmp_path / "sweep" / "study.json").read_text())
    kept = {
        role["final"]: [o for o in overrides if o in (*tuning, *options)]
        for role, overrides in zip(study["jobs"].values(), launcher.jobs, strict=True)
    }
    assert kept == {False: list(dict.fromkeys([*options, *tuning])), True: list(options)}


@pytest.mark.parametrize("options", [(), ("record.interference=false",)])
def test_the_final_runs_of_equal_weights_measure_how_far_tasks_interfere(
    sweep: Sweep, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Breaks if a study does not tell it, every run pays for it, or it cannot be switched off."""
    launcher = RecordingLauncher(tmp_path / "sweep")
    sweep(launcher, "weighting=dwa,famo", "trainer.epochs=2", *options)
    jobs = json.loads((tmp_path / "sweep" / "study.json").read_text())["jobs"].values()
    measured = [
        (job["role"], job["final"])
        for job, overrides in zip(jobs, launcher.jobs, strict=True)
        if "++record.interference=true" in overrides
    ]
    assert set(measured) == (set() if options else {("equal", True)})


def test_no_record_of_a_study_is_written_through_a_link(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if a study in a foreign directory overwrites files of the user."""
    folder, victim = tmp_path / "sweep", tmp_path / "victim"
    folder.mkdir()
    victim.write_text("precious")
    for name in ("multirun.yaml", "study.json"):
        (folder / name).symlink_to(victim)
    with pytest.raises(KeyboardInterrupt):
        sweep(RecordingLauncher(folder, stop_at=4), "weighting=dwa,famo")
    assert victim.read_text() == "precious"
    assert len(json.loads((folder / "study.json").read_text())["jobs"]) == 5
    assert "weighting" in (folder / "multirun.yaml").read_text()


def test_every_group_is_a_study_of_its_own(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if an optimizer is tuned around another one's rate, or by another one's results."""
    launcher = RecordingLauncher(tmp_path / "sweep")
    sweep(launcher, "weighting=dwa,famo", optimizers=["adam", "sgd"], widths=[4, 8])
    study = json.loads((tmp_path / "sweep" / "study.json").read_text())
    jobs = list(zip(study["jobs"].values(), launcher.jobs, strict=True))
    groups = [(row["factors"]["optimizer"], row["factors"]["width"]) for row, _ in jobs]
    assert list(dict.fromkeys(groups)) == [
        *(("adam", "4"), ("adam", "8"), ("sgd", "4"), ("sgd", "8")),
    ]
    assert list(study["group_notes"]) == [
        f"optimizer={o}, width={w}" for o, w in dict.fromkeys(groups)
    ]
    for (row, overrides), (optimizer, width) in zip(jobs, groups, strict=True):
        assert {f"optimizer={optimizer}", f"++model.hidden=[{width},{width}]"} <= set(overrides)
        if row["phase"] == 1:
            middle = {"adam": 1e-3, "sgd": 1e-2}[optimizer]
            assert any(math.isclose(row["lr"], middle * factor) for factor in (0.1, 1, 10))
    final = {
        group: [
            (row["strategy"], row["seed"])
            for (row, _), of in zip(jobs, groups, strict=True)
            if of == group and row["phase"] == 4 and row["role"] == "strategy"
        ]
        for group in dict.fromkeys(groups)
    }
    assert len(set(map(tuple, final.values()))) == 1, "the same seeds everywhere"


def test_a_time_is_turned_into_runs_before_the_second_run(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if a study that is killed in its first round has other runs when it goes on."""

    class Timed(RecordingLauncher):
        """A launcher whose runs take a second each, which reads the record before each launch."""

        def launch(
            self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
        ) -> Sequence[JobReturn]:
            if initial_job_idx == 1:
                recorded.append(json.loads((self.folder / "study.json").read_text()))
                raise KeyboardInterrupt
            returns = super().launch(job_overrides, initial_job_idx)
            summary = self.folder / f"{initial_job_idx}_run" / "summary.json"
            write_json(summary, {"monitor": {"final": 1.0}, "time": {"seconds": 0.7}})
            return returns

    recorded: list[dict[str, Any]] = []
    with pytest.raises(KeyboardInterrupt):
        sweep(Timed(tmp_path / "sweep"), "weighting=dwa,famo", budget="20 minutes")
    assert recorded[0]["seconds_per_run"] == pytest.approx(1.0)  # with the start of a run


def test_a_stopped_study_knows_what_it_began(sweep: Sweep, tmp_path: Path) -> None:
    """Breaks if Ctrl-C costs a study the record of its runs, or is taken for the end of a round."""
    launcher = RecordingLauncher(tmp_path / "sweep", stop_at=4)
    with pytest.raises(KeyboardInterrupt):
        sweep(launcher, "weighting=dwa,famo")
    study = json.loads((tmp_path / "sweep" / "study.json").read_text())
    assert list(study["jobs"]) == [f"{number}_run" for number in range(5)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("study.budget=1",), "The study may need "),
        (("optimizer.lr=fast",), "optimizer.lr must be a positive number"),
        (("data.tasks=[label]",), "A study needs at least two tasks, this one has label"),
        (
            ("++study.regularisation={optimizer.weight_dacay: [0.1]}",),
            "study.regularisation names optimizer.weight_dacay, which torch.optim.Adam does not",
        ),
        (
            (
                "++study.regularisation={optimizer.weight_decay: [0.1]}",
                "optimizer.weight_decay=0,1",
            ),
            "study.regularisation tries values of optimizer.weight_decay itself; give one value",
        ),
        (
            ("++study.regularisation={optimizer.foreach_: [0.1]}",),
            "study.regularisation names optimizer.foreach_, which torch.optim.Adam does not have.",
        ),
        (
            ("++study.widths={model.depth: [1]}",),
            "study.widths must be a list of two or more widths",
        ),
        (("study.seeds=1",), "study.seeds must be auto or a whole number of at least 2"),
    ],
)
def test_a_study_that_cannot_be_made_begins_nothing(
    sweep: Sweep, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    """Breaks if a refused study starts runs, or leaves a directory in the way of the next one."""
    launcher = RecordingLauncher(tmp_path / "sweep")
    with pytest.raises(ConfigError) as error:
        sweep(launcher, "weighting=dwa,famo", *options)
    assert str(error.value).startswith(sentence)
    assert launcher.jobs == []
    assert not (tmp_path / "sweep").exists()
