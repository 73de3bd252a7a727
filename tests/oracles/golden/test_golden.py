"""No change of the code changes what a method computes, unless it is meant to."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from tests.oracles.golden.make import (
    COMMAND,
    PROBLEMS,
    differences,
    problems_of,
    read,
    twenty_steps,
)
from tests.oracles.methods.runs import METHODS, ignore_solver_warnings
from tests.support.lengths import long_but

STORED = read()
CASES = [(method, problem) for method in METHODS for problem in problems_of(method)]


@ignore_solver_warnings
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("method", "problem"), long_but(CASES[::2], CASES))
def test_twenty_steps_end_where_they_always_did(method: str, problem: str) -> None:
    """Breaks if a formula, a default, a random stream or the order of two operations has changed.

    The docstring of make.py says which changes a tolerance of 1e-9 shows.
    """
    golden = STORED.get(method, {}).get(problem)
    assert golden is not None, (
        f"{method} has no golden run on {problem} yet; make it with: {COMMAND} {method}"
    )
    changed = differences(method, problem, twenty_steps(method, problem), golden)
    assert not changed, (
        f"{changed}; if the formula of {method} is meant to change: {COMMAND} {method}"
    )


def test_no_golden_run_is_of_a_method_that_is_gone() -> None:
    """Breaks if golden.json keeps the runs of a method that does not exist any more."""
    assert set(STORED) == set(METHODS)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_no_method_does_the_same_as_another(problem: str) -> None:
    """Breaks if a method has no effect: its golden run is then that of equal weights."""
    runs = {
        method: torch.tensor(list(golden[problem]["validation"].values()))
        for method, golden in STORED.items()
        if problem in golden
    }
    twins = [
        (a, b)
        for a, b in combinations(runs, 2)
        if torch.allclose(runs[a], runs[b], rtol=1e-9, atol=0)
    ]
    assert sorted(tuple(sorted(pair)) for pair in twins) == [
        ("adatask", "per_task_adam"),
        ("auxinash", "nash_mtl"),
    ], (
        "AdaTask takes the steps of one Adam per task, from one matrix of moments; AuxiNash with equal preferences is NashMTL"
    )
