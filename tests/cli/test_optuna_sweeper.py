"""mtl-run -m hydra/sweeper=optuna: Hydra's own plugin searches any option.

It needs an Optuna below 3, +search=optuna one from 4 on: these tests have an environment of their own.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf

from tests.support.commands import Command, Result, Server
from tests.support.run_files import assert_one_sentence, read_summary, run_folders

pytestmark = [
    pytest.mark.extras,
    pytest.mark.skipif(
        importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper") is None,
        reason="pip install 'mtl-runner[optuna-sweeper]'",
    ),
]

PROBLEM = (
    "data=toy_mixed",
    "data.n=60",
    "data.n_val=40",
    "data.n_test=40",
    "model=mlp",
    "model.hidden=[8]",
    "trainer.epochs=3",
    "trainer.threads=1",
    "record.plots=none",
)
TRIALS = 6


@dataclass(frozen=True)
class Searched:
    """A search that has come to its end."""

    folder: Path
    result: Result

    @property
    def best(self) -> dict[str, Any]:
        """What the plugin says of the best trial."""
        results: Any = OmegaConf.load(self.folder / "optimization_results.yaml")
        return dict(results)


@pytest.fixture(scope="module")
def searched(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """A search of the learning rate and an option of a weighting; tests only read it."""
    top = tmp_path_factory.mktemp("search")
    options = (
        "hydra/sweeper=optuna",
        "hydra.sweeper.sampler.seed=1",
        f"hydra.sweeper.n_trials={TRIALS}",
        "hydra.sweeper.n_jobs=2",
        "weighting=dwa",
        "optimizer.lr=tag(log,interval(0.001,0.1))",
        "weighting.temperature=interval(0.5,5)",
        "hydra.sweep.dir=search",
    )
    result = server.run("mtl-run", "-m", *PROBLEM, *options, cwd=top, env={}, meanwhile=None)
    assert result.code == 0, result.err
    return Searched(top / "search", result)


def test_the_best_trial_has_the_least_monitor(searched: Searched) -> None:
    """Breaks if the plugin is told something else than the monitor as it is judged."""
    runs = run_folders(searched.folder)
    assert len(runs) == TRIALS
    summaries = [read_summary(run) for run in runs]
    best = min(summaries, key=lambda summary: summary["monitor"]["final"])
    assert searched.best["best_value"] == best["monitor"]["final"]
    asked = {key.lstrip("+"): value for key, value in searched.best["best_params"].items()}
    overrides = dict(text.lstrip("+").split("=", 1) for text in best["overrides"])
    assert {key: overrides[key] for key in asked} == {k: str(v) for k, v in asked.items()}


def test_every_trial_is_reported_and_compared(searched: Searched) -> None:
    """Breaks if trials are missing on the terminal or in the tables."""
    for place in range(1, TRIALS + 1):
        assert f"[{place} of {TRIALS}] " in searched.result.out
    comparison = pd.read_csv(searched.folder / "comparison.csv")
    assert len(comparison) == TRIALS
    assert comparison["monitor.mean"].min() == pytest.approx(searched.best["best_value"])


def test_trials_are_settings_of_one_strategy(searched: Searched) -> None:
    """Breaks if the best trial is not named, or trials are compared as if they were strategies."""
    asked = {key.rsplit(".", 1)[1]: value for key, value in searched.best["best_params"].items()}
    best = f"lr={asked['lr']}, temperature={asked['temperature']}"
    assert f"Of {TRIALS} settings of dwa, {best} is the best" in searched.result.out


def test_the_search_that_needs_a_newer_optuna_says_so(mtl: Command, tmp_path: Path) -> None:
    """Breaks if +search=optuna ends in an AttributeError of Optuna 2."""
    result = mtl("mtl-run", "-m", "+search=optuna", *PROBLEM, "hydra.sweep.dir=other")
    assert_one_sentence(result)
    assert result.last_line.startswith("+search=optuna needs an Optuna of at least 4, but 2.")
    assert result.last_line.endswith(
        "which hydra-optuna-sweeper wants; the two need an environment each: pip install 'mtl-runner[optuna]' in another one."
    )
    assert not (tmp_path / "other").exists()


def test_a_trial_is_repeated_by_its_directory(
    searched: Searched, mtl: Command, tmp_path: Path
) -> None:
    """Breaks if what a trial trained cannot be trained again from its own records."""
    first = run_folders(searched.folder)[0]
    again = mtl("mtl-run", f"repeat={first}", "hydra.run.dir=again")
    assert again.code == 0, again.err
    recorded = json.loads((first / "summary.json").read_text())["monitor"]
    assert read_summary(tmp_path / "again")["monitor"] == recorded
