"""Every check of an aggregator can say yes and no, by functions whose answer is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from mtl_runner.conform import aggregator_checks as checks
from mtl_runner.conform.case import Case, Finding, Reference, quiet_float64
from mtl_runner.conform.interfaces import OfRows
from mtl_runner.conform.subject import Subject
from mtl_runner.update.aggregators import aggregate

Check = Callable[[Case], Finding]


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    """Compute in float64, as a card does."""
    with quiet_float64():
        yield


def case_of(target: Callable[[Tensor], Tensor], reference: str = "mgda") -> Case:
    """Return the case of a function of gradients ``[T, P]``."""
    return Case(Subject("here.target", target), OfRows(), Reference(reference, {}, True))


def mean(rows: Tensor) -> Tensor:
    """Return the mean."""
    return rows.mean(0)


def shortest(rows: Tensor) -> Tensor:
    """Return MGDA's direction."""
    return aggregate("mgda", rows)


def bargain(rows: Tensor) -> Tensor:
    """Return Nash-MTL's direction."""
    return aggregate("nash_mtl", rows)


def twice(rows: Tensor) -> Tensor:
    """Return a direction twice as long as MGDA's."""
    return 2 * shortest(rows)


def first(rows: Tensor) -> Tensor:
    """Return the first gradient."""
    return rows[0]


def units(rows: Tensor) -> Tensor:
    """Return the mean of the gradients at length 1."""
    return (rows / rows.norm(dim=1, keepdim=True)).mean(0)


def with_threshold(rows: Tensor) -> Tensor:
    """Return the mean instead of the shortest vector once gradients are short."""
    return shortest(rows) if rows.norm() > 0.01 else mean(rows)


def coordinates(rows: Tensor) -> Tensor:
    """Return the median of every coordinate."""
    return rows.median(0).values


def equal_cosines(rows: Tensor) -> Tensor:
    """Return ConFIG's direction."""
    unit = rows / rows.norm(dim=1, keepdim=True)
    return torch.linalg.pinv(unit) @ torch.ones(len(rows))


def positive_entries(rows: Tensor) -> Tensor:
    """Return the sum of the positive entries."""
    return rows.clamp(min=0).sum(0)


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (checks.formula, twice, mean),
        (checks.length, shortest, twice),
        (checks.no_conflict, shortest, mean),
        (checks.pareto_point, shortest, mean),
        (checks.shortest, shortest, twice),
        (checks.equal_cosines, equal_cosines, units),
        (checks.bargain, bargain, shortest),
        (checks.drops_signs, positive_entries, mean),
        (checks.one_task, shortest, lambda rows: torch.ones_like(rows[0])),
        (checks.order_of_rows, shortest, first),
        (checks.rotation, shortest, coordinates),
        (checks.small_gradients, shortest, with_threshold),
        (checks.homogeneous, shortest, units),
        (checks.idle_task, shortest, units),
        (checks.depends_on_gradients, shortest, mean),
    ],
)
def test_a_check_tells_right_from_wrong(
    check: Check, right: Callable[[Tensor], Tensor], wrong: Callable[[Tensor], Tensor]
) -> None:
    """Breaks if a check passes what breaks its law, or blames what keeps it."""
    assert check(case_of(right)).holds is True
    assert check(case_of(wrong)).holds is False


class Momentum:
    """The mean of all gradients so far, whose state is saved or not."""

    def __init__(self) -> None:
        self.sum = torch.zeros(5)

    def __call__(self, rows: Tensor) -> Tensor:
        self.sum = self.sum + rows.mean(0)
        return self.sum


class Forgets(Momentum):
    """The one with an empty state."""

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        pass


def test_a_state_that_is_lost_is_seen() -> None:
    """Breaks if an aggregator with an empty state passes, or one that can be pickled does not."""
    assert checks.resume_rows(case_of(Momentum)).holds is True  # type: ignore[arg-type]
    assert checks.resume_rows(case_of(Forgets)).holds is False  # type: ignore[arg-type]
    assert checks.resume_rows(case_of(mean)).holds is None


def test_a_number_of_tasks_that_is_set_is_not_changed() -> None:
    """Breaks if a class that was made for three tasks is blamed for not taking one."""
    subject = Subject("here.Momentum", Momentum, {"num_tasks": 3})
    case = Case(subject, OfRows(), Reference("mean", {}, True))
    assert checks.one_task(case) == Finding(None, "the number of tasks is set")
