"""The laws of aggregators of gradients, each as a measurement."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_runner.conform.session import Script, random_rows
from mtl_runner.conform.trial import (
    TASKS,
    Finding,
    Trial,
    difference,
    directions_of,
    near,
    small,
)
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


def tasks_of(trial: Trial) -> int:
    """Return with how many tasks a method is compared: two, where more would be in random order."""
    return int(trial.settings.get("tasks", TASKS))


def formula(trial: Trial) -> Finding:
    """Compare the directions with those of our implementation, on gradients that conflict."""
    tasks = tasks_of(trial)
    told = random_rows(STEPS, tasks)
    found = units(directions_of(trial.session(tasks).run(told)))
    expected = units(directions_of(trial.own_session(tasks).run(told)))
    worst = (found - expected).norm(dim=1).max().item()
    return small(worst, f"largest difference of {STEPS} unit vectors, {tasks} tasks:", SOLVED)


def length(trial: Trial) -> Finding:
    """Compare the lengths of the directions with those of our implementation."""
    tasks = tasks_of(trial)
    told = random_rows(STEPS, tasks)
    found = directions_of(trial.session(tasks).run(told)).norm(dim=1)
    ratios = found / directions_of(trial.own_session(tasks).run(told)).norm(dim=1)
    low, high = ratios.min().item(), ratios.max().item()
    return Finding(near(low, 1, SOLVED) and near(high, 1, SOLVED), f"{low:.4g} to {high:.4g}", "1")


def no_conflict(trial: Trial) -> Finding:
    """Measure the smallest cosine of the direction with a gradient."""
    told = random_rows(STEPS, TASKS)
    directions = units(directions_of(trial.session().run(told)))
    cosines = (units(told.rows) @ directions[:, :, None]).squeeze(-1)
    lowest = cosines.min().item()
    return Finding(lowest >= -SOLVED, f"smallest cosine {lowest:.3g}", "at least 0")


def pareto_point(trial: Trial) -> Finding:
    """Measure the direction where the gradients cancel each other, in a ratio of 1 to 3."""
    rows = torch.zeros(1, TASKS, TASKS + 2)
    rows[0, 0, 0], rows[0, 1, 0], rows[0, 2, 0] = 1.0, -3.0, 0.5
    direction = directions_of(trial.session().run(_told(rows)))[0]
    return small(direction.norm().item(), "its length", SOLVED)


def shortest(trial: Trial) -> Finding:
    """Compare g d with d d for every gradient: d is the shortest vector if none is smaller."""
    told = random_rows(STEPS, TASKS)
    directions = directions_of(trial.session().run(told))
    squares = directions.square().sum(1, keepdim=True)
    products = (told.rows @ directions[:, :, None]).squeeze(-1)
    gap = ((squares - products) / told.rows.norm(dim=2).square().amax(1, keepdim=True)).max().item()
    return small(max(gap, 0.0), "largest d d - g d, of the longest gradient's square:", SOLVED)


def equal_cosines(trial: Trial) -> Finding:
    """Measure how much the cosines of the direction with the gradients differ."""
    told = random_rows(STEPS, TASKS)
    directions = units(directions_of(trial.session().run(told)))
    cosines = (units(told.rows) @ directions[:, :, None]).squeeze(-1)
    return small((cosines.amax(1) - cosines.amin(1)).max().item(), "largest difference", SOLVED)


def bargain(trial: Trial) -> Finding:
    """Compare the weights a with the solution of G a = 1 / a, up to one factor."""
    told = random_rows(STEPS, TASKS)
    worst = 0.0
    for rows, step in zip(told.rows, trial.session().run(told), strict=True):
        products = step.weights * (rows @ rows.T @ step.weights)
        worst = max(worst, (products / products.mean() - 1).abs().max().item())
    return small(worst, "largest deviation of a (G a) from its mean:", SOLVED)


def drops_signs(trial: Trial) -> Finding:
    """Look whether each coordinate is the sum of its positive or of its negative entries."""
    told = random_rows(STEPS, TASKS)
    directions = directions_of(trial.session().run(told))
    positive, negative = told.rows.clamp(min=0).sum(1), told.rows.clamp(max=0).sum(1)
    gaps = torch.minimum((directions - positive).abs(), (directions - negative).abs())
    return small(gaps.max().item(), "largest difference to the nearer one")


def one_task(trial: Trial) -> Finding:
    """Measure the angle to the gradient of a single task."""
    if trial.subject.fixed_count:
        return Finding(None, "the number of tasks is set")
    told = random_rows(3, 1)
    directions = units(directions_of(trial.session(1).run(told)))
    return small((directions - units(told.rows[:, 0])).norm(dim=1).max().item(), "difference")


def order_of_rows(trial: Trial) -> Finding:
    """Compare the direction with that of the same gradients in another order."""
    tasks = tasks_of(trial)
    order = [place for place in ORDER if place < tasks]
    told = random_rows(STEPS, tasks)
    plain = directions_of(trial.session(tasks).run(told))
    permuted = directions_of(trial.session(tasks).run(told.permuted(order)))
    return small(difference(permuted, plain), "largest difference", SOLVED)


def rotation(trial: Trial) -> Finding:
    """Compare the direction of rotated gradients with the rotated direction."""
    tasks = tasks_of(trial)
    told = random_rows(STEPS, tasks)
    numbers = torch.Generator().manual_seed(5)
    size = told.rows.shape[2]
    turn, _ = torch.linalg.qr(torch.randn(size, size, generator=numbers))
    plain = directions_of(trial.session(tasks).run(told)) @ turn
    turned = directions_of(trial.session(tasks).run(_told(told.rows @ turn)))
    return small(difference(turned, plain), "largest difference", SOLVED)


def small_gradients(trial: Trial) -> Finding:
    """Compare the direction with that of gradients ten thousand times smaller."""
    tasks = tasks_of(trial)
    told = random_rows(STEPS, tasks)
    plain = units(directions_of(trial.session(tasks).run(told)))
    tiny = units(directions_of(trial.session(tasks).run(_told(told.rows * TINY))))
    return small((tiny - plain).norm(dim=1).max().item(), "largest difference", SOLVED)


def homogeneous(trial: Trial) -> Finding:
    """Measure how much longer the direction of gradients twice as long is."""
    tasks = tasks_of(trial)
    told = random_rows(STEPS, tasks)
    plain = directions_of(trial.session(tasks).run(told)).norm(dim=1)
    ratios = directions_of(trial.session(tasks).run(_told(2 * told.rows))).norm(dim=1) / plain
    low, high = ratios.min().item(), ratios.max().item()
    return Finding(near(low, 2, SOLVED) and near(high, 2, SOLVED), f"{low:.4g} to {high:.4g}", "2")


def idle_task(trial: Trial) -> Finding:
    """Give a task a gradient of 0, as an idle one has."""
    told = random_rows(3, TASKS)
    told.rows[:, 1] = 0.0
    directions = directions_of(trial.session().run(told))
    bad = int((~directions.isfinite()).sum())
    return Finding(bad == 0, f"{bad} of {directions.numel()} numbers are not finite", "0")


def depends_on_gradients(trial: Trial) -> Finding:
    """Compare the weights under equal losses with gradients of other lengths and angles."""
    first, second = (random_rows(3, TASKS, seed) for seed in (0, 1))
    weights = [
        torch.stack([step.weights for step in trial.session().run(told)])
        for told in (first, second)
    ]
    change = difference(weights[1], weights[0])
    return Finding(change > 1e-6, f"the weights change by {change:.2g}", "not 0")


def resume_rows(trial: Trial) -> Finding:
    """Compare a session with one that goes on, in a new instance, from its saved state."""
    return resumed(trial, random_rows(STEPS, TASKS), 5)


def _told(rows: Tensor) -> Script:
    losses = torch.ones(rows.shape[:2])
    return Script(rows=rows, losses=losses, after=losses)
