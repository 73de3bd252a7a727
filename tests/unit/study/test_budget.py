"""The budget of a study: runs, steps, or a time that is turned into runs once."""

from __future__ import annotations

import math

import pytest

from mtl_runner.errors import ConfigError
from mtl_runner.study import Plan
from mtl_runner.study.budget import Budget, run_limit
from mtl_runner.study.extent import Extent

EXTENT = Extent(Plan(lr=1e-3, seeds=2, per_decade=1, extensions=1), 7, 2, 2)  # 49 to 65 runs


@pytest.mark.parametrize(
    ("budget", "limit"),
    [(None, math.inf), (400, 400), ("400 runs", 400), ("400 steps", 33), (" 7 ", 7), ("1 run", 1)],
)
def test_a_budget_is_a_number_of_runs(budget: object, limit: float) -> None:
    """Breaks if steps are taken for runs, or a part of a run is started."""
    assert run_limit(budget, 12) == limit


@pytest.mark.parametrize(
    "budget", ["little", 0, True, "-3", "1.5 runs", "3 epochs", "0 minutes", "minutes"]
)
def test_a_budget_that_is_none_is_named(budget: object) -> None:
    """Breaks if a typing error in the budget means no budget."""
    with pytest.raises(ConfigError, match=r"study\.budget=.* is unknown; give a number of runs"):
        run_limit(budget, 12)


@pytest.mark.parametrize(("budget", "limit"), [("20 minutes", 480), ("0.5 hours", 720)])
def test_a_time_is_turned_into_runs(budget: str, limit: int) -> None:
    """Breaks if a study takes other runs than fit into its time, one after another."""
    assert math.isnan(run_limit(budget, 12))
    assert run_limit(budget, 12, seconds=2.5) == limit


def test_a_time_is_turned_into_runs_by_the_first_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks if nobody says what minutes were taken for, or a study that goes on measures anew."""
    budget = Budget("2 minutes", steps=12)
    assert budget.is_open
    budget.check(EXTENT)  # nothing is known yet
    seconds = budget.measure(1.2)
    assert (budget.is_open, budget.limit) == (False, 80)
    assert capsys.readouterr().out == (
        "study: the first run took 1.5 s, so 2 minutes are 80 runs, one after another.\n"
    )
    budget.check(EXTENT)
    assert Budget("1 minute", 12, seconds).limit == 40


def test_a_first_run_that_fails_measures_nothing() -> None:
    """Breaks if a study of failing runs takes a time for any number of them."""
    with pytest.raises(ConfigError, match="cannot be turned into runs, since the first run failed"):
        Budget("2 minutes", steps=12).measure(math.nan)


@pytest.mark.parametrize(
    ("asked", "allowed", "advice"),
    [
        (64, "64 allows", "study.seeds, study.tuning_seeds or study.fixed_points."),
        ("600 steps", "600 steps (50 runs) allows", "study.fixed_points, or trainer.epochs."),
    ],
)
def test_a_study_beyond_its_budget_says_the_number_of_its_plan(
    asked: object, allowed: str, advice: str
) -> None:
    """Breaks if plan and refusal name different numbers, or it advises what would not help."""
    Budget(EXTENT.most_without_extension, 12).check(EXTENT)
    with pytest.raises(ConfigError) as error:
        Budget(asked, 12).check(EXTENT)
    assert str(error.value).startswith(
        f"The study may need 65 runs, more than study.budget={allowed}; raise it, or lower "
    )
    assert str(error.value).endswith(advice)
