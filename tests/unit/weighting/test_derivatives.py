"""A weighting that gives its derivatives by formulas gives those of autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.tasks.activity import Active
from mtl_runner.weighting import Fixed, Uncertainty, Weighting
from tests.support.builders import QUICK, make_tasks, near, some

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="regression_l1", c="classification", d="multilabel")
losses = st.lists(st.floats(1e-3, 1e3), min_size=4, max_size=4)
active_tasks = st.sampled_from([None, some(0), some(1, 3), some(0, 1, 2)])
forms = pytest.mark.parametrize("form", ["kendall", "simplified", "jde", "liebel"])


def by_autograd(weighting: Weighting, values: torch.Tensor, active: Active | None) -> list[Any]:
    """Weights, objective and the own parameters' gradients, as every weighting without formulas gets them."""
    seen = (values if active is None else values[list(active.tasks)]).clone().requires_grad_()
    objective = weighting(seen, active)
    own = [p for p in weighting.parameters() if p.requires_grad]
    of_losses, *of_own = torch.autograd.grad(objective, [seen, *own], allow_unused=True)
    weights = torch.zeros(len(values))
    weights[list(active.tasks) if active is not None else slice(None)] = of_losses
    return [weights, objective.detach(), of_own]


@forms
@QUICK
@given(
    values=losses,
    start=st.lists(st.floats(-3, 3), min_size=4, max_size=4),
    active=active_tasks,
    frozen=st.booleans(),
)
def test_the_formulas_of_uncertainty_are_its_derivatives(
    form: str, values: list[float], start: list[float], active: Active | None, frozen: bool
) -> None:
    """Breaks if the logged weights, or the gradients of the log-variances, are not those of the objective."""
    options: dict[str, Any] = {
        "form": form,
        "init": dict(zip("abcd", start, strict=True)),
        "frozen": {"b": 2.0} if frozen else None,
    }
    weighting = Uncertainty(TASKS, **options)
    for parameter in weighting.parameters():
        parameter.grad = (
            torch.ones(()) if parameter.requires_grad else None
        )  # what an earlier step left
    weights, objective = weighting.weigh(torch.tensor(values), active)
    expected_weights, expected_objective, expected_own = by_autograd(
        Uncertainty(TASKS, **options), torch.tensor(values), active
    )
    near(weights, expected_weights, 1e-9 * max(1.0, float(expected_weights.abs().max())))
    near(objective, expected_objective, 1e-9 * max(1.0, abs(float(expected_objective))))
    own = [p for p in weighting.parameters() if p.requires_grad]
    assert [p.grad is None for p in own] == [g is None for g in expected_own], (
        "an idle task's parameter has no gradient at all"
    )
    for parameter, gradient in zip(own, expected_own, strict=True):
        if gradient is not None:
            near(parameter.grad, gradient, 1e-9 * max(1.0, abs(float(gradient))))


@pytest.mark.parametrize("normalize", ["none", "sum", "mean"])
@QUICK
@given(values=losses, active=active_tasks)
def test_the_formulas_of_fixed_weights_are_their_derivatives(
    normalize: str, values: list[float], active: Active | None
) -> None:
    """Breaks if the logged weights are not those of the objective."""
    weighting = Fixed(TASKS, {"a": 3.0, "b": 0.5, "d": 0.0}, normalize=normalize)
    found = weighting.weigh(torch.tensor(values), active)
    expected_weights, expected_objective, _ = by_autograd(weighting, torch.tensor(values), active)
    near(found[0], expected_weights, 1e-12)
    near(found[1], expected_objective, 1e-12 * max(1.0, float(expected_objective)))


class Shifted(Uncertainty):
    """A user's own objective on top of ours."""

    def forward(self, losses: torch.Tensor, active: Active | None = None) -> torch.Tensor:
        return super().forward(losses, active) + 100 * losses.sum()


def test_formulas_of_a_base_class_do_not_speak_for_another_objective() -> None:
    """Breaks if a subclass's forward is ignored, without a word."""
    weighting = Shifted(make_tasks(a="regression", b="regression"), init=0.0)
    weights, objective = weighting.weigh(torch.tensor([1.0, 2.0]))
    near(weights, torch.tensor([100.5, 100.5]), 1e-12)
    assert objective.item() == pytest.approx(301.5)
