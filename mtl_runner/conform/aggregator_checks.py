"""The laws of aggregators of gradients, each as a measurement."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_runner.conform.case import (
    TASKS,
    Case,
    Finding,
    difference,
    directions_of,
    near,
    small,
)
from mtl_runner.conform.session import Script, random_rows
from mtl_runner.conform.weighting_checks import ORDER, resumed

STEPS = 8
SOLVED = 1e-3  # of a unit vector: solvers stop at some tolerance
TINY = 1e-4


def units(directions: Tensor) -> Tensor:
    """Return directions of length 1, and 0 for one of length 0.

    Example:
        >>> units(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    lengths = directions.norm(dim=-1, keepdim=True)
    return directions / torch.where(lengths > 0, lengths, 1.0)


def tasks_of(case: Case) -> int:
    """Return with how many tasks a method is compared: two, where more would be in random order."""
    return int(case.settings.get("tasks", TASKS))


def formula(case: Case) -> Finding:
    """Compare the directions with those of our implementation, on gradients that conflict."""
    tasks = tasks_of(case)
    inputs = random_rows(STEPS, tasks)
    measured = units(directions_of(case.session(tasks).run(inputs)))
    expected = units(directions_of(case.own_session(tasks).run(inputs)))
    worst = (measured - expected).norm(dim=1).max().item()
    return small(worst, f"largest difference of {STEPS} unit vectors, {tasks} tasks:", SOLVED)


def length(case: Case) -> Finding:
    """Compare the lengths of the directions with those of our implementation."""
    tasks = tasks_of(case)
    inputs = random_rows(STEPS, tasks)
    measured = directions_of(case.session(tasks).run(inputs)).norm(dim=1)
    ratios = measured / directions_of(case.own_session(tasks).run(inputs)).norm(dim=1)
    low, high = ratios.min().item(), ratios.max().item()
    return Finding(near(low, 1, SOLVED) and near(high, 1, SOLVED), f"{low:.4g} to {high:.4g}", "1")


def no_conflict(case: Case) -> Finding:
    """Measure the smallest cosine of the direction with a gradient."""
    inputs = random_rows(STEPS, TASKS)
    directions = units(directions_of(case.session().run(inputs)))
    cosines = (units(inputs.rows) @ directions[:, :, None]).squeeze(-1)
    lowest = cosines.min().item()
    return Finding(lowest >= -SOLVED, f"smallest cosine {lowest:.3g}", "at least 0")


def pareto_point(case: Case) -> Finding:
    """Measure the direction where the gradients cancel each other, in a ratio of 1 to 3."""
    rows = torch.zeros(1, TASKS, TASKS + 2)
    rows[0, 0, 0], rows[0, 1, 0], rows[0, 2, 0] = 1.0, -3.0, 0.5
    direction = directions_of(case.session().run(inputs_of(rows)))[0]
    return small(direction.norm().item(), "its length", SOLVED)


def shortest(case: Case) -> Finding:
    """Compare g d with d d for every gradient: d is the shortest vector if none is smaller."""
    inputs = random_rows(STEPS, TASKS)
    directions = directions_of(case.session().run(inputs))
    squares = directions.square().sum(1, keepdim=True)
    products = (inputs.rows @ directions[:, :, None]).squeeze(-1)
    gap = (
        ((squares - products) / inputs.rows.norm(dim=2).square().amax(1, keepdim=True)).max().item()
    )
    return small(max(gap, 0.0), "largest d d - g d, of the longest gradient's square:", SOLVED)


def equal_cosines(case: Case) -> Finding:
    """Measure how much the cosines of the direction with the gradients differ."""
    inputs = random_rows(STEPS, TASKS)
    directions = units(directions_of(case.session().run(inputs)))
    cosines = (units(inputs.rows) @ directions[:, :, None]).squeeze(-1)
    return small((cosines.amax(1) - cosines.amin(1)).max().item(), "largest difference", SOLVED)


def bargain(case: Case) -> Finding:
    """Compare the weights a with the solution of G a = 1 / a, up to one factor."""
    inputs = random_rows(STEPS, TASKS)
    worst = 0.0
    for rows, step in zip(inputs.rows, case.session().run(inputs), strict=True):
        products = step.weights * (rows @ rows.T @ step.weights)
        worst = max(worst, (products / products.mean() - 1).abs().max().item())
    return small(worst, "largest deviation of a (G a) from its mean:", SOLVED)


def drops_signs(case: Case) -> Finding:
    """Look whether each coordinate is the sum of its positive or of its negative entries."""
    inputs = random_rows(STEPS, TASKS)
    directions = directions_of(case.session().run(inputs))
    positive, negative = inputs.rows.clamp(min=0).sum(1), inputs.rows.clamp(max=0).sum(1)
    gaps = torch.minimum((directions - positive).abs(), (directions - negative).abs())
    return small(gaps.max().item(), "largest difference to the nearer one")


def one_task(case: Case) -> Finding:
    """Measure the angle to the gradient of a single task."""
    if case.subject.fixed_count:
        return Finding(None, "the number of tasks is set")
    inputs = random_rows(3, 1)
    directions = units(directions_of(case.session(1).run(inputs)))
    return small((directions - units(inputs.rows[:, 0])).norm(dim=1).max().item(), "difference")


def order_of_rows(case: Case) -> Finding:
    """Compare the direction with that of the same gradients in another order."""
    tasks = tasks_of(case)
    order = [place for place in ORDER if place < tasks]
    inputs = random_rows(STEPS, tasks)
    plain = directions_of(case.session(tasks).run(inputs))
    permuted = directions_of(case.session(tasks).run(inputs.permuted(order)))
    return small(difference(permuted, plain), "largest difference", SOLVED)


def rotation(case: Case) -> Finding:
    """Compare the direction of rotated gradients with the rotated direction."""
    tasks = tasks_of(case)
    inputs = random_rows(STEPS, tasks)
    numbers = torch.Generator().manual_seed(5)
    size = inputs.rows.shape[2]
    turn, _ = torch.linalg.qr(torch.randn(size, size, generator=numbers))
    plain = directions_of(case.session(tasks).run(inputs)) @ turn
    turned = directions_of(case.session(tasks).run(inputs_of(inputs.rows @ turn)))
    return small(difference(turned, plain), "largest difference", SOLVED)


def small_gradients(case: Case) -> Finding:
    """Compare the direction with that of gradients ten thousand times smaller."""
    tasks = tasks_of(case)
    inputs = random_rows(STEPS, tasks)
    plain = units(directions_of(case.session(tasks).run(inputs)))
    tiny = units(directions_of(case.session(tasks).run(inputs_of(inputs.rows * TINY))))
    return small((tiny - plain).norm(dim=1).max().item(), "largest difference", SOLVED)


def homogeneous(case: Case) -> Finding:
    """Measure how much longer the direction of gradients twice as long is."""
    tasks = tasks_of(case)
    inputs = random_rows(STEPS, tasks)
    plain = directions_of(case.session(tasks).run(inputs)).norm(dim=1)
    ratios = directions_of(case.session(tasks).run(inputs_of(2 * inputs.rows))).norm(dim=1) / plain
    low, high = ratios.min().item(), ratios.max().item()
    return Finding(near(low, 2, SOLVED) and near(high, 2, SOLVED), f"{low:.4g} to {high:.4g}", "2")


def idle_task(case: Case) -> Finding:
    """Give a task a gradient of 0, as an idle one has."""
    inputs = random_rows(3, TASKS)
    inputs.rows[:, 1] = 0.0
    directions = directions_of(case.session().run(inputs))
    bad = int((~directions.isfinite()).sum())
    return Finding(bad == 0, f"{bad} of {directions.numel()} numbers are not finite", "0")


def depends_on_gradients(case: Case) -> Finding:
    """Compare the weights under equal losses with gradients of other lengths and angles."""
    first, second = (random_rows(3, TASKS, seed) for seed in (0, 1))
    weights = [
        torch.stack([step.weights for step in case.session().run(inputs)])
        for inputs in (first, second)
    ]
    change = difference(weights[1], weights[0])
    return Finding(change > 1e-6, f"the weights change by {change:.2g}", "not 0")


def resume_rows(case: Case) -> Finding:
    """Compare a session with one that goes on, in a new instance, from its saved state."""
    return resumed(case, random_rows(STEPS, TASKS), 5)


def inputs_of(rows: Tensor) -> Script:
    """Return the script of these gradients, ``[steps, T, P]``, with losses of 1."""
    losses = torch.ones(rows.shape[:2])
    return Script(rows=rows, losses=losses, after=losses)
