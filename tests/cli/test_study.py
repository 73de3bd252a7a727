"""mtl-run -m +study=fair: the study as a user starts it, what it leaves, how it goes on, and problems whose verdict is known."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mtl_runner.config.open_keys import opened
from mtl_runner.study.protocol import fixed_overrides
from tests.cli.test_stacked import assert_one_sentence, assert_same_numbers, folders, summary
from tests.support.commands import Command, Result, Server, send

DATA = (
    "data=toy_mixed",
    "data.n=60",
    "data.n_val=40",
    "data.n_test=40",
    "model=mlp",
    "model.hidden=[8]",
)
TRAINER = ("trainer.epochs=2", "trainer.threads=1")
STUDY = (
    "study.seeds=2",
    "study.fixed_points=3",
    "study.per_decade=1",
    "study.decades=2",
    "study.extensions=1",
)
FAIR = ("-m", "+study=fair", *DATA, *TRAINER, *STUDY)
TINY = (*FAIR, "record.plots=none")
# A study in which the last epoch is not always the best one.
WHOLE = (
    *TINY,
    "weighting=fixed,uncertainty,per_task_adam",
    "optimizer.lr=0.1",
    "trainer.epochs=6",
    "trainer.lr_scheduler=null",
)


@dataclass(frozen=True)
class Study:
    """A study that has come to its end."""

    folder: Path
    result: Result

    @property
    def recorded(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "study.json").read_text()))

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        return dict(self.recorded["jobs"])

    def of(self, **wanted: Any) -> dict[str, dict[str, Any]]:
        """The jobs whose rows are so."""
        return {
            name: row
            for name, row in self.jobs.items()
            if all(row[key] == value for key, value in wanted.items())
        }

    def config(self, name: str) -> Any:
        return OmegaConf.load(self.folder / name / ".hydra" / "config.yaml")

    def overrides(self, name: str) -> list[str]:
        return [str(o) for o in OmegaConf.load(self.folder / name / ".hydra" / "overrides.yaml")]

    def settings(self, name: str) -> tuple[str, ...]:
        """What makes a run, its seed aside."""
        return tuple(o for o in self.overrides(name) if not o.startswith("seed="))


def number(name: str) -> int:
    """Of a job, which its folder begins with."""
    return int(name.split("_", 1)[0])


@pytest.fixture(scope="module")
def study(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A tiny study of two strategies; tests only read it."""
    top = tmp_path_factory.mktemp("study")
    result = server.run("mtl-run", *WHOLE, "hydra.sweep.dir=sweep", cwd=top, env={}, meddle=None)
    assert result.code == 0, result.err
    return Study(top / "sweep", result)


# What a study leaves


def test_a_study_names_every_run_it_leaves(study: Study) -> None:
    """Breaks if a run is left out of study.json, or is named there and does not lie there."""
    assert {path.name for path in folders(study.folder)} == set(study.jobs)
    assert [number(name) for name in study.jobs] == list(range(len(study.jobs)))
    assert {summary(study.folder / name)["status"] for name in study.jobs} == {"finished"}


def test_a_study_leaves_a_report_and_a_verdict_on_every_strategy(study: Study) -> None:
    """Breaks if the study's answer is not among its files, or the margin that it was asked for does not count."""
    assert "</html>" in (study.folder / "report.html").read_text()
    found = pd.read_csv(study.folder / "verdicts.csv")
    assert (
        {"uncertainty", "per_task_adam"}
        <= set(found["strategy"])
        <= {s["strategy"] for s in study.jobs.values()}
    )
    assert set(found["margin"]) == {study.recorded["margin"]} == {0.02}
    assert set(found["split"]) == {"test"}
    assert set(found["runs"]) == {2}
    assert "\nVerdict (test, final epoch, margin 2 %" in study.result.out


def test_study_json_says_of_every_run_what_it_trained(study: Study) -> None:
    """Breaks if a report takes a run for another role, learning rate or seed than it has."""
    for name, row in study.jobs.items():
        run, config = summary(study.folder / name), study.config(name)
        assert row["seed"] == run["seed"] == config.seed
        assert config.optimizer.lr == pytest.approx(row["lr"], rel=0.006)
        assert row["final"] == (row["phase"] > 3)
        weighting = run["choices"]["weighting"]
        weighted = any("weighting.weights" in o for o in study.overrides(name))
        expected = {
            "equal": ("fixed", False),
            "single_task": ("single_task", False),
            "fixed": ("fixed", True),
            "twin": ("fixed", True),
            "strategy": (row["strategy"], False),
        }
        assert (weighting, weighted) == expected[row["role"]]
        assert (row["of"] != "") == (row["role"] == "twin") == (row["phase"] == 5)
    assert {row["role"] for row in study.jobs.values()} == {
        "equal",
        "single_task",
        "fixed",
        "strategy",
        "twin",
    }


def test_every_candidate_has_the_same_trials_steps_and_rows(study: Study) -> None:
    """Breaks if somebody is tuned longer, or on more steps or data, than another."""
    tuning = study.of(final=False)
    counts = pd.Series([row["strategy"] for row in tuning.values()]).value_counts()
    assert len(counts) == 7, (
        "two baselines, two strategies, the sweep's two ends (its middle is equal weights), 1/trivial"
    )
    assert counts.nunique() == 1
    assert counts.iloc[0] in (5, 6), "three learning rates, at most one extension, two more"
    runs = [summary(study.folder / name) for name in study.jobs]
    assert {(run["epochs"], run["steps"]) for run in runs} == {(6, 12)}
    shared = [
        o
        for o in study.overrides(next(iter(study.jobs)))
        if o.lstrip("+").startswith(("data", "model", "trainer"))
    ]
    assert len(shared) == 10
    assert all(set(shared) <= set(study.overrides(name)) for name in study.jobs)


def test_tuning_has_one_seed_and_the_final_runs_fresh_ones_in_pairs(study: Study) -> None:
    """Breaks if a winner is judged on the seed that chose it, or the pairs of a comparison do not share a seed."""
    assert {row["seed"] for row in study.of(final=False).values()} == {0}
    seeds: dict[str, list[int]] = {}
    for row in study.of(final=True).values():
        seeds.setdefault(row["strategy"], []).append(row["seed"])
    assert all(found == [1, 2] for found in seeds.values())
    assert {name.split(", lr=")[0] for name in seeds} == {
        row["strategy"].split(", lr=")[0] for row in study.jobs.values()
    }


def test_the_final_settings_are_those_with_the_least_monitor_on_validation(study: Study) -> None:
    """Breaks if a trial is chosen by anything but trainer.monitor where it is judged, or the final runs train something else."""
    other = 0
    for strategy in {row["strategy"] for row in study.of(final=False).values()} - {"single_task"}:
        trials = study.of(strategy=strategy, final=False)
        best = min(trials, key=lambda name: summary(study.folder / name)["monitor"]["final"])
        finals = study.of(strategy=strategy, final=True)
        assert {study.settings(name) for name in finals} == {study.settings(best)}
        other += best != min(
            trials, key=lambda name: summary(study.folder / name)["monitor"]["best"]
        )
    assert other, (
        "here the best epoch would choose otherwise than the last one, at which the final runs are judged"
    )


def test_every_single_task_has_its_own_best_learning_rate(study: Study) -> None:
    """Breaks if a task's baseline is held back by what another task needs: then every method gains on it."""
    trials = list(study.of(role="single_task", final=False))
    finals = study.of(role="single_task", final=True)
    for task in ("value", "label"):
        best = min(
            trials,
            key=lambda name: summary(study.folder / name)["tasks"][task]["final"]["val"]["loss"],
        )
        same = [name for name in finals if study.settings(name) == study.settings(best)]
        assert [finals[name]["seed"] for name in same] == [1, 2]


def test_a_strategys_knob_is_tried_at_its_best_learning_rate(study: Study) -> None:
    """Breaks if the one main option stays at its default: conf/study/fair.yaml says what is tried."""
    trials = study.of(strategy="uncertainty", final=False)
    tried = {name: o for name in trials for o in study.overrides(name) if "weighting.lr=" in o}
    assert [o.lstrip("+") for o in tried.values()] == ["weighting.lr=0.005", "weighting.lr=0.1"]
    before = {name: row for name, row in trials.items() if name not in tried}
    best = min(before, key=lambda name: summary(study.folder / name)["monitor"]["final"])
    assert {trials[name]["lr"] for name in tried} == {trials[best]["lr"]}


def average_weights(runs: list[Path]) -> dict[str, float]:
    """Mean over runs and epochs of the train weights that metrics.csv holds."""
    rows = pd.concat([pd.read_csv(run / "metrics.csv") for run in runs])
    return (
        rows[(rows.split == "train") & (rows.task != "total")]
        .groupby("task")["weight"]
        .mean()
        .to_dict()
    )


def test_the_twin_stands_still_at_its_strategys_average_weights(study: Study) -> None:
    """Breaks if the frozen twin answers another question than: do this method's own weights do, if they stand still?"""
    finals = study.of(strategy="uncertainty", final=True)
    twins = study.of(role="twin")
    assert {row["of"] for row in twins.values()} == {"uncertainty"}, (
        "per_task_adam has no weights of its own"
    )
    expected = average_weights([study.folder / name for name in finals])
    assert max(expected.values()) / min(expected.values()) > 2
    for (name, row), original in zip(twins.items(), finals.values(), strict=True):
        assert dict(study.config(name).weighting.weights) == pytest.approx(expected, rel=1e-3)
        assert (row["lr"], row["seed"]) == (original["lr"], original["seed"])
        assert study.config(name).likelihood == study.config(next(iter(finals))).likelihood


def test_the_verdicts_are_drawn_from_the_final_runs_on_test(study: Study) -> None:
    """Breaks if a verdict is mixed with tuning runs or validation numbers: here its mean change is worked out by hand."""

    def at_test(strategy: str, seed: int) -> float:
        (name,) = study.of(strategy=strategy, seed=seed, final=True)
        return mean(
            row["final"]["test"]["relative_loss"]
            for row in summary(study.folder / name)["tasks"].values()
        )

    found = pd.read_csv(study.folder / "verdicts.csv").set_index("strategy")
    for strategy in ("uncertainty", "per_task_adam"):
        one, two = (at_test(strategy, seed) / at_test("equal", seed) for seed in (1, 2))
        assert found.loc[strategy, "versus_equal.mean"] == pytest.approx(
            (one * two) ** 0.5 - 1, abs=1e-9
        )


def test_the_plan_comes_before_any_run(study: Study) -> None:
    """Breaks if a user learns what a study takes only while it runs."""
    lines = study.result.out.splitlines()
    assert lines[0].startswith(
        "study: 2 strategies, equal weights, the single-task baseline and 3 fixed weightings; for each at least 5 trials, then 2 fresh seeds"
    )
    assert lines[1].startswith("study: a small model takes about ")
    assert lines[2] == "study: phase 1 (tuning), 21 runs"
    phases = [line.split(",")[0] for line in lines if line.startswith("study: phase")]
    assert phases[-2:] == [
        "study: phase 4 (final runs with fresh seeds)",
        "study: phase 5 (final runs with fresh seeds)",
    ]


def test_the_plan_says_within_what_the_runs_will_lie(study: Study) -> None:
    """Breaks if 'up to' so many runs is said of a study that then takes more."""
    least, most = re.search(r"(\d+) to (\d+) runs of 12 steps", study.result.out).groups()  # type: ignore[union-attr]
    assert int(least) == 7 * (5 + 2)
    assert int(least) <= len(study.jobs) <= int(most)
    assert int(most) == 7 * (5 + 1 + 2) + 2 * 2 + 2, (
        "an extension, two twins, a second learning rate for the single tasks"
    )


# How it goes on


@pytest.fixture
def copied(study: Study, tmp_path: Path) -> Study:
    """The study where a test may change it."""
    shutil.copytree(study.folder, tmp_path / "sweep")
    return Study(tmp_path / "sweep", study.result)


def trained(study: Study, but: Iterable[str] = ()) -> dict[str, tuple[bytes, bytes, int]]:
    """Of every other run, what training leaves, and when it was left."""
    return {
        name: (
            (study.folder / name / "metrics.csv").read_bytes(),
            (study.folder / name / "summary.json").read_bytes(),
            (study.folder / name / "checkpoint.pt").stat().st_mtime_ns,
        )
        for name in study.jobs
        if name not in but
    }


@pytest.mark.long
def test_going_on_with_a_finished_study_trains_nothing_again(mtl: Command, copied: Study) -> None:
    """Breaks if resume=true costs a study's time again, forgets what its runs are, or comes to another verdict."""
    before, recorded = trained(copied), copied.recorded
    verdicts = (copied.folder / "verdicts.csv").read_bytes()
    (copied.folder / "verdicts.csv").unlink()
    resumed = mtl("mtl-run", *WHOLE, "hydra.sweep.dir=sweep", "resume=true")
    assert resumed.code == 0, resumed.err
    assert trained(copied) == before
    assert copied.recorded == recorded
    assert (copied.folder / "verdicts.csv").read_bytes() == verdicts
    assert {path.name for path in folders(copied.folder)} == set(recorded["jobs"])


@pytest.mark.long
def test_a_study_that_lost_its_last_round_makes_it_again(mtl: Command, copied: Study) -> None:
    """Breaks if a study whose machine died before the twins ends without them, or with others."""
    jobs, verdicts = copied.jobs, pd.read_csv(copied.folder / "verdicts.csv")
    lost = copied.of(phase=5)
    kept = trained(copied, but=lost)
    for name in lost:
        shutil.rmtree(copied.folder / name)
    (copied.folder / "study.json").write_text(
        json.dumps(
            {
                **copied.recorded,
                "jobs": {name: row for name, row in jobs.items() if name not in lost},
            }
        )
    )
    resumed = mtl("mtl-run", *WHOLE, "hydra.sweep.dir=sweep", "resume=true")
    assert resumed.code == 0, resumed.err
    assert copied.jobs == jobs
    assert trained(copied, but=lost) == kept
    found = pd.read_csv(copied.folder / "verdicts.csv")
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), verdicts.drop(columns="seconds"))


def test_a_study_is_not_continued_with_another_plan(mtl: Command, copied: Study) -> None:
    """Breaks if half a study with one plan is mixed with half of another one."""
    before = trained(copied)
    result = mtl("mtl-run", *WHOLE, "study.seeds=3", "hydra.sweep.dir=sweep", "resume=true")
    assert_one_sentence(result)
    assert "holds another sweep" in result.last_line
    assert trained(copied) == before


# The same runs by hand

HAND = {
    "tuning": ({"strategy": "uncertainty", "phase": 1}, "optimizer.lr"),
    "final": ({"strategy": "uncertainty", "phase": 4}, "seed"),
    "twin": ({"role": "twin"}, "seed"),
}


@pytest.mark.parametrize("part", HAND)
@pytest.mark.long
def test_the_same_runs_by_hand_give_the_same_numbers(
    mtl: Command, tmp_path: Path, study: Study, part: str
) -> None:
    """Breaks if a study trains anything that its recorded options do not say."""
    wanted, varying = HAND[part]
    names = list(study.of(**wanted))
    values = [
        next(
            o.split("=")[1]
            for o in reversed(study.overrides(n))
            if o.lstrip("+").startswith(f"{varying}=")
        )
        for n in names
    ]
    rest = [o for o in study.overrides(names[0]) if not o.lstrip("+").startswith(f"{varying}=")]
    swept = (*rest, f"{varying}={','.join(values)}")
    result = mtl("mtl-run", "-m", "hydra/launcher=stacked", *swept, "hydra.sweep.dir=hand")
    assert result.code == 0, result.err
    by_hand = sorted(folders(tmp_path / "hand"), key=lambda path: number(path.name))
    assert len(by_hand) == len(names) >= 2
    for name, mine in zip(names, by_hand, strict=True):
        assert_same_numbers(study.folder / name / "metrics.csv", mine / "metrics.csv", 1e-6)


@pytest.mark.long
def test_the_basic_launcher_makes_the_same_study(
    mtl: Command, tmp_path: Path, study: Study
) -> None:
    """Breaks if a study needs the stacked launcher: every other one (joblib, Slurm) is handed the jobs in this way."""
    result = mtl("mtl-run", *WHOLE, "hydra/launcher=basic", "hydra.sweep.dir=basic")
    assert result.code == 0, result.err
    basic = Study(tmp_path / "basic", result)
    assert basic.jobs == study.jobs
    for name in study.of(final=True):
        assert_same_numbers(
            basic.folder / name / "metrics.csv", study.folder / name / "metrics.csv", 1e-4
        )


# What it refuses

NOTHING = (
    "study.budget=1",
    "hydra.sweep.dir=sweep",
)  # a study that gets that far is refused there: no test waits for its runs
SWEPT = "itself; give one number, the middle of the learning rates or the seed of the tuning, and study.seeds."
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "seed": (("seed=0,1",), f"A study chooses seed {SWEPT}"),
    "seed range": (("seed=range(0,3)",), f"A study chooses seed {SWEPT}"),
    "learning rate": (("optimizer.lr=0.1,0.01",), f"A study chooses optimizer.lr {SWEPT}"),
    "data": (("data=toy_mixed,digits",), "A study is about one dataset; start one study for each."),
    "data option": (("data.n=60,80",), "A study is about one dataset; start one study for each."),
    "strategy": (("weighting=uncertanty,fixed",), "weighting=uncertanty does not exist; did you mean 'uncertainty'?"),
    "unknown option": (("+study.seedz=3",), "study.seedz is not an option of a study; did you mean 'seeds'?"),
    "unknown option without +": (("study.seedz=3",), "There is no config key 'study.seedz'; did you mean 'seeds'?"),
    "one seed": (("study.seeds=1",), "study.seeds must be a whole number of at least 2; found 1."),
    "half a seed": (("study.seeds=2.5",), "study.seeds must be a whole number of at least 2; found 2.5."),
    "true seeds": (("study.seeds=true",), "study.seeds must be a whole number of at least 2; found True."),
    "two points": (("study.fixed_points=2",), "study.fixed_points must be a whole number of at least 3; found 2."),
    "no rates": (("study.per_decade=0",), "study.per_decade must be a whole number of at least 1; found 0."),
    "extensions": (("study.extensions=-1",), "study.extensions must be a whole number of at least 0; found -1."),
    "margin": (("study.margin=0",), "study.margin must be a positive number; found 0."),
    "margin in words": (("study.margin=small",), "study.margin must be a positive number; found 'small'."),
    "decades": (("study.decades=-2",), "study.decades must be a positive number; found -2."),
    "endless decades": (("study.decades=inf",), "study.decades must be a positive number; found inf."),
    "budget in words": (("study.budget=little",), "study.budget='little' is unknown; give a number of runs (400) or of steps ('200000 steps')."),
    "budget of nothing": (("study.budget=0",), "study.budget=0 is unknown; give a number of runs (400) or of steps ('200000 steps')."),
    "budget of true": (("study.budget=true",), "study.budget=True is unknown; give a number of runs (400) or of steps ('200000 steps')."),
    "first seed": (("seed=x",), "seed must be a whole number of at least 0; found 'x'."),
    "data that is not there": (("data.n=0",), "The train split is empty; every split needs at least one row."),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_study_cannot_do_is_refused_in_one_sentence(
    mtl: Command, tmp_path: Path, case: str
) -> None:
    """Breaks if a wrong option starts an hour of runs, or ends in a traceback."""
    options, sentence = REFUSED[case]
    result = mtl("mtl-run", *TINY, "weighting=fixed,uncertainty", *options, "hydra.sweep.dir=sweep")
    assert_one_sentence(result)
    assert sentence in result.last_line
    assert not list(tmp_path.rglob("summary.json"))


@pytest.mark.parametrize(
    "options",
    [(), ("weighting=fixed",), ("weighting=single_task",)],
    ids=["none", "fixed", "single task"],
)
def test_a_study_without_a_strategy_is_refused(mtl: Command, options: tuple[str, ...]) -> None:
    """Breaks if a study of nothing but its baselines runs for an hour."""
    result = mtl("mtl-run", *TINY, *options, "hydra.sweep.dir=sweep")
    assert_one_sentence(result)
    assert (
        result.last_line
        == "A study compares strategies; name some: weighting=fixed,uncertainty,dwa."
    )


def test_a_study_without_m_says_that_it_needs_it(mtl: Command, tmp_path: Path) -> None:
    """Breaks if `mtl-run +study=fair` trains one run, without a word, of a user who asked for a study."""
    result = mtl("mtl-run", *TINY[1:], "hydra.run.dir=run")
    assert_one_sentence(result)
    assert "mtl-run -m +study=fair" in result.last_line
    assert not list(tmp_path.rglob("summary.json"))


@pytest.mark.parametrize("rate", ["fast", "-1", "0"])
def test_a_learning_rate_that_is_none_is_refused_before_any_run(
    mtl: Command, tmp_path: Path, rate: str
) -> None:
    """Breaks if a typing error in the middle of the learning rates makes a study of runs that all fail, or Python's own words."""
    result = mtl("mtl-run", *TINY, "weighting=fixed,uncertainty", f"optimizer.lr={rate}", *NOTHING)
    assert_one_sentence(result)
    assert "optimizer.lr" in result.last_line
    assert not list(tmp_path.rglob("summary.json"))


@pytest.mark.parametrize(
    "knobs", ["uncertainty=3", "uncertainty={weighting.lr: 3}", "uncertainty={weighting.lr: [0.005]}", "uncertanty={weighting.lr: [1, 2]}"]
)  # fmt: skip
def test_a_knob_that_is_none_is_refused(mtl: Command, tmp_path: Path, knobs: str) -> None:
    """Breaks if a typing error, or a single value, gives a strategy fewer trials than the others or Python's own words."""
    result = mtl(
        "mtl-run", *TINY, "weighting=fixed,uncertainty", f"++study.knobs.{knobs}", *NOTHING
    )
    assert_one_sentence(result)
    assert "study.knobs" in result.last_line
    assert not list(tmp_path.rglob("summary.json"))


def test_a_strategy_named_twice_is_tried_once(mtl: Command) -> None:
    """Breaks if a strategy that is named twice has twice the trials of the others, and its final runs twice."""
    result = mtl("mtl-run", *TINY, "weighting=fixed,uncertainty,uncertainty", *NOTHING)
    assert_one_sentence(result)
    assert result.out.startswith("study: 1 strategies, ") or "uncertainty" in result.last_line


def test_fixed_weights_of_the_users_own_are_fixed_weights(mtl: Command) -> None:
    """Breaks if weights that a user adds to the sweep are judged as a strategy, and get a frozen twin of themselves."""
    result = mtl("mtl-run", *TINY, "weighting=fixed", "weighting.weights.value=2,3", *NOTHING)
    assert_one_sentence(result)
    assert "5 fixed weightings" in result.out


@pytest.mark.parametrize("name", ["my column", "price (EUR)"])
def test_tasks_may_have_any_name(name: str) -> None:
    """Breaks if a study of a table whose columns are called as people call them ends in Hydra's grammar."""
    OverridesParser.create().parse_overrides(
        [opened(o) for o in fixed_overrides({name: 0.5, "b": 1.5})]
    )


@pytest.fixture(scope="module")
def hopeless(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study in which every run fails at its second step."""
    top = tmp_path_factory.mktemp("hopeless")
    options = (
        *FAIR,
        "weighting=fixed,uncertainty",
        "optimizer=sgd",
        "optimizer.lr=1e12",
        "study.extensions=0",
        "hydra.sweep.dir=sweep",
    )
    return Study(top / "sweep", server.run("mtl-run", *options, cwd=top, env={}, meddle=None))


def test_a_study_in_which_every_run_fails_ends_in_one_sentence(hopeless: Study) -> None:
    """Breaks if diverging runs end in Python's own words instead of what went wrong."""
    assert_one_sentence(hopeless.result)
    assert "IndexError" not in hopeless.result.err
    assert "failed" in hopeless.result.last_line
    assert "Every trial of equal failed." in hopeless.recorded["notes"]


def test_the_runs_of_a_study_draw_no_pictures(hopeless: Study) -> None:
    """Breaks if conf/study/fair.yaml's record.plots=none is lost on the way to the runs: a hundred runs with pictures are slow."""
    assert {hopeless.config(path.name).record.plots for path in folders(hopeless.folder)} == {
        "none"
    }


@pytest.mark.long
def test_a_strategy_that_always_fails_does_not_stop_the_study(mtl: Command, tmp_path: Path) -> None:
    """Breaks if one diverging strategy costs the others their verdict, or its failure is forgotten."""
    result = mtl(
        "mtl-run",
        *TINY,
        "weighting=uncertainty",
        "weighting.init=-1000,0",
        "study.extensions=0",
        "hydra.sweep.dir=sweep",
    )
    assert "Traceback" not in result.err
    recorded = Study(tmp_path / "sweep", result)
    assert recorded.recorded["notes"].count("Every trial of init=-1000 failed.") == 1
    assert {row["strategy"] for row in recorded.of(final=True).values()} >= {"equal", "init=0"}


# The budget


BUDGET = ("weighting=fixed,uncertainty", "hydra.sweep.dir=sweep")
LEAST = 6 * (5 + 2)  # six candidates


@pytest.mark.parametrize("budget", [f"{LEAST - 1}", f"{LEAST - 1} runs", f"{4 * LEAST - 1} steps"])
def test_a_budget_that_is_too_small_is_refused_with_the_plan(
    mtl: Command, tmp_path: Path, budget: str
) -> None:
    """Breaks if a study begins that cannot come to its end, or runs, or their steps (four each), are counted wrongly."""
    result = mtl("mtl-run", *TINY, *BUDGET, f"study.budget={budget}")
    assert_one_sentence(result)
    assert result.out.splitlines()[0].startswith("study: 1 strategies")
    needed = re.match(
        r"The study needs at least (\d+) runs, more than study.budget=(.*) allows; ",
        result.last_line,
    )
    assert needed is not None
    assert int(needed[1]) >= LEAST
    assert needed[2] == budget
    assert not list(tmp_path.rglob("summary.json"))


def test_a_refused_study_is_not_in_the_way_of_the_next_one(mtl: Command, tmp_path: Path) -> None:
    """Breaks if the directory of a study that was refused is taken for another sweep, so that the corrected command is refused too."""
    assert mtl("mtl-run", *TINY, *BUDGET, "study.budget=1").code == 1
    corrected = mtl("mtl-run", *TINY, *BUDGET, "study.budget=2")
    assert "holds another sweep" not in corrected.last_line
    assert corrected.last_line.startswith("The study needs at least")
    assert not (tmp_path / "sweep" / "multirun.yaml").exists()


# 50: one more round (6 runs) fits in, with the twins (2) just so, and a second learning rate for the single tasks (2) does not.
@pytest.mark.parametrize(
    "budget",
    [
        f"{LEAST}",
        pytest.param(f"{4 * (LEAST + 1)} steps", marks=pytest.mark.long),
        pytest.param("50", marks=pytest.mark.long),
    ],
)
def test_no_study_takes_more_runs_than_its_budget(
    mtl: Command, tmp_path: Path, budget: str
) -> None:
    """Breaks if extensions, twins, or the learning rates of the single tasks go beyond study.budget."""
    result = mtl("mtl-run", *TINY, *BUDGET, f"study.budget={budget}")
    if result.code:
        assert_one_sentence(result)
        assert "study.budget" in result.last_line
        return
    allowed = int(budget.split()[0]) // (4 if "steps" in budget else 1)
    assert len(folders(tmp_path / "sweep")) <= allowed


# Killed


def seen(sweep: Path, first: int, count: int) -> bool:
    """Whether so many runs from a number on have said something of themselves."""
    return (
        sum(number(path.parent.name) >= first for path in sweep.glob("*_seed*/summary.json"))
        >= count
    )


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["stacked", "basic"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_study_that_is_killed_in_every_phase_ends_as_if_nothing_had_happened(
    mtl: Command, tmp_path: Path, launcher: str, count: int
) -> None:
    """Breaks if a kill costs a round its results, makes a run twice, or lets the study choose otherwise."""
    options = (*TINY, "weighting=fixed,uncertainty", f"hydra/launcher={launcher}")
    undisturbed = mtl("mtl-run", *options, "hydra.sweep.dir=whole")
    assert undisturbed.code == 0, undisturbed.err
    whole = Study(tmp_path / "whole", undisturbed)
    sweep = tmp_path / "killed"
    command = ("mtl-run", *options, "hydra.sweep.dir=killed")
    for phase in (1, 2, 3, 4, 5):
        first = min(number(name) for name in whole.of(phase=phase))
        instant = partial(seen, sweep, first, count)
        again = () if phase == 1 else ("resume=true",)
        killed = mtl(*command, *again, meddle=send(signal.SIGKILL, instant))
        assert killed.code == -signal.SIGKILL
        recorded = json.loads((sweep / "study.json").read_text())["jobs"] if phase > 1 else {}
        assert {row["phase"] for row in recorded.values()} == set(range(1, phase)), (
            "the rounds that were over"
        )
    resumed = mtl(*command, "resume=true")
    assert resumed.code == 0, resumed.err
    ended = Study(sweep, resumed)
    assert ended.jobs == whole.jobs
    assert ended.recorded == whole.recorded
    for name in whole.jobs:
        assert_same_numbers(sweep / name / "metrics.csv", whole.folder / name / "metrics.csv", 1e-6)
    for table in ("runs.csv", "verdicts.csv"):
        found, expected = (
            pd.read_csv(s.folder / table).drop(columns="seconds") for s in (ended, whole)
        )
        pd.testing.assert_frame_equal(found, expected, rtol=1e-6, atol=1e-9, check_exact=False)


@pytest.mark.long
def test_ctrl_c_stops_a_study_and_says_how_to_go_on(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a study stopped by hand ends in a traceback, or starts its next phase."""
    options = (
        *TINY,
        "weighting=fixed,uncertainty",
        "hydra.sweep.dir=sweep",
        "trainer.epochs=400",
        "trainer.compile=false",
    )
    stopped = mtl(
        "mtl-run", *options, meddle=send(signal.SIGINT, partial(seen, tmp_path / "sweep", 0, 3))
    )
    assert stopped.code == 130, stopped.out + stopped.err
    assert "Traceback" not in stopped.err
    assert stopped.last_line.endswith("/sweep resume=true.")
    assert max(number(path.name) for path in folders(tmp_path / "sweep")) < 18, (
        "the first phase's runs"
    )


@pytest.mark.long
def test_a_study_that_was_stopped_by_ctrl_c_goes_on(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a study stopped in its final runs cannot go on, or chooses otherwise."""
    options = (*TINY, "weighting=fixed,uncertainty", "trainer.epochs=30")
    undisturbed = mtl("mtl-run", *options, "hydra.sweep.dir=whole")
    whole = Study(tmp_path / "whole", undisturbed)
    first = min(number(name) for name in whole.of(phase=4))
    command = ("mtl-run", *options, "hydra.sweep.dir=sweep")
    stopped = mtl(*command, meddle=send(signal.SIGINT, partial(seen, tmp_path / "sweep", first, 2)))
    assert stopped.code == 130, stopped.out + stopped.err
    resumed = mtl(*command, "resume=true")
    assert resumed.code == 0, resumed.err
    assert Study(tmp_path / "sweep", resumed).recorded == whole.recorded


# Problems whose verdict is known (E2)


def verdict_of(folder: Path, strategy: str) -> pd.Series:
    found = pd.read_csv(folder / "verdicts.csv").set_index("strategy")
    return found.loc[strategy]


@pytest.mark.long
def test_weighting_makes_no_difference_to_tasks_that_share_nothing(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a study finds a difference where there can be none: separate nets, and Adam, which no constant factor moves."""
    result = mtl(
        *(
            "mtl-run",
            "-m",
            "+study=fair",
            "data=toy_regression",
            "model.hidden=[16]",
            "trainer.epochs=200",
            "trainer.threads=1",
        ),
        *(
            "record.plots=none",
            "study.seeds=6",
            "study.fixed_points=3",
            "weighting=uncertainty,per_task_adam",
        ),
        "hydra.sweep.dir=sweep",
    )
    assert result.code == 0, result.err
    for strategy in ("uncertainty", "per_task_adam"):
        assert verdict_of(tmp_path / "sweep", strategy)["verdict"] == "no difference"
    # With nothing shared, one Adam per task is one Adam, and fixed weights are a factor that Adam forgets.
    by_hand = verdict_of(tmp_path / "sweep", "per_task_adam")
    assert (by_hand["versus_equal.low"], by_hand["versus_equal.high"]) == pytest.approx(
        (0, 0), abs=1e-6
    )


PLANTED = (
    "data=gradnorm_toy",
    "data.sigmas=[1,31.6]",
    "data.n=400",
    "data.n_val=200",
    "trainer.epochs=60",
    "trainer.threads=1",
)


def best_fixed(mtl: Command, tmp_path: Path, *options: str) -> tuple[Study, pd.Series]:
    """The verdict on the best fixed weights where one task's loss is a thousand times the other's."""
    plan = (
        "record.plots=none",
        "study.seeds=6",
        "study.fixed_points=3",
        "weighting=fixed,uncertainty",
        "hydra.sweep.dir=sweep",
    )
    result = mtl("mtl-run", "-m", "+study=fair", *PLANTED, *options, *plan)
    assert result.code == 0, result.err
    name = str(verdict_of(tmp_path / "sweep", "uncertainty")["fixed"])
    assert "1/trivial" in name, "the weights that make the trivial predictor's losses equal"
    return Study(tmp_path / "sweep", result), verdict_of(tmp_path / "sweep", name)


@pytest.mark.long
def test_equal_weights_lose_where_one_loss_is_a_thousand_times_the_other(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a study overlooks what its tuning cannot mend: a deep trunk that one task alone shapes, and that overfits it."""
    sizes = ("data.dim=60", "data.outputs=30", "data.n_test=500", "model.hidden=[64,64,64,64]")
    study, found = best_fixed(mtl, tmp_path, *sizes)
    assert found["versus_equal.high"] < -study.recorded["margin"]
    assert found["verdict"] == "static weights suffice"
    assert verdict_of(study.folder, "uncertainty")["verdict"] == "static weights suffice"


@pytest.mark.long
def test_the_verdict_agrees_with_the_monitor_on_a_trade_off(mtl: Command, tmp_path: Path) -> None:
    """Breaks if weights that are better by what everybody was tuned for, on every seed, are said to hurt."""
    sizes = ("data.dim=20", "data.outputs=10", "data.n_test=200", "model.hidden=[32,32]")
    study, found = best_fixed(mtl, tmp_path, *sizes)
    finals = {
        role: study.of(strategy=name, final=True)
        for role, name in (("equal", "equal"), ("fixed", found.name))
    }
    monitors = {
        role: [summary(study.folder / n)["monitor"]["final"] for n in names]
        for role, names in finals.items()
    }
    assert all(
        fixed < equal for fixed, equal in zip(monitors["fixed"], monitors["equal"], strict=True)
    )
    assert found["versus_equal.high"] < -study.recorded["margin"]
