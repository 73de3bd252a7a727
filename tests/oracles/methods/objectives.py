"""What the weights of every weighting must have been, given what its run logged.

Written from the formulas of the papers, in float64 and with a textbook Adam; nothing of ours takes part. A replay gets what
metrics.csv says of a run with one step per epoch and returns, for each step, the slope of the objective with respect to the losses, by
autograd, and the objective itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor


@dataclass(frozen=True)
class Log:
    """A run: tables ``[steps, T]``, and the kinds of the tasks."""

    losses: Tensor  # that the weighting saw, before the step
    active: Tensor
    s: Tensor  # log sigma^2 (L1: log b) after the step, from the column sigma; NaN where there is none
    norms: Tensor  # of the gradients at the last shared weight
    kinds: Sequence[str]

    def tasks(self, step: int) -> list[int]:
        """Who takes part in a step."""
        return self.active[step].nonzero().flatten().tolist()

    @property
    def steps(self) -> int:
        return len(self.losses)


Replay = Callable[[Log], tuple[Tensor, Tensor]]
Objective = Callable[
    [int, list[int], Tensor], Tensor
]  # of a step, the tasks that take part in it and their losses


def slopes(log: Log, objective: Objective) -> tuple[Tensor, Tensor]:
    """The weights ``[steps, T]``, 0 for idle tasks, and the objective ``[steps]``."""
    weights, values = torch.zeros_like(log.losses), []
    for step in range(log.steps):
        tasks = log.tasks(step)
        losses = log.losses[step, tasks].requires_grad_()
        value = objective(step, tasks, losses)
        (weights[step, tasks],) = torch.autograd.grad(value, losses)
        values.append(value.detach())
    return weights, torch.stack(values)


def memoryless(formula: Callable[[Tensor], Tensor]) -> Replay:
    """An objective of the losses alone."""
    return lambda log: slopes(log, lambda step, tasks, losses: formula(losses))


class Adam:
    """Kingma & Ba, algorithm 1, for one number."""

    def __init__(self) -> None:
        self.m = self.v = 0.0
        self.t = 0

    def change(self, gradient: float, lr: float) -> float:
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.999 * self.v + 0.001 * gradient**2
        return -lr * (self.m / (1 - 0.9**self.t)) / (math.sqrt(self.v / (1 - 0.999**self.t)) + 1e-8)


def settling(step: int, steps: int) -> float:
    """The factor of an annealed learning rate: it falls to 0 over the last 30 % of the run."""
    return min(1.0, (1 - step / steps) / 0.3)


class Trained:
    """One number per task with an Adam of its own, so that an idle task's does not move."""

    def __init__(self, tasks: int, start: float, lr: float = 0.025) -> None:
        self.numbers = torch.full((tasks,), start, dtype=torch.float64)
        self.adams = [Adam() for _ in range(tasks)]
        self.lr = lr

    def of(self, tasks: list[int]) -> Tensor:
        return self.numbers[tasks].requires_grad_()

    def descend(self, tasks: list[int], gradient: Tensor, factor: float = 1.0) -> None:
        for task, slope in zip(tasks, gradient.tolist(), strict=True):
            self.numbers[task] += self.adams[task].change(slope, self.lr * factor)


def learned(formula: Callable[[Tensor, Tensor], Tensor], start: float, anneal: bool) -> Replay:
    """An objective of the losses and one trained number per task, which the same objective trains."""

    def replay(log: Log) -> tuple[Tensor, Tensor]:
        numbers = Trained(len(log.kinds), start)

        def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
            own = numbers.of(tasks)
            value = formula(losses, own)
            (gradient,) = torch.autograd.grad(value, own, retain_graph=True)
            numbers.descend(tasks, gradient, settling(step, log.steps) if anneal else 1.0)
            return value

        return slopes(log, objective)

    return replay


# Uncertainty: the trained numbers stand in metrics.csv


KENDALL = {
    "regression": (0.5, 0.5),
    "regression_l1": (1, 1),
    "classification": (1, 0.5),
    "multilabel": (1, 0.5),
}


def uncertainty_terms(form: str, kinds: Sequence[str], losses: Tensor, s: Tensor) -> Tensor:
    """The terms of the objective, one per task."""
    if form == "liebel":
        return 0.5 * torch.exp(-s) * losses + torch.log(1 + torch.exp(s))
    pairs = {
        "simplified": [(1.0, 1.0)] * len(kinds),
        "jde": [(0.5, 0.5)] * len(kinds),
        "kendall": [KENDALL[k] for k in kinds],
    }
    a, b = torch.tensor(pairs[form], dtype=torch.float64).T
    return a * torch.exp(-s) * losses + b * s


def uncertainty_optimum(form: str, kinds: Sequence[str], losses: Tensor) -> Tensor:
    """The minimum over s for given losses, by Newton's method."""
    s = torch.zeros_like(losses)
    for _ in range(100):
        s = s.detach().requires_grad_()
        (slope,) = torch.autograd.grad(
            uncertainty_terms(form, kinds, losses, s).sum(), s, create_graph=True
        )
        (curvature,) = torch.autograd.grad(slope.sum(), s)
        s = s - (slope / curvature).clamp(-1, 1)
    return s.detach()


def s_before(form: str, start: float | None, log: Log, step: int) -> Tensor:
    """The s ``[T]`` that a step used: what the step before it left, at a task's first step the start (None: the optimum)."""
    optimum = uncertainty_optimum(form, log.kinds, log.losses[step])
    first = optimum if start is None else torch.full_like(optimum, start)
    if not step:
        return first
    seen = (log.active[:step] > 0).any(0)
    return torch.where(seen, log.s[step - 1], first)


def uncertainty(form: str, start: float | None = None) -> Replay:
    def replay(log: Log) -> tuple[Tensor, Tensor]:
        def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
            kinds = [log.kinds[t] for t in tasks]
            return uncertainty_terms(
                form, kinds, losses, s_before(form, start, log, step)[tasks]
            ).sum()

        return slopes(log, objective)

    return replay


def uncertainty_closed_form(log: Log) -> tuple[Tensor, Tensor]:
    """s at the optimum for the mean of the losses so far, each step's counting .99 as much as the next one's."""
    seen: dict[int, list[float]] = {}

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        del step
        means = []
        for task, loss in zip(tasks, losses.tolist(), strict=True):
            history = seen.setdefault(task, [])
            history.append(loss)
            shares = [0.99 ** (len(history) - 1 - i) for i in range(len(history))]
            means.append(sum(map(math.prod, zip(shares, history, strict=True))) / sum(shares))
        kinds = [log.kinds[t] for t in tasks]
        s = uncertainty_optimum("kendall", kinds, torch.tensor(means, dtype=torch.float64))
        return uncertainty_terms("kendall", kinds, losses, s).sum()

    return slopes(log, objective)


def uncertainty_analytic(log: Log) -> tuple[Tensor, Tensor]:
    """UW-O: one half over the loss for Gaussian tasks, one over it for all others."""
    halves = [0.5 if kind == "regression" else 1.0 for kind in log.kinds]

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        constants = torch.tensor([halves[t] for t in tasks], dtype=torch.float64)
        return (constants * losses / log.losses[step, tasks]).sum()

    return slopes(log, objective)


# Those with a memory of their own


def dwa(log: Log) -> tuple[Tensor, Tensor]:
    """Temperature 2; the rate of a task is 1 until it has taken part in two epochs."""
    seen: dict[int, list[float]] = {t: [] for t in range(len(log.kinds))}

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        rates = [seen[t][-1] / seen[t][-2] if len(seen[t]) > 1 else 1.0 for t in tasks]
        for t in tasks:
            seen[t].append(log.losses[step, t].item())
        exponentials = [math.exp(rate / 2) for rate in rates]
        weights = [len(tasks) * e / sum(exponentials) for e in exponentials]
        return (torch.tensor(weights, dtype=torch.float64) * losses).sum()

    return slopes(log, objective)


def famo(log: Log) -> tuple[Tensor, Tensor]:
    """With all rows in every step, the losses after a step are those before the next one. lr .025, gamma .01."""
    xi = Trained(len(log.kinds), 0.0)

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        logits = xi.of(tasks)
        z = torch.softmax(logits, 0)
        if step + 1 < log.steps:
            fallen = torch.log(log.losses[step, tasks]) - torch.log(log.losses[step + 1, tasks])
            (gradient,) = torch.autograd.grad(
                (z * fallen).sum() + 0.01 / 2 * logits.square().sum(), logits, retain_graph=True
            )
            xi.descend(tasks, gradient)
        z = z.detach()
        c = 1 / (z / losses.detach()).sum()
        return c * (z * torch.log(losses)).sum()

    return slopes(log, objective)


def gradnorm(log: Log, lr: float = 0.025) -> tuple[Tensor, Tensor]:
    """alpha 1.5; the weights of those that take part are scaled to sum to their number at every step."""
    w = Trained(len(log.kinds), 1.0, lr)
    first: dict[int, float] = {}

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        w.numbers[tasks] = w.numbers[tasks].clamp(min=0.001)  # where ours departs from the paper
        w.numbers[tasks] *= len(tasks) / w.numbers[tasks].sum()
        own = w.of(tasks)
        progress = torch.tensor(
            [
                log.losses[step, t].item() / first.setdefault(t, log.losses[step, t].item())
                for t in tasks
            ],
            dtype=torch.float64,
        )
        pulls = own * log.norms[step, tasks]
        targets = pulls.mean().detach() * (progress / progress.mean()) ** 1.5
        (gradient,) = torch.autograd.grad((pulls - targets).abs().sum(), own)
        value = (own.detach() * losses).sum()
        w.descend(tasks, gradient)
        return value

    return slopes(log, objective)


def random(log: Log) -> tuple[Tensor, Tensor]:
    """The softmax of normal numbers, times the number of tasks, from a generator with the run's seed (0)."""
    generator = torch.Generator().manual_seed(0)

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        del step
        draws = torch.randn(len(log.kinds), generator=generator)[: len(tasks)].double()
        return (len(tasks) * torch.softmax(draws, 0) * losses).sum()

    return slopes(log, objective)


# Around a preference, which is equal for all tasks


def _preference(losses: Tensor) -> Tensor:
    return torch.full_like(losses, 1 / len(losses))


def stch(losses: Tensor) -> Tensor:
    return 0.1 * torch.log(torch.exp(_preference(losses) * losses / 0.1).sum())


def pbi(losses: Tensor) -> Tensor:
    direction = _preference(losses) / _preference(losses).norm()
    along = (losses * direction).sum()
    away = (losses - along * direction).norm()
    return along + 5.0 * away


def cosmos(losses: Tensor) -> Tensor:
    preference = _preference(losses)
    cosine = (losses * preference).sum() / (losses.norm() * preference.norm())
    return (preference * losses).sum() - 1.0 * cosine


fixed = memoryless(lambda losses: losses.sum())

REPLAYS: dict[str, Replay] = {
    "uncertainty": uncertainty("kendall"),
    "jacobian_weighted": uncertainty("kendall"),
    "per_task_sgd_weighted": uncertainty("kendall"),
    "uncertainty_simplified": uncertainty("simplified", start=0.0),
    "uncertainty_jde": uncertainty("jde"),
    "uncertainty_liebel": uncertainty("liebel"),
    "uncertainty_closed_form": uncertainty_closed_form,
    "uncertainty_analytic": uncertainty_analytic,
    "uncertainty_softmax": memoryless(
        lambda losses: (torch.softmax(1 / losses.detach(), 0) * losses).sum()
    ),
    "learned": learned(
        lambda losses, a: (torch.softmax(a, 0) * losses).sum(), start=0.0, anneal=False
    ),
    "learned_exp": learned(
        lambda losses, a: (torch.exp(a) * losses).sum(), start=0.0, anneal=False
    ),
    "imtl_l": learned(lambda losses, s: (torch.exp(s) * losses - s).sum(), start=0.0, anneal=True),
    "log_sum": memoryless(lambda losses: torch.log(losses.prod())),
    "geometric_mean": memoryless(lambda losses: losses.prod() ** (1 / len(losses))),
    "dwa": dwa,
    "famo": famo,
    "gradnorm": gradnorm,
    "gradnorm_fast": partial(gradnorm, lr=0.1),
    "random": random,
    "stch": memoryless(stch),
    "pbi": memoryless(pbi),
    "cosmos": memoryless(cosmos),
}
