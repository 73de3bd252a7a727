"""The numbers of a plan, and the options of what is trained."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.config.open_keys import override_or_add
from mtl_runner.study import Plan
from mtl_runner.study.plan import fixed_overrides
from tests.support.builders import QUICK


def test_the_grid_has_three_points_per_decade_over_two_decades() -> None:
    """Breaks if learning rates are so sparse that they alone make a strategy look better.

    Gama & Grassi (2025) measured it.
    """
    assert Plan(lr=1e-3).grid == pytest.approx(
        [1e-4, 2.154e-4, 4.642e-4, 1e-3, 2.154e-3, 4.642e-3, 1e-2], rel=1e-3
    )


@pytest.mark.parametrize("name", ["my column", "price (EUR)", "a=b", "{x}"])
def test_tasks_may_have_any_name(name: str) -> None:
    """Breaks if a study of a table with ordinary column names ends in an error of Hydra's."""
    options = [override_or_add(option) for option in fixed_overrides({name: 0.5, "b": 1.5})]
    parsed = OverridesParser.create().parse_overrides(options)
    assert parsed[1].value() == {name: 0.5, "b": 1.5}


@given(st.integers(0, 10**6), st.integers(1, 900), st.integers(1, 9))
@QUICK
def test_no_seed_of_the_tuning_is_one_of_the_final_runs(seed: int, seeds: int, tuned: int) -> None:
    """Breaks if a winner is judged by a seed that chose it."""
    plan = Plan(lr=1e-3, seed=seed, seeds=seeds, tuning_seeds=tuned)
    assert (len(plan.fresh_seeds), len(plan.seeds_of_trials)) == (seeds, tuned)
    assert not set(plan.fresh_seeds) & set(plan.seeds_of_trials)
