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
from tests.oracles.methods.runs import METHODS, solvers_may_chat

STORED = read()


@solvers_may_chat
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("method", "problem"), [(m, p) for m in METHODS for p in problems_of(m)])
def test_twenty_steps_end_where_they_always_did(method: str, problem: str) -> None:
    """Breaks if a formula, a default, a random stream or the order of two operations has changed; make.py says what 1e-9 can see."""
    golden = STORED.get(method, {}).get(problem)
    assert golden is not None, (
        f"{method} has no golden run on {problem} yet; make it with: {COMMAND} {method}"
    )
    changed = differences(method, problem, twenty_steps(method, problem), golden)
    assert not changed, (
        f"{changed}; if the formula of {method} is meant to change: {COMMAND} {method}"
    )


def test_no_golden_run_is_of_a_method_that_is_gone() -> None:
    """Breaks if golden.json keeps what nothing compares itself with."""
    assert set(STORED) == set(METHODS)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_no_method_does_the_same_as_another(problem: str) -> None:
    """Breaks if a method does nothing: its run is then that of equal weights, and would stay so whatever its formula says."""
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
    assert twins == [("adatask", "per_task_adam")], (
        "AdaTask takes the steps of one Adam per task, from one matrix of moments"
    )
