"""Aggregators with a state per task: it is kept, saved and restored, and follows the task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from mtl_runner.update.aggregator_methods import METHODS
from mtl_runner.update.aggregators import SOLVED_HERE, Aggregation
from mtl_runner.update.stateful_aggregator import StatefulAggregator
from tests.support.builders import assert_near, assert_same_bits
from tests.unit.update.aggregations import aggregation_of, random_rows

pytestmark = pytest.mark.usefixtures("float64")


def is_stateful(solver: Callable[..., Any] | None) -> bool:
    """Return whether a class keeps a state per task."""
    return isinstance(solver, type) and issubclass(solver, StatefulAggregator)


STATEFUL = [name for name, method in METHODS.items() if is_stateful(SOLVED_HERE.get(method))]
SETS = ((0, 1, 2), (0, 2), (0, 1, 2), (1, 2), (0, 1, 2))
stateful = pytest.mark.parametrize("name", STATEFUL)


def directions(
    aggregation: Aggregation, first: int = 0, order: tuple[int, ...] = (0, 1, 2)
) -> list[Tensor]:
    """Return the directions of the steps from a first one on, with the tasks in another order."""
    results = []
    for step in range(first, len(SETS)):
        rows = random_rows(3, seed=step)
        places = [place for place, task in enumerate(order) if task in SETS[step]]
        chosen = rows[[order[place] for place in places]]
        results.append(aggregation(chosen, tuple(places))[0])
    return results


@stateful
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_restored_state_goes_on_to_the_same_bits(name: str, stop: int) -> None:
    """Breaks if a resumed run has lost an average, a count or a weight."""
    uninterrupted = directions(aggregation_of(name))
    stopped, resumed = aggregation_of(name), aggregation_of(name)
    for step in range(stop):
        stopped(random_rows(3, seed=step)[list(SETS[step])], SETS[step])
    state = stopped.state_dict()
    assert list(state["states"]) == ["0,1,2"]  # one state for all sets of tasks
    resumed.load_state_dict(state)
    for actual, expected in zip(directions(resumed, stop), uninterrupted[stop:], strict=True):
        assert_same_bits(actual, expected)


@stateful
def test_the_state_follows_the_task(name: str) -> None:
    """Breaks if the order of the tasks matters, or an idle task's state goes to another one."""
    plain = directions(aggregation_of(name))
    turned = directions(aggregation_of(name), order=(2, 0, 1))
    for actual, expected in zip(turned, plain, strict=True):
        assert_near(actual, expected, 1e-12)


@stateful
def test_parameters_that_begin_to_train_are_no_obstacle(name: str) -> None:
    """Breaks if a state of fewer columns is an error when a frozen part is released."""
    aggregation = aggregation_of(name)
    aggregation(random_rows(3, width=4), (0, 1, 2))
    direction, weights = aggregation(random_rows(3, width=6), (0, 1, 2))
    assert direction.isfinite().all()
    assert weights.isfinite().all()


@stateful
def test_there_is_no_state_before_the_first_step(name: str) -> None:
    """Breaks if a checkpoint of the start holds something that a fresh run has not."""
    assert aggregation_of(name).state_dict()["states"] == {}
