"""Methods that combine the gradients of single tasks, written by hand in plain torch.

Each takes a model apart that has a trunk and a head per task, and records nothing. Solvers are those
that a user would call: quadprog, TorchJD, and NumPy for systems of four equations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import quadprog
import torch
from methods import Step, aggregator_of
from torch import Tensor, nn

from mtl_runner.update.aggregator_methods import METHODS as AGGREGATORS

#: From the gradients of the tasks on each batch of a step, ``[T, P]``, to a direction ``[P]``.
Aggregator = Callable[[Sequence[Tensor]], Tensor]

#: From the gradients of the tasks, ``[T, P]``, to their weights ``[T]``.
RowWeights = Callable[[Tensor], Tensor]

TASKS = 4
EVERY = 10  # steps for which weights are held
POWERS = np.array([2.0, 1.0, 1.0, 1.0])  # bargaining powers of auxinash


def losses_of(model: Any, tasks: Any, batch: Any) -> list[Tensor]:
    """Return the losses of a batch."""
    outputs = model(batch.inputs)
    return [task.loss(outputs, batch.targets) for task in tasks]


def gradients_of_tasks(
    model: Any, losses: Sequence[Tensor], heads: bool = True
) -> list[tuple[Tensor, ...]]:
    """Return the gradients of the trunk for each loss; heads get those of their own loss."""
    shared, rows = list(model.trunk.parameters()), []
    for loss, head in zip(losses, model.heads, strict=True):
        own = list(head.parameters()) if heads else []
        gradients = torch.autograd.grad(loss, [*shared, *own], retain_graph=loss is not losses[-1])
        for parameter, gradient in zip(own, gradients[len(shared) :], strict=True):
            parameter.grad = gradient
        rows.append(gradients[: len(shared)])
    return rows


def stacked(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return gradients as a matrix ``[T, P]``."""
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def give(parameters: Sequence[nn.Parameter], direction: Tensor) -> None:
    """Give parameters their parts of a direction ``[P]``."""
    parts = direction.split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)


def onto_simplex(vector: Tensor) -> Tensor:
    """Return the nearest vector whose entries are at least 0 and sum to 1."""
    ordered = vector.sort(descending=True).values
    thresholds = (ordered.cumsum(0) - 1) / torch.arange(1, TASKS + 1)
    return (vector - thresholds[(ordered > thresholds).sum() - 1]).clamp(min=0)


def whole(aggregator: Aggregator, logarithms: bool = False) -> Step:
    """Return a step that aggregates the gradients of the whole trunk.

    Args:
        aggregator: The aggregator.
        logarithms: Whether the gradients are those of the losses' logarithms.
    """

    def step(model: Any, tasks: Any, batch: Any, optimizer: Any, *extra: Any) -> None:
        batches = []
        for number, part in enumerate((batch, *extra)):
            losses = losses_of(model, tasks, part)
            if logarithms:
                losses = [loss.log() for loss in losses]
            batches.append(stacked(gradients_of_tasks(model, losses, heads=number == 0)))
        give(list(model.trunk.parameters()), aggregator(batches))
        optimizer.step()

    return step


def by_layer(aggregator: Callable[[Tensor], Tensor]) -> Step:
    """Return a step that aggregates the gradients of each layer of the trunk by itself."""

    def step(model: Any, tasks: Any, batch: Any, optimizer: Any) -> None:
        rows = gradients_of_tasks(model, losses_of(model, tasks, batch))
        start = 0
        for layer in model.trunk:
            if parameters := list(layer.parameters()):
                end = start + len(parameters)
                give(parameters, aggregator(stacked([row[start:end] for row in rows])))
                start = end
        optimizer.step()

    return step


def every_few_steps(weights_of: RowWeights) -> Step:
    """Return a step that finds the weights anew every few steps, and else passes back once.

    In between, every head has the features as a leaf of its own, whose gradients are weighed.
    """
    count, weights = 0, torch.empty(0)

    def step(model: Any, tasks: Any, batch: Any, optimizer: Any) -> None:
        nonlocal count, weights
        if count % EVERY == 0:
            rows = stacked(gradients_of_tasks(model, losses_of(model, tasks, batch)))
            weights = weights_of(rows)
            give(list(model.trunk.parameters()), weights @ rows)
        else:
            optimizer.zero_grad()
            features = model.trunk(batch.inputs)
            leaves = [features.detach().requires_grad_() for _ in tasks]
            outputs = {
                task.name: head(leaf)
                for task, head, leaf in zip(tasks, model.heads, leaves, strict=True)
            }
            sum(task.loss(outputs, batch.targets) for task in tasks).backward()
            features.backward(torch.tensordot(weights, torch.stack([x.grad for x in leaves]), 1))
        count += 1
        optimizer.step()

    return step


def at_representation(weights_of: RowWeights) -> Step:
    """Return a step that weighs the gradients of the features, and passes the trunk once."""

    def step(model: Any, tasks: Any, batch: Any, optimizer: Any) -> None:
        optimizer.zero_grad()
        features = model.trunk(batch.inputs)
        leaves = [features.detach().requires_grad_() for _ in tasks]
        outputs = {
            task.name: head(leaf)
            for task, head, leaf in zip(tasks, model.heads, leaves, strict=True)
        }
        sum(task.loss(outputs, batch.targets) for task in tasks).backward()
        rows = torch.stack([leaf.grad.flatten() for leaf in leaves])
        features.backward((weights_of(rows) @ rows).view_as(features))
        optimizer.step()

    return step


def mgda_weights(rows: Tensor) -> Tensor:
    """Return the weights of the shortest vector, by a quadratic program."""
    gramian = (rows @ rows.T).numpy().astype(np.float64)
    gramian /= gramian.trace()
    # Of the conditions the first is an equation: the sum is 1, every weight is at least 0.
    conditions = np.hstack([np.ones((TASKS, 1)), np.eye(TASKS)])
    bounds = np.array([1.0, *[0.0] * TASKS])
    solution = quadprog.solve_qp(gramian, np.zeros(TASKS), conditions, bounds, 1)[0]
    return torch.from_numpy(solution).to(rows)


def nash_weights(rows: Tensor, powers: Any = None) -> Tensor:
    """Return the weights of the Nash bargaining solution of norm 1, by damped Newton steps."""
    gramian = (rows @ rows.T).numpy().astype(np.float64)
    norms = np.sqrt(gramian.diagonal())
    cosines = gramian / np.outer(norms, norms)
    is_equal = powers is None
    powers = np.ones(TASKS) if is_equal else powers * (TASKS / powers.sum())
    beta, decrement = np.sqrt(powers), np.inf
    while decrement > 1e-12:
        slope = cosines @ beta - powers / beta
        step = np.linalg.solve(cosines + np.diag(powers / beta**2), slope)
        decrement = np.sqrt(max(slope @ step, 0.0))
        size = decrement if is_equal else np.abs(step / beta).max()
        beta = beta - step / (1 + size if size > 0.25 else 1)
    norm = np.sqrt(beta @ cosines @ beta)
    return torch.from_numpy(beta / norms / max(norm, 1.0)).to(rows)


def db_mtl() -> Step:
    """Return DB-MTL: averages of the gradients of the logarithms, all as long as the longest."""
    averages, count = torch.empty(0), 0

    def direction(batches: Sequence[Tensor]) -> Tensor:
        nonlocal averages, count
        (rows,) = batches
        count += 1
        averages = averages if count > 1 else torch.zeros_like(rows)
        averages.lerp_(rows, 1 - 0.9 / count**0.5)
        norms = averages.norm(dim=1)
        return (norms.max() / norms) @ averages

    return whole(direction, logarithms=True)


def moco() -> Step:
    """Return MoCo with its defaults."""
    averages, weights = torch.empty(0), torch.empty(0)

    def direction(batches: Sequence[Tensor]) -> Tensor:
        nonlocal averages, weights
        (rows,) = batches
        if not len(averages):
            averages, weights = torch.zeros_like(rows), rows.new_full((TASKS,), 1 / TASKS)
        averages.lerp_(rows, 0.1)
        slope = averages @ averages.T @ weights + 0.1 * weights
        weights = onto_simplex(weights - 0.1 * slope)
        return weights @ averages

    return whole(direction)


def modo() -> Step:
    """Return MoDo with its defaults."""
    weights = torch.empty(0)

    def direction(batches: Sequence[Tensor]) -> Tensor:
        nonlocal weights
        first, second = batches
        if not len(weights):
            weights = first.new_full((TASKS,), 1 / TASKS)
        weights = onto_simplex(weights - 0.1 * (first @ (weights @ second) + 0.1 * weights))
        return weights @ (first + second) / 2

    return whole(direction)


def sdmgrad() -> Step:
    """Return SDMGrad with its defaults."""
    weights = torch.empty(0)

    def direction(batches: Sequence[Tensor]) -> Tensor:
        nonlocal weights
        rows, first, second = batches
        if not len(weights):
            weights = first.new_full((TASKS,), 1 / TASKS)
        products = first @ second.T
        products = products / products.diagonal().clamp(min=0).sqrt().mean().square()
        mean = 0.3 * products.mean(1)
        for _ in range(20):
            weights = onto_simplex(weights - 0.1 * (products @ weights + mean))
        return (weights + 0.3 / TASKS) / 1.3 @ rows

    return whole(direction)


def auxinash() -> Step:
    """Return AuxiNash with unequal bargaining powers."""

    def direction(batches: Sequence[Tensor]) -> Tensor:
        (rows,) = batches
        return nash_weights(rows, POWERS) @ rows

    return whole(direction)


METHODS: dict[str, Callable[[], Step]] = {
    "auxinash": auxinash,
    "db_mtl": db_mtl,
    "moco": moco,
    "modo": modo,
    "sdmgrad": sdmgrad,
    "mgda update.every=10": lambda: every_few_steps(mgda_weights),
    "nash_mtl update.every=10": lambda: every_few_steps(nash_weights),
    "mgda update.at=representation": lambda: at_representation(mgda_weights),
    "mgda update.blocks=layer": lambda: by_layer(lambda rows: mgda_weights(rows) @ rows),
    "upgrad update.blocks=layer": lambda: by_layer(
        aggregator_of("upgrad", AGGREGATORS["upgrad"].options)
    ),
}
