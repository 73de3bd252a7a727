"""The laws of weightings of losses, each as a measurement."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mtl_runner.conform.case import (
    EXACT,
    TASKS,
    Case,
    Finding,
    difference,
    directions_of,
    listed,
    near,
    seed_all,
    small,
    weights_of,
)
from mtl_runner.conform.session import LR, Script, Session, random_script, script

STEPS, EPOCH = 12, 3
ROUNDING = 1e-12
ORDER = (2, 0, 1)
SCALES = torch.tensor([8.0, 1.0, 1.0])


def shares(contributions: Tensor) -> Tensor:
    """Return the shares of the tasks in every step, which sum to 1, ``[steps, T]``.

    Example:
        >>> shares(torch.tensor([[1.0, 3.0]]))
        tensor([[0.2500, 0.7500]])
    """
    return contributions / contributions.sum(-1, keepdim=True)


def balance(case: Case) -> Finding:
    """Compare the shares of the weights with those of our implementation, step by step."""
    inputs = random_script(STEPS, TASKS)
    measured = shares(weights_of(case.session().run(inputs, EPOCH)))
    expected = shares(weights_of(case.own_session().run(inputs, EPOCH)))
    return small(difference(measured, expected), f"largest difference in {STEPS} steps", 1e-4)


def objective(case: Case) -> Finding:
    """Compare the objective over the sum of the weights with that of our implementation."""
    inputs = random_script(STEPS, TASKS)
    values = []
    for session in (case.session(), case.own_session()):
        steps = session.run(inputs, EPOCH)
        values.append(torch.tensor([s.objective for s in steps]) / weights_of(steps).sum(1))
    if not values[0].isfinite().all():
        return Finding(None, "it gives no objective")
    return small(difference(*values), f"largest difference in {STEPS} steps", 1e-4)


def total(case: Case) -> Finding:
    """Measure the sum of the weights in every step; ``settings`` say what it should be."""
    sums = weights_of(case.session().run(random_script(STEPS, TASKS), EPOCH)).sum(1)
    expected = case.settings["total"] or TASKS
    low, high = sums.min().item(), sums.max().item()
    holds = near(low, expected, 1e-4) and near(high, expected, 1e-4)
    return Finding(holds, f"{low:.4g} to {high:.4g}", f"{expected:g}")


def not_negative(case: Case) -> Finding:
    """Measure the smallest weight of a session."""
    weights = weights_of(case.session().run(random_script(STEPS, TASKS), EPOCH))
    lowest = weights.min().item()
    return Finding(lowest >= -EXACT, f"smallest weight {lowest:.3g}", "at least 0")


def equal_tasks(case: Case) -> Finding:
    """Measure how far equal tasks are from equal weights."""
    losses = random_script(STEPS, 1).losses.expand(STEPS, TASKS)
    weights = shares(weights_of(case.session().run(script(losses), EPOCH)))
    return small((weights * TASKS - 1).abs().max().item(), "largest deviation")


def order_of_tasks(case: Case) -> Finding:
    """Compare the weights with those of a session whose tasks stand in another order."""
    inputs = random_script(STEPS, TASKS)
    plain = weights_of(case.session().run(inputs, EPOCH))
    permuted = weights_of(case.session().run(inputs.permuted(ORDER), EPOCH))
    return small(difference(permuted, plain[:, list(ORDER)]), "largest difference")


def solved_task(case: Case) -> Finding:
    """Train on a while after a task has a loss and a gradient of 0, as an idle task has."""
    session = case.session()
    inputs = random_script(6, TASKS)
    inputs.losses[2:, 1], inputs.rows[2:, 1], inputs.after[2:, 1] = 0.0, 0.0, 0.0
    steps = session.run(inputs, EPOCH)
    numbers = torch.cat(
        [directions_of(steps).flatten(), *(p.flatten() for p in session.parameters)]
    )
    bad = int((~numbers.isfinite()).sum())
    return Finding(bad == 0, f"{bad} of {numbers.numel()} numbers are not finite", "0")


def resume(case: Case) -> Finding:
    """Compare a session with one that goes on, in a new instance, from its saved state."""
    return resumed(case, random_script(STEPS, TASKS), 7)


def resumed(case: Case, inputs: Script, at: int) -> Finding:
    """Compare how a session goes on with how a new one goes on from its state.

    Args:
        case: The case.
        inputs: The script of all steps.
        at: Number of steps before the state is saved.
    """

    def started() -> Session:
        session = case.session()
        session.run(inputs.part(0, at), EPOCH)
        return session

    def rest_of(session: Session) -> Tensor:
        seed_all(1)
        return directions_of(session.run(inputs.part(at), EPOCH))

    going_on = rest_of(started())
    if difference(rest_of(case.session()), going_on) <= ROUNDING:
        return Finding(None, "it remembers nothing from step to step")
    resumed_session = case.session()
    resumed_session.restore(started().state())
    return small(difference(rest_of(resumed_session), going_on), "largest difference to going on")


def ranks(case: Case) -> Finding:
    """Compare two processes, each with half of a batch, with one that has the whole batch.

    The processes call the object with the losses of their own halves, and average the gradients of
    model and object, as ``DistributedDataParallel`` does.
    """
    if case.interface.averages_ranks:
        return Finding(None, "mtl-runner averages the losses over the processes before the call")
    first, second = (random_script(6, TASKS, seed) for seed in (0, 1))
    halves, single = [case.session(), case.session()], case.session()
    largest = 0.0
    for index in range(6):
        losses = [first.losses[index], second.losses[index]]
        rows = [first.rows[index], second.rows[index]]
        mean = (losses[0] + losses[1]) / 2
        steps = [half.compute(losses[i], rows[i]) for i, half in enumerate(halves)]
        expected = single.compute(mean, (rows[0] + rows[1]) / 2).direction
        for pair in zip(*(half.parameters for half in halves), strict=True):
            gradients = [p.grad for p in pair if p.grad is not None]
            for parameter in pair if gradients else ():
                parameter.grad = torch.stack(gradients).mean(0)
        measured = torch.stack([step.direction for step in steps]).mean(0)
        largest = max(largest, difference(measured, expected))
        for session, values in zip((*halves, single), (*losses, mean), strict=True):
            session.advance(values, 0.9 * values)
    return small(largest, "largest difference to one process")


def weights_without_scale(case: Case) -> Finding:
    """Compare the weights with those of a session in which one loss is 8 times as large."""
    inputs = random_script(STEPS, TASKS)
    plain = weights_of(case.session().run(inputs, EPOCH))
    scaled = weights_of(case.session().run(inputs.scaled(SCALES), EPOCH))
    return small(difference(scaled, plain), "largest difference")


def shares_without_scale(case: Case) -> Finding:
    """Compare the shares of w L with those of a session in which one loss is 8 times as large."""
    inputs = random_script(STEPS, TASKS)
    bigger = inputs.scaled(SCALES)
    plain = shares(weights_of(case.session().run(inputs, EPOCH)) * inputs.losses)
    scaled = shares(weights_of(case.session().run(bigger, EPOCH)) * bigger.losses)
    return small(difference(scaled, plain), "largest difference", 1e-4)


def settle(session: Session, losses: Tensor, steps: int, rate: float) -> Tensor:
    """Return the weights after steps with constant losses, whose learning rate falls to 0.

    Args:
        session: The session.
        losses: The losses, shape ``[T]``; they are the norms of the gradients, too.
        steps: Number of steps.
        rate: The initial rate of the session's Adam.
    """
    inputs = script(losses.expand(1, len(losses)))
    session.begin_epoch()
    for step in range(steps):
        if session.optimizer is not None:
            fraction = step / steps
            (group,) = session.optimizer.param_groups
            # Adam's second moment would remember the first gradients for a thousand steps.
            group["betas"] = (0.9, 0.9)
            group["lr"] = rate * (1 + math.cos(math.pi * fraction)) / 2
        session.compute(inputs.losses[0], inputs.rows[0])
        session.advance(inputs.losses[0], inputs.losses[0])
    return session.compute(inputs.losses[0], inputs.rows[0]).weights


def stationary(case: Case) -> Finding:
    """Train the object's own parameters to their optimum for constant losses, and measure w L."""
    losses = torch.tensor([0.02, 1.0, 50.0])
    products = settle(case.session(), losses, 300, 0.1) * losses
    spread = (products.max() / products.min()).item()
    holds = near(spread, 1.0, 0.02) and bool((products > 0).all())
    return Finding(holds, f"w L = {listed(products)} for L = {listed(losses)}", "equal numbers")


def own_term(case: Case) -> Finding:
    """Compare what the objective holds beside w L with -b log w, while the parameters move."""
    session = case.session()
    inputs = random_script(60, TASKS, seed=2)
    session.begin_epoch()
    rests, logs = [], []
    for index in range(len(inputs)):
        step = session.compute(inputs.losses[index], inputs.rows[index])
        if not math.isfinite(step.objective):
            return Finding(None, "it gives no objective")
        rests.append(step.objective - torch.dot(step.weights, inputs.losses[index]).item())
        logs.append(step.weights.clamp(min=1e-300).log().sum().item())
        session.advance(inputs.losses[index], inputs.after[index])
    x = torch.tensor(logs)
    y = torch.tensor(rests)
    x, y = x - x.mean(), y - y.mean()
    if x.abs().max() < 1e-6:
        return Finding(
            False, f"the weights do not move in 60 steps of Adam with rate {LR}", "-b log w"
        )
    slope = (torch.dot(x, y) / torch.dot(x, x)).item()
    residual = ((y - slope * x).abs().max() / y.abs().max().clamp(min=1e-300)).item()
    holds = residual <= 1e-4 and slope < 0
    return Finding(holds, f"{slope:.3g} log w, to {residual:.1g}", "-b log w with b > 0")


def equal_progress(case: Case) -> Finding:
    """Let every loss fall to 0.9 of itself on its own batch, while batches get easier for one task.

    Who compares a batch with the one before it sees that task progress, and the others not. Adam
    turns rounding into small steps, hence the tolerance.
    """
    losses = torch.ones(40, TASKS)
    losses[:, 0] = 2 * 0.9 ** torch.arange(40)
    steps = case.session().run(script(losses, after=0.9 * losses))
    share = shares(weights_of(steps) * losses)[-1, 0].item()
    return Finding(
        near(share, 1 / TASKS, 0.1), f"share of that task {share:.3f}", f"{1 / TASKS:.3f}"
    )


def progress(case: Case) -> Finding:
    """Let one loss fall faster than the others on every batch."""
    losses = torch.ones(20, TASKS)
    after = losses * torch.tensor([0.5, 1.0, 1.0])
    weights = shares(weights_of(case.session().run(script(losses, after=after))))
    share = weights[-1, 0].item()
    return Finding(share < 1 / TASKS - 1e-3, f"its share {share:.3f}", f"below {1 / TASKS:.3f}")


def reads_gradients(case: Case) -> Finding:
    """Compare two sessions with the same losses and gradients of other lengths."""
    losses = random_script(STEPS, TASKS).losses
    results = [
        weights_of(case.session().run(script(losses, torch.tensor(norms)), EPOCH))
        for norms in ([1.0, 1.0, 1.0], [4.0, 1.0, 0.25])
    ]
    change = difference(results[1], results[0])
    return Finding(change > 1e-6, f"the weights change by {change:.2g}", "not 0")


def slow_task(case: Case) -> Finding:
    """Let two of three losses fall to half at once, with gradients of equal length."""
    losses = torch.ones(40, TASKS)
    losses[1:, 1:] = 0.5
    weights = weights_of(case.session().run(script(losses, torch.ones(TASKS))))
    share, start = (shares(weights)[place, 0].item() for place in (-1, 0))
    return Finding(
        share > start + 1e-6, f"share of the slow task {start:.3f}, then {share:.3f}", "rises"
    )


def large_gradient(case: Case) -> Finding:
    """Let one gradient be longer than the others, with equal rates."""
    weights = weights_of(
        case.session().run(script(torch.ones(40, TASKS), torch.tensor([4.0, 1.0, 1.0])))
    )
    share, start = (shares(weights)[place, 0].item() for place in (-1, 0))
    return Finding(share < start - 1e-6, f"its share {start:.3f}, then {share:.3f}", "falls")


def balanced_norms(case: Case) -> Finding:
    """Run until the weights have settled, and compare w n with the targets r^alpha."""
    alpha = case.settings["alpha"]
    norms = torch.tensor([2.0, 1.0, 0.5])
    losses = torch.ones(1000, TASKS)
    losses[1:] = torch.tensor([1.0, 0.8, 0.6])
    steps = case.session().run(script(losses, norms))
    products = weights_of(steps)[-200:].mean(0) * norms
    rates = losses[-1] / losses[-1].mean()
    targets = rates**alpha
    measured, expected = products / products.mean(), targets
    error = difference(measured, expected)
    return Finding(
        error <= 0.05, f"w n / mean = {listed(measured)}", f"{listed(expected)} = r^{alpha:g}"
    )
