"""Every check of a weighting can say yes and no, by functions whose answer is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.conform import weighting_checks as checks
from mtl_runner.conform.case import Case, Finding, Reference, quiet_float64
from mtl_runner.conform.interfaces import FORMS, OfLosses
from mtl_runner.conform.subject import Subject

Check = Callable[[Case], Finding]


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    """Compute in float64, as a card does."""
    with quiet_float64():
        yield


def case_of(target: Callable[..., Any], **settings: float) -> Case:
    """Return the case of a function or class of losses ``[T]``."""
    subject = Subject("here.target", target)
    return Case(subject, OfLosses("", FORMS[0]), Reference("LogSum"), settings=settings)


def plain(losses: Tensor) -> Tensor:
    """Return the sum."""
    return losses.sum()


def squares(losses: Tensor) -> Tensor:
    """Return the sum of squares, whose weights are twice the losses."""
    return losses.square().sum()


def logarithms(losses: Tensor) -> Tensor:
    """Return the sum of logarithms, with a floor."""
    return losses.clamp(min=1e-12).log().sum()


def shifted(losses: Tensor) -> Tensor:
    """Return the sum of logarithms and 1."""
    return logarithms(losses) + 1


def against_the_first(losses: Tensor) -> Tensor:
    """Return an objective that trains the first task upwards."""
    return losses.sum() - 2 * losses[0]


def first_favoured(losses: Tensor) -> Tensor:
    """Return a sum in which the first task counts twice."""
    return losses.sum() + losses[0]


def inverse(losses: Tensor) -> Tensor:
    """Return losses over themselves, which is NaN for 0."""
    return (losses / losses.detach()).sum()


class ScaleOfBatch(nn.Module):
    """Weights that follow the running mean of the losses, kept in a buffer or in an attribute."""

    def __init__(self, is_saved: bool) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(3), persistent=is_saved)

    def forward(self, losses: Tensor) -> Tensor:
        self.mean = 0.5 * self.mean + 0.5 * losses.detach()
        return (losses / self.mean).sum()


class Saved(ScaleOfBatch):
    """The one that a checkpoint holds."""

    def __init__(self) -> None:
        super().__init__(is_saved=True)


class Lost(ScaleOfBatch):
    """The one that a checkpoint does not hold."""

    def __init__(self) -> None:
        super().__init__(is_saved=False)


class MovesSigma(nn.Module):
    """Uncertainty weighting with another term of its own, times a factor."""

    def __init__(self, num_tasks: int, factor: float = 2.0) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.zeros(num_tasks))
        self.factor = factor

    def forward(self, losses: Tensor) -> Tensor:
        return (torch.exp(-self.s) * losses + self.factor * torch.exp(self.s)).sum()


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (checks.balance, logarithms, plain),
        (checks.objective, logarithms, shifted),
        (checks.not_negative, plain, against_the_first),
        (checks.equal_tasks, squares, first_favoured),
        (checks.order_of_tasks, squares, first_favoured),
        (checks.solved_task, logarithms, inverse),
        (checks.resume, Saved, Lost),
        (checks.ranks, plain, squares),
        (checks.weights_without_scale, plain, squares),
        (checks.shares_without_scale, logarithms, plain),
    ],
)
def test_a_check_tells_right_from_wrong(
    check: Check, right: Callable[..., Any], wrong: Callable[..., Any]
) -> None:
    """Breaks if a check passes what breaks its law, or blames what keeps it."""
    assert check(case_of(right)).holds is True
    assert check(case_of(wrong)).holds is False


@pytest.mark.parametrize(("total", "holds"), [(3.0, True), (0.0, True), (1.0, False)])
def test_the_sum_of_the_weights_is_compared_with_that_of_the_method(
    total: float, holds: bool
) -> None:
    """Breaks if weights of another sum pass; 0 stands for the number of tasks."""
    assert checks.total(case_of(plain, total=total)).holds is holds


def test_another_term_of_ones_own_is_seen() -> None:
    """Breaks if any regularizer passes for that of uncertainty weighting."""
    finding = checks.own_term(case_of(MovesSigma))
    assert finding.holds is False
    assert finding.expected == "-b log w with b > 0"
    assert checks.stationary(case_of(MovesSigma)).holds is False


def test_a_law_that_cannot_be_asked_does_not_apply() -> None:
    """Breaks if a class without memory or without an objective is blamed for it."""
    assert checks.resume(case_of(plain)) == Finding(None, "it remembers nothing from step to step")
    assert checks.resume(case_of(lambda losses: losses.sum())).holds is None  # it has no pickle
    weights_alone = case_of(lambda losses: torch.ones(3))
    assert checks.own_term(weights_alone) == Finding(None, "it gives no objective")
    assert checks.objective(weights_alone) == Finding(None, "it gives no objective")


def test_weights_that_never_see_a_gradient_are_seen() -> None:
    """Breaks if a GradNorm of losses alone passes for the paper's."""
    assert checks.reads_gradients(case_of(squares)).holds is False
    assert checks.large_gradient(case_of(squares)).holds is False
