"""``update.at=representation`` against autograd by hand, and against gradients of parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.likelihood import Standard
from mtl_runner.models import MLP, LeNet, UNet
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.update import Jacobian
from mtl_runner.update.aggregators import aggregate
from mtl_runner.update.random_stream import RandomStream
from tests.support.builders import assert_near, assert_same_bits, gradients_of

pytest.importorskip("torchjd.aggregation")

pytestmark = pytest.mark.usefixtures("float64")

Still = partial(torch.optim.SGD, lr=0.0)
ROWS = 6


@dataclass
class Problem:
    """A model that can be taken apart by hand.

    Attributes:
        model: The model.
        tasks: Its tasks.
        trunk: From inputs to the tensors that heads use.
        heads: From these tensors to the output of each task.
        split: Rows with targets.
    """

    model: nn.Module
    tasks: Sequence[Task]
    trunk: Callable[[Tensor], list[Tensor]]
    heads: Callable[[list[Tensor]], dict[str, Tensor]]
    split: Split


def problem_of(name: str) -> Problem:
    """Return a model of this name on random rows."""
    torch.manual_seed(0)
    if name == "unet":
        places = (8, 8)
        tasks = [
            Task("depth", size=1, places=places),
            Task("kind", "classification", size=3),
            Task("normal", size=2, places=places),
        ]
        unet = UNet(tasks, (2, *places), width=4, depth=1)
        inputs = torch.randn(ROWS, 2, *places)

        def unet_trunk(inputs: Tensor) -> list[Tensor]:
            levels = unet.encoded(inputs)
            return [unet.decoded(levels), levels[-1]]

        def unet_heads(tensors: list[Tensor]) -> dict[str, Tensor]:
            features, deepest = tensors
            depth, kind, normal = unet.heads
            return {
                "depth": depth(features),
                "kind": kind(deepest.mean((2, 3))),
                "normal": normal(features),
            }

        targets = {
            "depth": torch.randn(ROWS, 1, *places),
            "kind": torch.randint(3, (ROWS,)),
            "normal": torch.randn(ROWS, 2, *places),
        }
        return Problem(unet, tasks, unet_trunk, unet_heads, Split(inputs, targets))
    tasks = [Task("a", size=2), Task("b", "classification", size=3), Task("c", size=1)]
    shape = (5,) if name == "mlp" else (1, 8, 8)
    model: Any = MLP(tasks, shape, (7, 6)) if name == "mlp" else LeNet(tasks, shape)
    targets = {
        "a": torch.randn(ROWS, 2),
        "b": torch.randint(3, (ROWS,)),
        "c": 10 * torch.randn(ROWS, 1),
    }

    def heads(tensors: list[Tensor]) -> dict[str, Tensor]:
        return {t.name: h(tensors[0]) for t, h in zip(tasks, model.heads, strict=True)}

    rows = Split(torch.randn(ROWS, *shape), targets)
    return Problem(model, tasks, lambda inputs: [model.trunk(inputs)], heads, rows)


def step_of(problem: Problem, active: Active | None = None, **options: Any) -> Jacobian:
    """Let an update set the gradients of a model, and return it."""
    likelihood = Standard(problem.tasks)
    parameters = find_parameters(problem.model, likelihood, problem.split)
    update = Jacobian(parameters, Still, problem.tasks, **options)
    result = ForwardPass(problem.model, likelihood)(problem.split.inputs, problem.split.targets)
    update(result.losses, active=active)
    return update


def gradients_by_hand(
    problem: Problem, direction_of: Callable[[list[list[Tensor]], list[Tensor]], list[Tensor]]
) -> tuple[list[Tensor | None], Tensor]:
    """Return the gradients of all parameters, and the rows, by taking the model apart.

    Args:
        problem: The model.
        direction_of: From the gradient of each task over each tensor, and the tensors, to a
            direction for each.
    """
    tensors = problem.trunk(problem.split.inputs)
    cut = [tensor.detach().requires_grad_() for tensor in tensors]
    losses = Standard(problem.tasks).losses(problem.heads(cut), problem.split.targets)
    rows = [
        [
            torch.zeros_like(tensor) if gradient is None else gradient
            for tensor, gradient in zip(
                cut,
                torch.autograd.grad(loss, cut, retain_graph=True, allow_unused=True),
                strict=True,
            )
        ]
        for loss in losses
    ]
    parameters = list(problem.model.parameters())
    of_heads = torch.autograd.grad(sum(losses), parameters, allow_unused=True)
    of_trunk = torch.autograd.grad(tensors, parameters, direction_of(rows, cut), allow_unused=True)
    gradients = [h if h is not None else t for h, t in zip(of_heads, of_trunk, strict=True)]
    return gradients, torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


PROBLEMS = ("mlp", "lenet", "unet")


@pytest.mark.parametrize("aggregator", ["mgda", "imtl_g", "aligned_mtl", "nash_mtl"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_gradients_are_those_of_autograd_by_hand(name: str, aggregator: str) -> None:
    """Breaks if the rows are not taken between trunk and heads, or go through the trunk twice."""
    problem = problem_of(name)

    def direction_of(rows: list[list[Tensor]], tensors: list[Tensor]) -> list[Tensor]:
        jacobian = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
        parts = aggregate(aggregator, jacobian).split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    expected, rows = gradients_by_hand(problem, direction_of)
    update = step_of(problem, aggregator=aggregator, at="representation")
    for parameter, gradient in zip(problem.model.parameters(), expected, strict=True):
        assert_near(parameter.grad, gradient, 1e-12)
    used, ratio = update.measured["aggregator_weight"], update.measured["norm_ratio"]
    assert_near(used @ rows, aggregate(aggregator, rows), 1e-12)
    assert_near(ratio[0], (used @ rows).norm() / rows.sum(0).norm(), 1e-12)


@pytest.mark.parametrize("leak", [{}, {"leak": 0.3}], ids=["pure", "leak"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_graddrop_draws_a_sign_for_each_activation_of_the_batch(
    name: str, leak: dict[str, float]
) -> None:
    """Breaks if signs are drawn per row, or without the sign of the activation (algorithm 1)."""
    problem = problem_of(name)
    passing = leak.get("leak", 0.0)

    def direction_of(rows: list[list[Tensor]], tensors: list[Tensor]) -> list[Tensor]:
        directions = []
        for i, tensor in enumerate(tensors):
            virtual = [(tensor.sign() * row[i]).sum(0) for row in rows]
            purity = 0.5 * (1 + sum(virtual) / sum(g.abs() for g in virtual))
            drawn = torch.rand(purity.shape)
            total = torch.zeros_like(tensor)
            for g, row in zip(virtual, rows, strict=True):
                mask = torch.where(purity > drawn, g > 0, torch.where(purity < drawn, g < 0, False))
                total += (passing + (1 - passing) * mask) * row[i]
            directions.append(total)
        return directions

    with RandomStream(3).on(torch.device("cpu")):
        expected, _ = gradients_by_hand(problem, direction_of)
    step_of(problem, aggregator="graddrop", at="representation", options=leak, seed=3)
    for parameter, gradient in zip(problem.model.parameters(), expected, strict=True):
        assert_near(parameter.grad, gradient, 1e-12)


def assert_equal_forms(problem: Problem, aggregator: str, tolerance: float = 1e-10) -> None:
    """Assert that both places of the gradients give the same gradients of all parameters."""
    gradients = []
    for at in ("parameters", "representation"):
        step_of(problem, aggregator=aggregator, at=at)
        gradients.append([p.grad.clone() for p in problem.model.parameters()])
    for of_parameters, of_representation in zip(*gradients, strict=True):
        assert_near(of_representation, of_parameters, tolerance)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("aggregator", ["sum", "mean", "constant"])
def test_constant_weights_do_not_care_where(name: str, aggregator: str) -> None:
    """Breaks if the chain rule does not hold: the pass through the trunk is linear."""
    assert_equal_forms(problem_of(name), aggregator)


@pytest.mark.parametrize(
    "aggregator", ["mgda", "imtl_g", "aligned_mtl", "nash_mtl", "pcgrad", "gradvac"]
)
def test_one_shared_layer_of_orthonormal_inputs_gives_the_same_gramian(aggregator: str) -> None:
    """Breaks if the Gramian at the representation is another one.

    For Z = X W' the gradient over W is G' X with G that over Z, and its products are
    tr(G' X X' H) = tr(G' H) where the rows of X are orthonormal.
    """
    torch.manual_seed(1)
    tasks = [Task("a", size=2), Task("b", size=3), Task("c", size=1)]
    model: Any = MLP(tasks, (9,), (5,), activation="relu")
    # The representation is what the layer itself returns, and the layer has no bias.
    model.trunk = nn.Linear(9, 5, bias=False)
    inputs, _ = torch.linalg.qr(torch.randn(9, ROWS))
    targets = {task.name: 5 * torch.randn(ROWS, task.size) for task in tasks}
    problem = Problem(model, tasks, lambda x: [model.trunk(x)], dict, Split(inputs.T, targets))
    assert_equal_forms(problem, aggregator)


@pytest.mark.parametrize("aggregator", ["mgda", "imtl_g"])
def test_of_a_single_row_one_shared_layer_scales_the_gramian(aggregator: str) -> None:
    """Breaks if weights that do not depend on a common scale differ.

    For one row x the gradients over W and bias are g x' and g, so the products are those of g times
    1 + |x|**2.
    """
    torch.manual_seed(2)
    tasks = [Task("a", size=2), Task("b", size=3), Task("c", size=1)]
    model: Any = MLP(tasks, (4,), (5,), activation="tanh")
    model.trunk = nn.Linear(4, 5)
    targets = {task.name: 5 * torch.randn(1, task.size) for task in tasks}
    split = Split(torch.randn(1, 4), targets)
    problem = Problem(model, tasks, lambda x: [model.trunk(x)], dict, split)
    assert_equal_forms(problem, aggregator)


def test_the_forms_differ_where_nothing_says_that_they_should_not() -> None:
    """Breaks if the tests of equality cannot fail."""
    with pytest.raises(AssertionError):
        assert_equal_forms(problem_of("mlp"), "mgda")


@pytest.mark.parametrize("name", PROBLEMS)
def test_mgda_at_the_representation_goes_uphill_on_no_task(name: str) -> None:
    """Breaks if the direction is not the upper bound's: to first order every loss falls at Z."""
    problem = problem_of(name)
    _, rows = gradients_by_hand(problem, lambda rows, tensors: rows[0])
    used = step_of(problem, aggregator="mgda", at="representation").measured["aggregator_weight"]
    assert float((rows @ (used @ rows)).min()) >= -1e-12


@pytest.mark.parametrize("name", PROBLEMS)
def test_an_idle_task_has_no_row_and_no_gradient(name: str) -> None:
    """Breaks if the trunk follows a loss that is not active, or an idle head moves."""
    problem = problem_of(name)
    step_of(problem, Active((1.0, 1.0, 0.0)), aggregator="sum", at="representation")
    outputs = problem.model(problem.split.inputs)
    total = sum(Standard(problem.tasks).losses(outputs, problem.split.targets)[:2])
    parameters = list(problem.model.parameters())
    expected = torch.autograd.grad(total, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, expected, strict=True):
        assert (parameter.grad is None) == (gradient is None)
        if gradient is not None:
            assert_near(parameter.grad, gradient, 1e-12)


def test_every_step_between_two_looks_has_the_same_weights() -> None:
    """Breaks if update.every does not go with the representation."""
    problem = problem_of("mlp")
    likelihood = Standard(problem.tasks)
    parameters = find_parameters(problem.model, likelihood, problem.split)
    sgd = partial(torch.optim.SGD, lr=0.1)
    update = Jacobian(
        parameters, sgd, problem.tasks, aggregator="mgda", at="representation", every=2
    )
    used = []
    for step in range(3):
        result = ForwardPass(problem.model, likelihood)(problem.split.inputs, problem.split.targets)
        expected = gradients_of(problem.model, problem.tasks, problem.split)
        update(result.losses)
        used.append(update.measured["aggregator_weight"])
        direction = torch.cat([p.grad.flatten() for p in problem.model.trunk.parameters()])
        assert_near(direction, (used[step] @ expected)[: len(direction)], 1e-12)
    assert_same_bits(used[1], used[0])
    assert not torch.equal(used[2], used[0])
