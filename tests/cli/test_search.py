"""mtl-run -m +search=optuna, the search for fixed weights as a user starts it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf

from tests.support.commands import Command, Result, Server, send
from tests.support.run_files import read_summary, run_folders

pytestmark = [pytest.mark.extras, pytest.mark.long]

SEARCH = (
    "-m",
    "+search=optuna",
    "data=toy_mixed",
    "data.n=60",
    "data.n_val=40",
    "data.n_test=40",
    "model=mlp",
    "model.hidden=[8]",
    "trainer.epochs=3",
    "trainer.threads=1",
    "search.batch=3",
    "hydra.sweep.dir=search",
)
ONE_BY_ONE = (*SEARCH, "search.trials=8", "hydra/launcher=basic")


@dataclass(frozen=True)
class Searched:
    """A search that has come to its end."""

    folder: Path
    result: Result

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        """The rows of study.json, by the name of the run directory."""
        return dict(json.loads((self.folder / "study.json").read_text())["jobs"])

    @property
    def best(self) -> str:
        """The name of the best trial's directory."""
        (name,) = (name for name, row in self.jobs.items() if row["final"])
        return name

    @property
    def asked(self) -> list[dict[str, float]]:
        """The settings of all trials."""
        return list(json.loads((self.folder / "search.json").read_text())["trials"])


@pytest.fixture(scope="module")
def searched(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """A tiny search, one trial after another; tests only read it."""
    pytest.importorskip("optuna", reason="it proposes the trials")
    top = tmp_path_factory.mktemp("search")
    result = server.run("mtl-run", *ONE_BY_ONE, cwd=top, env={}, meanwhile=None)
    assert result.code == 0, result.err
    return Searched(top / "search", result)


def test_the_best_trial_has_the_least_monitor_on_validation(searched: Searched) -> None:
    """Breaks if a search names another trial than the best, or judges by something else."""
    monitors = {
        name: read_summary(searched.folder / name)["monitor"]["final"] for name in searched.jobs
    }
    assert len(monitors) == len(run_folders(searched.folder)) == 8
    assert searched.best == min(monitors, key=monitors.__getitem__)
    assert f"search: the best trial is {searched.best} (" in searched.result.out


def test_trials_are_no_strategies(searched: Searched) -> None:
    """Breaks if a comparison ranks eight fixed weightings, of which seven only chose settings."""
    comparison = pd.read_csv(searched.folder / "comparison.csv")
    assert set(comparison["strategy"]) == {"fixed (search)"}
    assert "No verdict: a search compares nothing; " in searched.result.out
    assert "add weighting=fixed" not in searched.result.out


def test_the_command_of_the_best_trial_trains_it_again(
    searched: Searched, mtl: Command, tmp_path: Path
) -> None:
    """Breaks if the command cannot be pasted, or trains other weights or another learning rate."""
    (line,) = (line for line in searched.result.out.splitlines() if "with others: " in line)
    name, *options = shlex.split(line.partition("with others: ")[2])
    assert options[-1] == "seed=range(1,6)"
    again = mtl(name, *options[:-1], "seed=0", "hydra.sweep.dir=again")
    assert again.code == 0, again.err
    (run,) = run_folders(tmp_path / "again")
    assert (run / "metrics.csv").read_bytes() == (
        searched.folder / searched.best / "metrics.csv"
    ).read_bytes()


def test_a_killed_search_goes_on_as_if_it_had_not_been(
    searched: Searched, mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a resumed search trains a finished trial again, or asks Optuna for others."""
    fifth = partial(have_finished, tmp_path / "search", 5)
    killed = mtl("mtl-run", *ONE_BY_ONE, meanwhile=send(signal.SIGKILL, fifth))
    assert killed.code == -signal.SIGKILL
    there = {
        run.name: (run / "metrics.csv").stat().st_mtime_ns
        for run in run_folders(tmp_path / "search")
        if (run / "summary.json").exists() and read_summary(run)["status"] == "finished"
    }
    assert 5 <= len(there) < 8
    resumed = mtl("mtl-run", *ONE_BY_ONE, "resume=true")
    assert resumed.code == 0, resumed.err
    assert f"search: 8 trials, of which {len(there)} were there already." in resumed.out
    for name, time in there.items():
        assert (tmp_path / "search" / name / "metrics.csv").stat().st_mtime_ns == time
    for name in ("search.json", "study.json"):
        assert (tmp_path / "search" / name).read_bytes() == (searched.folder / name).read_bytes()


def have_finished(sweep: Path, runs: int) -> bool:
    """Return whether so many runs of a sweep have finished: the next one has begun."""
    return sum(1 for _ in sweep.glob("*/summary.json")) > runs


def test_a_search_grows(searched: Searched, mtl: Command, tmp_path: Path) -> None:
    """Breaks if more trials cost those that are there, or forget them; here they are a stack."""
    shutil.copytree(searched.folder, tmp_path / "search")
    grown = mtl("mtl-run", *SEARCH, "search.trials=10", "resume=true")
    assert grown.code == 0, grown.err
    assert "search: 10 trials, of which 8 were there already." in grown.out
    assert "reused 0 runs, 1 to do" in grown.out
    larger = Searched(tmp_path / "search", grown)
    assert larger.asked[:8] == searched.asked
    assert len(larger.jobs) == len(run_folders(larger.folder)) == 10
    refused = mtl("mtl-run", *SEARCH, "search.trials=10", "search.lr=[0.1,1]", "resume=true")
    assert refused.code == 1
    assert "(no search.lr there and search.lr=[0.1,1] here)" in refused.last_line


def test_a_study_takes_the_weights_that_were_found(
    searched: Searched, mtl: Command, tmp_path: Path
) -> None:
    """Breaks if the weights of the best trial are not tuned and compared like other fixed ones."""
    problem = [option for option in SEARCH if not re.match(r"[+]?search|hydra", option)]
    study = mtl(
        *("mtl-run", *problem, "+study=fair", "weighting=uncertainty"),
        *("study.seeds=2", "study.fixed_points=3", "study.per_decade=1", "study.decades=1"),
        *("study.extensions=0", f"study.search={searched.folder}", "hydra.sweep.dir=study"),
    )
    assert study.code == 0, study.err
    jobs = json.loads((tmp_path / "study" / "study.json").read_text())["jobs"]
    tried = {
        name: row for name, row in jobs.items() if row["strategy"].startswith("fixed (search)")
    }
    others = [row for row in jobs.values() if row["strategy"] == "uncertainty" and not row["final"]]
    assert len([row for row in tried.values() if not row["final"]]) == len(others)
    found = OmegaConf.load(searched.folder / searched.best / ".hydra" / "config.yaml")
    for name in tried:
        config = OmegaConf.load(tmp_path / "study" / name / ".hydra" / "config.yaml")
        assert config.weighting.weights == found.weighting.weights


PRUNED = (
    *(option for option in SEARCH if not option.startswith(("trainer.epochs", "search.batch"))),
    "trainer.epochs=12",
    "search.batch=4",
    "search.trials=16",
)


@pytest.fixture(scope="module")
def pruned(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """A search in stacks that gives trials up; tests only read it."""
    pytest.importorskip("optuna", reason="it proposes the trials")
    top = tmp_path_factory.mktemp("pruned")
    result = server.run("mtl-run", *PRUNED, cwd=top, env={}, meanwhile=None)
    assert result.code == 0, result.err
    return Searched(top / "search", result)


def epochs_of(search: Searched) -> dict[str, int]:
    """Return the epochs that each trial was trained for."""
    return {name: read_summary(search.folder / name)["epochs"] for name in search.jobs}


def test_trials_that_are_given_up_save_epochs_and_not_the_best_trial(
    pruned: Searched, mtl: Command, tmp_path: Path
) -> None:
    """Breaks if pruning saves nothing, cuts the best trial off, or counts as a failure."""
    result = mtl("mtl-run", *PRUNED, "search.prune=false")
    assert result.code == 0, result.err
    unpruned = Searched(tmp_path / "search", result)
    assert set(epochs_of(unpruned).values()) == {12}
    epochs = epochs_of(pruned)
    assert sum(epochs.values()) < 0.95 * sum(epochs_of(unpruned).values())
    assert pruned.best == unpruned.best
    assert epochs[pruned.best] == 12
    curves = [search.folder / search.best / "metrics.csv" for search in (pruned, unpruned)]
    assert len({curve.read_bytes() for curve in curves}) == 1
    given_up = {name for name, count in epochs.items() if count < 12}
    lines = [line for line in pruned.result.out.splitlines() if ", given up after epoch " in line]
    assert len(lines) == len(given_up) > 1
    assert f"search: {len(given_up)} of 16 trials ended early, " in pruned.result.out
    for name in given_up:
        assert "Given up after epoch " in (pruned.folder / name / "run.log").read_text()


def test_a_killed_search_gives_the_same_trials_up(
    pruned: Searched, mtl: Command, tmp_path: Path
) -> None:
    """Breaks if limits depend on when a search was stopped."""
    later = partial(have_finished, tmp_path / "search", 13)
    killed = mtl("mtl-run", *PRUNED, meanwhile=send(signal.SIGKILL, later))
    assert killed.code == -signal.SIGKILL
    resumed = mtl("mtl-run", *PRUNED, "resume=true")
    assert resumed.code == 0, resumed.err
    for name in ("search.json", "study.json"):
        assert (tmp_path / "search" / name).read_bytes() == (pruned.folder / name).read_bytes()
    assert epochs_of(Searched(tmp_path / "search", resumed)) == epochs_of(pruned)
