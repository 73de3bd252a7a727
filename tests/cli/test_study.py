"""mtl-run -m +study=fair, the study as a user starts it.

What it leaves, how it goes on and what it refuses; ``test_planted_answers.py`` has problems whose
verdict is known.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import geometric_mean, mean
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf

from mtl_runner.runs.directory import config_in_effect
from tests.support.commands import Command, Result, Server, send
from tests.support.run_files import (
    assert_one_sentence,
    assert_same_numbers,
    read_summary,
    run_folders,
)

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
    "study.tuning_seeds=1",
    "study.splits=1",
    "study.fixed_points=3",
    "study.per_decade=1",
    "study.decades=2",
    "study.extensions=1",
)
FAIR = ("-m", "+study=fair", *DATA, *TRAINER, *STUDY)
TINY = (*FAIR, "record.plots=none")
# A study in which the last epoch is not always the best one.
FULL_STUDY = (
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
        """The content of study.json."""
        return dict(json.loads((self.folder / "study.json").read_text()))

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        """The rows of study.json, by the name of the run directory."""
        return dict(self.recorded["jobs"])

    def jobs_with(self, **cells: Any) -> dict[str, dict[str, Any]]:
        """Return the jobs whose rows hold these cells."""
        return {
            name: row
            for name, row in self.jobs.items()
            if all(row[key] == value for key, value in cells.items())
        }

    def config(self, name: str) -> Any:
        """Return the recorded config of a run."""
        return OmegaConf.load(self.folder / name / ".hydra" / "config.yaml")

    def overrides(self, name: str) -> list[str]:
        """Return the recorded overrides of a run."""
        return [str(o) for o in OmegaConf.load(self.folder / name / ".hydra" / "overrides.yaml")]

    def settings(self, name: str) -> tuple[str, ...]:
        """Return the overrides of a run without its seed, and without what it leaves behind."""
        left_out = ("seed=", "++data.seed=", "record.", "++record.")
        return tuple(o for o in self.overrides(name) if not o.startswith(left_out))


def job_number(name: str) -> int:
    """Return the number of a job, which the name of its folder begins with."""
    return int(name.split("_", 1)[0])


@pytest.fixture(scope="module")
def study(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A tiny study of two strategies; tests only read it."""
    top = tmp_path_factory.mktemp("study")
    result = server.run(
        "mtl-run", *FULL_STUDY, "hydra.sweep.dir=sweep", cwd=top, env={}, meanwhile=None
    )
    assert result.code == 0, result.err
    return Study(top / "sweep", result)


# What a study leaves


@pytest.mark.long
def test_a_study_names_every_run_it_leaves(study: Study) -> None:
    """Breaks if a run is left out of study.json, or is named there and does not lie there."""
    assert {path.name for path in run_folders(study.folder)} == set(study.jobs)
    assert [job_number(name) for name in study.jobs] == list(range(len(study.jobs)))
    assert {read_summary(study.folder / name)["status"] for name in study.jobs} == {"finished"}


def test_a_study_leaves_a_report_and_a_verdict_on_every_strategy(study: Study) -> None:
    """Breaks if the study's answer is not among its files, or its margin does not count."""
    assert "</html>" in (study.folder / "report.html").read_text()
    verdicts = pd.read_csv(study.folder / "verdicts.csv")
    assert (
        {"uncertainty", "per_task_adam"}
        <= set(verdicts["strategy"])
        <= {s["strategy"] for s in study.jobs.values()}
    )
    assert set(verdicts["margin"]) == {study.recorded["margin"]} == {0.02}
    assert set(verdicts["split"]) == {"test"}
    assert set(verdicts["runs"]) == {2}
    assert "\nVerdict (test, final epoch, margin 2 %" in study.result.out


def test_study_json_says_of_every_run_what_it_trained(study: Study) -> None:
    """Breaks if a report takes a run for another role, learning rate or seed than it has."""
    for name, row in study.jobs.items():
        run, config = read_summary(study.folder / name), study.config(name)
        assert row["seed"] == run["seed"] == config.seed
        assert config.optimizer.lr == pytest.approx(row["lr"], rel=0.006)
        assert row["final"] == (row["phase"] in (4, 5))
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
        assert (row["of"] != "") == (row["role"] == "twin") == (row["phase"] in (5, 7, 8))
    assert {row["role"] for row in study.jobs.values()} == {
        "equal",
        "single_task",
        "fixed",
        "strategy",
        "twin",
    }


def test_every_candidate_has_the_same_trials_steps_and_rows(study: Study) -> None:
    """Breaks if a candidate is tuned longer, or on more steps or data, than another."""
    tuning = study.jobs_with(final=False, of="")
    counts = pd.Series([row["strategy"] for row in tuning.values()]).value_counts()
    assert len(counts) == 7, (
        "two baselines, two strategies, the sweep's two ends (its middle is equal weights), 1/trivial"
    )
    assert counts.nunique() == 1
    assert counts.iloc[0] in (5, 6), "three learning rates, at most one extension, two more"
    of_twin = len(study.jobs_with(final=False, role="twin"))
    assert of_twin in (5, 6), "the twin is tuned like everything else"
    runs = [read_summary(study.folder / name) for name in study.jobs]
    assert {(run["epochs"], run["steps"]) for run in runs} == {(6, 12)}
    shared = [
        o
        for o in study.overrides(next(iter(study.jobs)))
        if o.lstrip("+").startswith(("data", "model", "trainer"))
    ]
    assert len(shared) == 10
    assert all(set(shared) <= set(study.overrides(name)) for name in study.jobs)


def test_tuning_has_seeds_of_its_own_and_the_final_runs_fresh_ones_in_pairs(study: Study) -> None:
    """Breaks if a winner is judged on the seed that chose it, or pairs do not share a seed."""
    assert {row["seed"] for row in study.jobs_with(final=False).values()} == {0}
    seeds: dict[str, list[int]] = {}
    for row in study.jobs_with(final=True).values():
        seeds.setdefault(row["strategy"], []).append(row["seed"])
    assert all(fresh == [1, 2] for fresh in seeds.values())
    assert {name.split(", lr=")[0] for name in seeds} == {
        row["strategy"].split(", lr=")[0] for row in study.jobs.values()
    }


def test_the_final_settings_are_those_with_the_least_monitor_on_validation(study: Study) -> None:
    """Breaks if a trial is not chosen by trainer.monitor at the last epoch, or not repeated."""
    differing = 0
    for strategy in {row["strategy"] for row in study.jobs_with(final=False).values()} - {
        "single_task"
    }:
        trials = study.jobs_with(strategy=strategy, final=False)
        best = min(trials, key=lambda name: read_summary(study.folder / name)["monitor"]["final"])
        finals = study.jobs_with(strategy=strategy, final=True)
        assert {study.settings(name) for name in finals} == {study.settings(best)}
        differing += best != min(
            trials, key=lambda name: read_summary(study.folder / name)["monitor"]["best"]
        )
    assert differing, (
        "here the best epoch would choose otherwise than the last one, at which the final runs are judged"
    )


def test_every_single_task_has_its_own_best_learning_rate(study: Study) -> None:
    """Breaks if a task's baseline is held back by what another task needs, so that methods gain."""
    trials = list(study.jobs_with(role="single_task", final=False))
    finals = study.jobs_with(role="single_task", final=True)
    for task in ("value", "label"):
        best = min(
            trials,
            key=lambda name: read_summary(study.folder / name)["tasks"][task]["final"]["val"][
                "loss"
            ],
        )
        same = [name for name in finals if study.settings(name) == study.settings(best)]
        assert [finals[name]["seed"] for name in same] == [1, 2]


def test_a_strategys_knob_is_tried_at_its_best_learning_rate(study: Study) -> None:
    """Breaks if the main option is not tried as conf/study/fair.yaml says."""
    trials = study.jobs_with(strategy="uncertainty", final=False)
    tried = {name: o for name in trials for o in study.overrides(name) if "weighting.lr=" in o}
    assert [o.lstrip("+") for o in tried.values()] == ["weighting.lr=0.005", "weighting.lr=0.1"]
    before = {name: row for name, row in trials.items() if name not in tried}
    best = min(before, key=lambda name: read_summary(study.folder / name)["monitor"]["final"])
    assert {trials[name]["lr"] for name in tried} == {trials[best]["lr"]}


def average_weights(runs: list[Path]) -> dict[str, float]:
    """Return the mean over runs and epochs of the train weights in metrics.csv."""
    rows = pd.concat([pd.read_csv(run / "metrics.csv") for run in runs])
    return (
        rows[(rows.split == "train") & (rows.task != "total")]
        .groupby("task")["weight"]
        .mean()
        .to_dict()
    )


def test_the_twin_stands_still_at_its_strategys_average_weights(study: Study) -> None:
    """Breaks if the frozen twin differs from its strategy by more than weights that stand still."""
    finals = study.jobs_with(strategy="uncertainty", final=True)
    twins = study.jobs_with(role="twin", final=True)
    assert {row["of"] for row in twins.values()} == {"uncertainty"}, (
        "per_task_adam has no weights of its own"
    )
    expected = average_weights([study.folder / name for name in finals])
    assert max(expected.values()) / min(expected.values()) > 2
    for (name, row), original in zip(twins.items(), finals.values(), strict=True):
        assert dict(study.config(name).weighting.weights) == pytest.approx(expected, rel=1e-3)
        assert row["seed"] == original["seed"]
        assert study.config(name).likelihood == study.config(next(iter(finals))).likelihood


def test_the_verdicts_are_drawn_from_the_final_runs_on_test(study: Study) -> None:
    """Breaks if a verdict is made of tuning runs or of validation numbers."""

    def test_loss(strategy: str, seed: int) -> float:
        """Return the mean relative loss of a final run on test."""
        (name,) = study.jobs_with(strategy=strategy, seed=seed, final=True)
        return mean(
            row["final"]["test"]["relative_loss"]
            for row in read_summary(study.folder / name)["tasks"].values()
        )

    verdicts = pd.read_csv(study.folder / "verdicts.csv").set_index("strategy")
    for strategy in ("uncertainty", "per_task_adam"):
        ratios = [test_loss(strategy, seed) / test_loss("equal", seed) for seed in (1, 2)]
        assert verdicts.loc[strategy, "versus_equal.mean"] == pytest.approx(
            geometric_mean(ratios) - 1, abs=1e-9
        )


def test_the_plan_comes_before_any_run(study: Study) -> None:
    """Breaks if a user learns what a study takes only while it runs."""
    lines = study.result.out.splitlines()
    assert lines[0].startswith(
        "study: 2 strategies, equal weights, the single-task baseline and 3 fixed weightings; for each at least 5 trials, then 2 fresh seeds"
    )
    assert lines[1].startswith("study: 49 to 65 runs, and up to 9 more if a best learning rate ")
    assert re.match(r"study: [\d.]+ (s|min) or more with a small model", lines[2])
    assert lines[3].startswith(
        "study: with 2 seeds a difference beyond the margin of 10.0 standard "
    )
    assert lines[4] == "study: tuning (learning rates), 21 runs; 28 to 53 more after them"
    phases = [line for line in lines if line.startswith("study: ")]
    (finals,) = [line for line in phases if line.startswith("study: final runs with fresh seeds")]
    assert re.search(r"; at most about [\d.]+ (s|min) left$", finals)
    assert phases[-1].startswith("study: frozen twins with the same seeds, 2 runs")


def test_a_study_has_a_line_per_run(study: Study) -> None:
    """Breaks if a study of 191 runs prints 1776 lines."""
    lines = study.result.out.split("(test, ")[0].splitlines()[:-1]
    of_runs = [line for line in lines if line.startswith("[")]
    assert len(of_runs) == len(study.jobs)
    assert of_runs[-1].startswith(f"[{len(study.jobs)} of {len(study.jobs)}] ")
    assert all(re.search(r"  relative_loss [\d.]+, [\d.]+ s$", line) for line in of_runs)
    unknown_lines = [
        line for line in lines if not line.startswith(("[", "study: ", "note, first in "))
    ]
    assert all(" one by one " in line for line in unknown_lines), unknown_lines


def test_the_plan_says_within_what_the_runs_will_lie(study: Study) -> None:
    """Breaks if 'up to' so many runs is said of a study that then takes more."""
    ((least, usual, more, judged),) = re.findall(
        r"(\d+) to (\d+) runs, and up to (\d+) more .*, of 12 steps each, judged at their (.*)\.",
        study.result.out,
    )
    most = int(usual) + int(more)
    assert judged == "last epoch"  # the toy draws its own data
    assert int(least) == 7 * (5 + 2)
    assert int(least) <= len(study.jobs) <= most
    assert most == (7 + 2) * (5 + 1 + 2) + 2, (
        "an extension, two twins, a second learning rate for the single tasks"
    )


# How it goes on


@pytest.fixture
def copied(study: Study, tmp_path: Path) -> Study:
    """A copy of the study, which a test may change."""
    shutil.copytree(study.folder, tmp_path / "sweep")
    return Study(tmp_path / "sweep", study.result)


def trained_files(study: Study, but: Iterable[str] = ()) -> dict[str, tuple[bytes, bytes, int]]:
    """Return for each run, but for some, the files that training leaves and when it left them."""
    return {
        name: (
            (study.folder / name / "metrics.csv").read_bytes(),
            (study.folder / name / "summary.json").read_bytes(),
            # Tuning runs keep no checkpoint.
            (study.folder / name / "metrics.csv").stat().st_mtime_ns,
        )
        for name in study.jobs
        if name not in but
    }


@pytest.mark.long
def test_going_on_with_a_finished_study_trains_nothing_again(mtl: Command, copied: Study) -> None:
    """Breaks if resume=true trains runs again, forgets what they are, or changes the verdict."""
    before, recorded = trained_files(copied), copied.recorded
    verdicts = (copied.folder / "verdicts.csv").read_bytes()
    (copied.folder / "verdicts.csv").unlink()
    resumed = mtl("mtl-run", *FULL_STUDY, "hydra.sweep.dir=sweep", "resume=true")
    assert resumed.code == 0, resumed.err
    assert trained_files(copied) == before
    assert copied.recorded == recorded
    assert (copied.folder / "verdicts.csv").read_bytes() == verdicts
    assert {path.name for path in run_folders(copied.folder)} == set(recorded["jobs"])


@pytest.mark.long
def test_a_study_that_lost_its_last_round_makes_it_again(mtl: Command, copied: Study) -> None:
    """Breaks if a study whose machine died before the twins ends without them, or with others."""
    jobs, verdicts = copied.jobs, pd.read_csv(copied.folder / "verdicts.csv")
    lost = copied.jobs_with(phase=5)
    kept = trained_files(copied, but=lost)
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
    resumed = mtl("mtl-run", *FULL_STUDY, "hydra.sweep.dir=sweep", "resume=true")
    assert resumed.code == 0, resumed.err
    assert copied.jobs == jobs
    assert trained_files(copied, but=lost) == kept
    again = pd.read_csv(copied.folder / "verdicts.csv")
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), verdicts.drop(columns="seconds"))


def configs_in_effect(study: Study) -> Counter[str]:
    """Return the recorded configs of a study's runs, without what has no effect on a result."""
    return Counter(config_in_effect(study.config(name)) for name in study.jobs)


@pytest.mark.long
def test_a_study_that_grows_makes_what_is_missing_and_ends_as_one_made_at_once(
    mtl: Command, tmp_path: Path, copied: Study
) -> None:
    """Breaks if more seeds or strategies cost runs that are there, or change the verdict."""
    before, old = trained_files(copied), configs_in_effect(copied)
    larger = [o + ",dwa" if o.startswith("weighting=") else o for o in FULL_STUDY]
    larger = [*larger, "study.seeds=4"]
    grown = mtl("mtl-run", *larger, "hydra.sweep.dir=sweep", "resume=true")
    assert grown.code == 0, grown.err
    at_once = mtl("mtl-run", *larger, "hydra.sweep.dir=once")
    assert at_once.code == 0, at_once.err
    once = Study(tmp_path / "once", at_once)

    new = configs_in_effect(once)
    assert configs_in_effect(copied) == new
    there, count = sum((old & new).values()), sum(new.values())
    assert f"study: {count} runs, of which {there} were there already." in grown.out
    done = re.findall(r"reused (\d+) runs?, (\d+) to do", grown.out)
    assert [sum(map(int, column)) for column in zip(*done, strict=True)] == [there, count - there]
    assert len(run_folders(copied.folder)) == len(before) + count - there
    assert copied.recorded["unused"] == sorted(set(before) - set(copied.jobs))
    after = trained_files(copied)
    assert {name: after[name] for name in before if name in after} == {
        name: files for name, files in before.items() if name in after
    }

    assert list(copied.jobs.values()) == list(once.jobs.values())
    for table in ("verdicts", "comparison", "differences"):
        numbers = [pd.read_csv(s.folder / f"{table}.csv") for s in (copied, once)]
        kept = [c for c in numbers[1] if "seconds" not in c]
        pd.testing.assert_frame_equal(*(n[kept] for n in numbers), rtol=1e-5)


def test_one_weighting_is_compared_with_the_baselines(mtl: Command) -> None:
    """Breaks if a user's own method alone needs a second one to be judged."""
    result = mtl("mtl-run", *TINY, "weighting=uncertainty", "weighting.lr=0.1", *NO_RUNS)
    assert_one_sentence(result)
    assert result.out.startswith("study: 1 strategy, equal weights, ")


@pytest.mark.long
def test_a_budget_in_minutes_is_turned_into_runs_once(mtl: Command, tmp_path: Path) -> None:
    """Breaks if minutes are no limit, or mean another number of runs after an interruption."""
    options = (*TINY, "weighting=uncertainty", "hydra.sweep.dir=sweep")
    refused = mtl("mtl-run", *options, "study.budget='0.01 minutes'")
    assert_one_sentence(refused)
    assert "study: the first run took " in refused.out
    assert "The study may need 51 runs, more than study.budget=0.01 minutes (" in refused.last_line
    seconds = json.loads((tmp_path / "sweep" / "study.json").read_text())["seconds_per_run"]
    assert len(run_folders(tmp_path / "sweep")) == 1
    again = mtl("mtl-run", *options, "study.budget='0.01 minutes'", "resume=true")
    assert again.last_line == refused.last_line
    assert "the first run took" not in again.out
    assert json.loads((tmp_path / "sweep" / "study.json").read_text())["seconds_per_run"] == seconds


def test_a_study_is_not_continued_with_another_plan(mtl: Command, copied: Study) -> None:
    """Breaks if runs of other lengths are mixed without a word."""
    before = trained_files(copied)
    longer = [o.replace("epochs=6", "epochs=7") for o in FULL_STUDY]
    result = mtl("mtl-run", *longer, "hydra.sweep.dir=sweep", "resume=true")
    assert_one_sentence(result)
    assert "(trainer.epochs=6 there and trainer.epochs=7 here)" in result.last_line
    assert trained_files(copied) == before


# The same runs by hand

PARTS = {
    "tuning": ({"strategy": "uncertainty", "phase": 1}, "optimizer.lr"),
    "final": ({"strategy": "uncertainty", "phase": 4}, "seed"),
    "twin": ({"role": "twin", "phase": 5}, "seed"),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.long
def test_the_same_runs_by_hand_give_the_same_numbers(
    mtl: Command, tmp_path: Path, study: Study, part: str
) -> None:
    """Breaks if a study trains anything that its recorded options do not say."""
    cells, varying = PARTS[part]
    names = list(study.jobs_with(**cells))
    values = [
        next(
            o.split("=")[1]
            for o in reversed(study.overrides(n))
            if o.lstrip("+").startswith(f"{varying}=")
        )
        for n in names
    ]
    fixed = [o for o in study.overrides(names[0]) if not o.lstrip("+").startswith(f"{varying}=")]
    swept = (*fixed, f"{varying}={','.join(values)}")
    result = mtl("mtl-run", "-m", "hydra/launcher=stacked", *swept, "hydra.sweep.dir=hand")
    assert result.code == 0, result.err
    by_hand = sorted(run_folders(tmp_path / "hand"), key=lambda path: job_number(path.name))
    assert len(by_hand) == len(names) >= 2
    for name, run in zip(names, by_hand, strict=True):
        assert_same_numbers(study.folder / name / "metrics.csv", run / "metrics.csv", 1e-6)


@pytest.mark.long
def test_the_basic_launcher_makes_the_same_study(
    mtl: Command, tmp_path: Path, study: Study
) -> None:
    """Breaks if a study needs the stacked launcher, so that joblib or Slurm cannot run it."""
    result = mtl("mtl-run", *FULL_STUDY, "hydra/launcher=basic", "hydra.sweep.dir=basic")
    assert result.code == 0, result.err
    basic = Study(tmp_path / "basic", result)
    assert basic.jobs == study.jobs
    for name in study.jobs_with(final=True):
        assert_same_numbers(
            basic.folder / name / "metrics.csv", study.folder / name / "metrics.csv", 1e-4
        )


# What it refuses

# A study that gets as far as its budget is refused there, so that no test waits for its runs.
NO_RUNS = ("study.budget=1", "hydra.sweep.dir=sweep")
SWEPT = (
    "itself; give one number, the middle of the learning rates or the seed of the tuning, "
    "and study.seeds."
)
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "seed": (("seed=0,1",), f"A study chooses seed {SWEPT}"),
    "seed range": (("seed=range(0,3)",), f"A study chooses seed {SWEPT}"),
    "learning rate": (("optimizer.lr=0.1,0.01",), f"A study chooses optimizer.lr {SWEPT}"),
    "data": (("data=toy_mixed,digits",), "A study is about one dataset; start one study for each."),
    "data option": (("data.n=60,80",), "A study is about one dataset; start one study for each."),
    "strategy": (
        ("weighting=uncertanty,fixed",),
        "weighting=uncertanty does not exist; did you mean 'uncertainty'?",
    ),
    "unknown option": (
        ("+study.seedz=3",),
        "study.seedz is not an option of a study; did you mean 'seeds'?",
    ),
    "unknown option without +": (
        ("study.seedz=3",),
        "There is no config key 'study.seedz'; did you mean study.seeds?",
    ),
    "one seed": (
        ("study.seeds=1",),
        "study.seeds must be auto or a whole number of at least 2; found 1.",
    ),
    "half a seed": (
        ("study.seeds=2.5",),
        "study.seeds must be auto or a whole number of at least 2; found 2.5.",
    ),
    "true seeds": (
        ("study.seeds=true",),
        "study.seeds must be auto or a whole number of at least 2; found True.",
    ),
    "two points": (
        ("study.fixed_points=2",),
        "study.fixed_points must be a whole number of at least 3; found 2.",
    ),
    "no rates": (
        ("study.per_decade=0",),
        "study.per_decade must be a whole number of at least 1; found 0.",
    ),
    "extensions": (
        ("study.extensions=-1",),
        "study.extensions must be a whole number of at least 0; found -1.",
    ),
    "margin": (("study.margin=0",), "study.margin must be a positive number; found 0."),
    "margin in words": (
        ("study.margin=small",),
        "study.margin must be a positive number; found 'small'.",
    ),
    "decades": (("study.decades=-2",), "study.decades must be a positive number; found -2."),
    "endless decades": (
        ("study.decades=inf",),
        "study.decades must be a positive number; found inf.",
    ),
    "budget in words": (
        ("study.budget=little",),
        "study.budget='little' is unknown; give a number of runs (400), of steps ('200000 steps') or a time ('20 minutes').",
    ),
    "budget of nothing": (
        ("study.budget=0",),
        "study.budget=0 is unknown; give a number of runs (400), of steps ('200000 steps') or a time ('20 minutes').",
    ),
    "budget of true": (
        ("study.budget=true",),
        "study.budget=True is unknown; give a number of runs (400), of steps ('200000 steps') or a time ('20 minutes').",
    ),
    "first seed": (("seed=x",), "seed must be a whole number of at least 0; found 'x'."),
    "data that is not there": (
        ("data.n=0",),
        "data.n must be a whole number of at least 1; found 0.",
    ),
}


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


def test_a_misspelt_strategy_is_refused_before_the_plan(mtl: Command, tmp_path: Path) -> None:
    """Breaks if the plan is announced, or a run made, before somebody hears of a wrong name."""
    result = mtl("mtl-run", *TINY, "weighting=fixed,uncertaint", "hydra.sweep.dir=sweep")
    assert_one_sentence(result)
    assert result.last_line.startswith(
        "weighting=uncertaint does not exist; did you mean 'uncertainty'?"
    )
    assert "study:" not in result.out + result.err
    assert not list(tmp_path.rglob("summary.json"))


@pytest.mark.parametrize(
    "options",
    [("data.n=60",), ("weighting=fixed",), ("weighting=single_task",)],
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
    """Breaks if `mtl-run +study=fair` without -m trains a single run without a word."""
    result = mtl("mtl-run", *TINY[1:], "hydra.run.dir=run")
    assert_one_sentence(result)
    assert "mtl-run -m +study=fair" in result.last_line
    assert not list(tmp_path.rglob("summary.json"))


@pytest.mark.parametrize("rate", ["fast", "-1", "0"])
def test_a_learning_rate_that_is_none_is_refused_before_any_run(
    mtl: Command, tmp_path: Path, rate: str
) -> None:
    """Breaks if a typing error in optimizer.lr makes a study of runs that all fail."""
    result = mtl("mtl-run", *TINY, "weighting=fixed,uncertainty", f"optimizer.lr={rate}", *NO_RUNS)
    assert_one_sentence(result)
    assert "optimizer.lr" in result.last_line
    assert not list(tmp_path.rglob("summary.json"))


@pytest.mark.parametrize(
    "knobs",
    [
        "uncertainty=3",
        "uncertainty={weighting.lr: 3}",
        "uncertainty={weighting.lr: [0.005]}",
        "uncertanty={weighting.lr: [1, 2]}",
    ],
)
def test_a_knob_that_is_none_is_refused(mtl: Command, tmp_path: Path, knobs: str) -> None:
    """Breaks if a typing error, or a single value, gives a strategy fewer trials than others."""
    result = mtl(
        "mtl-run", *TINY, "weighting=fixed,uncertainty", f"++study.knobs.{knobs}", *NO_RUNS
    )
    assert_one_sentence(result)
    assert "study.knobs" in result.last_line
    assert not list(tmp_path.rglob("summary.json"))


def test_a_strategy_named_twice_is_tried_once(mtl: Command) -> None:
    """Breaks if a strategy that is named twice has twice the trials of the others."""
    result = mtl("mtl-run", *TINY, "weighting=fixed,uncertainty,uncertainty", *NO_RUNS)
    assert_one_sentence(result)
    assert result.out.startswith("study: 1 strategy, ") or "uncertainty" in result.last_line


def test_weights_that_a_user_adds_are_fixed_weights(mtl: Command) -> None:
    """Breaks if weights that a user adds to the sweep are judged as a strategy, with a twin."""
    result = mtl("mtl-run", *TINY, "weighting=fixed", "weighting.weights.value=2,3", *NO_RUNS)
    assert_one_sentence(result)
    assert "5 fixed weightings" in result.out


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
    return Study(top / "sweep", server.run("mtl-run", *options, cwd=top, env={}, meanwhile=None))


@pytest.mark.long
def test_a_study_in_which_every_run_fails_ends_in_one_sentence(hopeless: Study) -> None:
    """Breaks if diverging runs end in Python's own words instead of what went wrong."""
    assert_one_sentence(hopeless.result)
    assert "IndexError" not in hopeless.result.err
    assert "failed" in hopeless.result.last_line
    assert "Every trial of equal failed." in hopeless.recorded["notes"]


@pytest.mark.long
def test_the_runs_of_a_study_draw_no_pictures(hopeless: Study) -> None:
    """Breaks if record.plots=none of conf/study/fair.yaml is lost, and 100 runs draw pictures."""
    assert {hopeless.config(path.name).record.plots for path in run_folders(hopeless.folder)} == {
        "none"
    }


@pytest.mark.long
def test_a_strategy_that_always_fails_does_not_stop_the_study(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a diverging strategy costs the others their verdict, or its failure is hidden."""
    result = mtl(
        "mtl-run",
        *TINY,
        "weighting=uncertainty",
        "weighting.init=-86,0",
        "study.extensions=0",
        "hydra.sweep.dir=sweep",
    )
    assert "Traceback" not in result.err
    recorded = Study(tmp_path / "sweep", result)
    assert recorded.recorded["notes"].count("Every trial of init=-86 failed.") == 1
    assert {row["strategy"] for row in recorded.jobs_with(final=True).values()} >= {
        "equal",
        "init=0",
    }


# The budget


BUDGET = ("weighting=fixed,uncertainty", "hydra.sweep.dir=sweep")
LEAST = 6 * (5 + 2)  # six candidates


@pytest.mark.parametrize("budget", [f"{LEAST - 1}", f"{LEAST - 1} runs", f"{4 * LEAST - 1} steps"])
def test_a_budget_that_is_too_small_is_refused_with_the_plan(
    mtl: Command, tmp_path: Path, budget: str
) -> None:
    """Breaks if a study begins that cannot end, or runs or their four steps are miscounted."""
    result = mtl("mtl-run", *TINY, *BUDGET, f"study.budget={budget}")
    assert_one_sentence(result)
    assert result.out.splitlines()[0].startswith("study: 1 strategy")
    needed = re.match(
        r"The study may need (\d+) runs, more than study.budget=(.*) allows; ", result.last_line
    )
    assert needed is not None
    assert f"study: {LEAST} to {needed[1]} runs, and up to " in result.out
    assert needed[2] == budget + " (41 runs)" * ("steps" in budget)
    assert not list(tmp_path.rglob("summary.json"))


def test_a_refused_study_is_not_in_the_way_of_the_next_one(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a refused study leaves a directory that refuses the corrected command, too."""
    assert mtl("mtl-run", *TINY, *BUDGET, "study.budget=1").code == 1
    corrected = mtl("mtl-run", *TINY, *BUDGET, "study.budget=2")
    assert "holds another sweep" not in corrected.last_line
    assert corrected.last_line.startswith("The study may need ")
    assert not (tmp_path / "sweep" / "multirun.yaml").exists()


# With 58 one more round of 6 runs fits in, and a twin, but not a second round.
@pytest.mark.parametrize(
    "budget",
    [
        f"{LEAST}",
        pytest.param(f"{4 * (LEAST + 1)} steps", marks=pytest.mark.long),
        pytest.param("58", marks=pytest.mark.long),
    ],
)
def test_no_study_takes_more_runs_than_its_budget(
    mtl: Command, tmp_path: Path, budget: str
) -> None:
    """Breaks if extensions, twins, or learning rates of single tasks go beyond study.budget."""
    result = mtl("mtl-run", *TINY, *BUDGET, f"study.budget={budget}")
    if result.code:
        assert_one_sentence(result)
        assert "study.budget" in result.last_line
        return
    allowed = int(budget.split()[0]) // (4 if "steps" in budget else 1)
    assert len(run_folders(tmp_path / "sweep")) <= allowed


# Killed


def have_begun(sweep: Path, first: int, count: int) -> bool:
    """Return whether so many runs from a number on have written a summary."""
    return (
        sum(job_number(path.parent.name) >= first for path in sweep.glob("*_seed*/summary.json"))
        >= count
    )


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["stacked", "basic"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_study_that_is_killed_in_every_phase_ends_as_if_nothing_had_happened(
    mtl: Command, tmp_path: Path, launcher: str, count: int
) -> None:
    """Breaks if a kill loses a round, makes a run twice, or lets the study choose otherwise."""
    options = (*TINY, "weighting=fixed,uncertainty", f"hydra/launcher={launcher}")
    result = mtl("mtl-run", *options, "hydra.sweep.dir=undisturbed")
    assert result.code == 0, result.err
    undisturbed = Study(tmp_path / "undisturbed", result)
    sweep = tmp_path / "killed"
    command = ("mtl-run", *options, "hydra.sweep.dir=killed")
    phases = (1, 2, 3, 4, 7, 8, 5)  # twins are tuned before their final runs
    for place, phase in enumerate(phases):
        first = min(job_number(name) for name in undisturbed.jobs_with(phase=phase))
        instant = partial(have_begun, sweep, first, count)
        again = () if phase == 1 else ("resume=true",)
        killed = mtl(*command, *again, meanwhile=send(signal.SIGKILL, instant))
        assert killed.code == -signal.SIGKILL
        recorded = json.loads((sweep / "study.json").read_text())["jobs"] if phase > 1 else {}
        assert {row["phase"] for row in recorded.values()} == set(phases[:place]), (
            "the rounds that were over"
        )
    resumed = mtl(*command, "resume=true")
    assert resumed.code == 0, resumed.err
    ended = Study(sweep, resumed)
    assert ended.jobs == undisturbed.jobs
    assert ended.recorded == undisturbed.recorded
    for name in undisturbed.jobs:
        assert_same_numbers(
            sweep / name / "metrics.csv", undisturbed.folder / name / "metrics.csv", 1e-6
        )
    for name in ("runs.csv", "verdicts.csv"):
        table, expected = (
            pd.read_csv(s.folder / name).drop(columns="seconds") for s in (ended, undisturbed)
        )
        pd.testing.assert_frame_equal(table, expected, rtol=1e-6, atol=1e-9, check_exact=False)


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
        "mtl-run",
        *options,
        meanwhile=send(signal.SIGINT, partial(have_begun, tmp_path / "sweep", 0, 3)),
    )
    assert stopped.code == 130, stopped.out + stopped.err
    assert "Traceback" not in stopped.err
    assert stopped.last_line.endswith("/sweep resume=true.")
    assert max(job_number(path.name) for path in run_folders(tmp_path / "sweep")) < 18, (
        "the first phase's runs"
    )


@pytest.mark.long
def test_a_study_that_was_stopped_by_ctrl_c_goes_on(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a study stopped in its final runs cannot go on, or chooses otherwise."""
    options = (*TINY, "weighting=fixed,uncertainty", "trainer.epochs=30")
    result = mtl("mtl-run", *options, "hydra.sweep.dir=undisturbed")
    undisturbed = Study(tmp_path / "undisturbed", result)
    first = min(job_number(name) for name in undisturbed.jobs_with(phase=4))
    command = ("mtl-run", *options, "hydra.sweep.dir=sweep")
    stopped = mtl(
        *command, meanwhile=send(signal.SIGINT, partial(have_begun, tmp_path / "sweep", first, 2))
    )
    assert stopped.code == 130, stopped.out + stopped.err
    resumed = mtl(*command, "resume=true")
    assert resumed.code == 0, resumed.err
    assert Study(tmp_path / "sweep", resumed).recorded == undisturbed.recorded


# More than two tasks


@pytest.mark.long
def test_three_tasks_have_weights_of_norms_and_a_larger_study_goes_on_with_its_points(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if points of fixed weights change when a study grows or is resumed, and run anew."""
    options = (
        *("-m", "+study=fair", "data=related", "data.scales=[1,3,10]", "data.n=60"),
        *("data.n_val=40", "data.n_test=40", "model.hidden=[8]", *TRAINER, *STUDY),
        *("study.extensions=0", "weighting=fixed,dwa", "record.plots=none"),
        "hydra.sweep.dir=sweep",
    )
    studies = [
        Study(tmp_path / "sweep", mtl("mtl-run", *options, *more))
        for more in ((), ("study.fixed_points=5", "resume=true"))
    ]
    smaller, larger = (study.result.out for study in studies)
    assert (studies[0].result.code, studies[1].result.code) == (0, 0), studies[1].result.err
    assert "and 5 fixed weightings" in smaller, "three points, 1/trivial and 1/norm"
    assert "and 7 fixed weightings" in larger
    assert "unused" not in studies[1].recorded
    names = {row["strategy"] for row in studies[1].jobs_with(role="fixed").values()}
    assert sum(name.startswith("fixed 1/norm y1=") for name in names) == 1
    assert len(names) == 7
    weights = [
        OmegaConf.to_container(studies[1].config(name).weighting.weights)
        for name, row in studies[1].jobs_with(role="fixed", final=True).items()
        if row["strategy"].startswith("fixed 1/norm")
    ]
    assert len(weights) == 2
    for of_run in weights:
        # A target of ten times the scale has a gradient of ten times the length.
        assert of_run["y1"] > of_run["y2"] > of_run["y3"] > 0
