"""The weights that every weighting must have used in a run, computed from the log of the run.

The objectives are written from the formulas of the papers, in float64 and with a textbook Adam,
without any code of mtl-runner. A replay gets the log of a run with one step per epoch, read from
metrics.csv. It returns for each step the slopes of the objective with respect to the losses, by
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
    """The log of a run with one step per epoch.

    Attributes:
        losses: The losses that the weighting saw, before the step, ``[steps, T]``.
        active: The activity of the tasks, ``[steps, T]``.
        s: log sigma^2 (L1: log b) after the step, from the column sigma, ``[steps, T]``; NaN where
            there is none.
        norms: Norms of the gradients at the last shared weight, ``[steps, T]``.
        kinds: The kinds of the tasks.
    """

    losses: Tensor
    active: Tensor
    s: Tensor
    norms: Tensor
    kinds: Sequence[str]

    def tasks(self, step: int) -> list[int]:
        """Return the indices of the tasks that take part in a step."""
        return self.active[step].nonzero().flatten().tolist()

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.losses)


Replay = Callable[[Log], tuple[Tensor, Tensor]]
# Takes the number of a step, the tasks that take part in it, and their losses.
Objective = Callable[[int, list[int], Tensor], Tensor]


def slopes(log: Log, objective: Objective) -> tuple[Tensor, Tensor]:
    """Return the weights ``[steps, T]``, 0 for idle tasks, and the objective ``[steps]``."""
    weights, values = torch.zeros_like(log.losses), []
    for step in range(log.steps):
        tasks = log.tasks(step)
        losses = log.losses[step, tasks].requires_grad_()
        value = objective(step, tasks, losses)
        (weights[step, tasks],) = torch.autograd.grad(value, losses)
        values.append(value.detach())
    return weights, torch.stack(values)


def memoryless(formula: Callable[[Tensor], Tensor]) -> Replay:
    """Return the replay of an objective that depends on the losses of the step alone."""
    return lambda log: slopes(log, lambda step, tasks, losses: formula(losses))


class Adam:
    """Adam for a single number (Kingma & Ba, ICLR 2015, algorithm 1)."""

    def __init__(self, eps: float = 1e-8) -> None:
        self.eps = eps
        self.m = self.v = 0.0
        self.t = 0

    def change(self, gradient: float, lr: float) -> float:
        """Return by how much the next step changes the number."""
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.999 * self.v + 0.001 * gradient**2
        root = math.sqrt(self.v / (1 - 0.999**self.t))
        return -lr * (self.m / (1 - 0.9**self.t)) / (root + self.eps)


def settling(step: int, steps: int) -> float:
    """Return the factor of an annealed learning rate, which falls to 0 over the last 30 %."""
    return min(1.0, (1 - step / steps) / 0.3)


class Trained:
    """A trained number per task, each with its own Adam, so that an idle task's does not move."""

    def __init__(self, tasks: int, start: float, lr: float = 0.025, eps: float = 1e-8) -> None:
        self.numbers = torch.full((tasks,), start, dtype=torch.float64)
        self.adams = [Adam(eps) for _ in range(tasks)]
        self.lr = lr

    def of(self, tasks: list[int]) -> Tensor:
        """Return a copy of the numbers of some tasks, to be differentiated."""
        return self.numbers[tasks].requires_grad_()

    def descend(self, tasks: list[int], gradient: Tensor, factor: float = 1.0) -> None:
        """Take a step of Adam for some tasks, with a factor on the learning rate."""
        for task, slope in zip(tasks, gradient.tolist(), strict=True):
            self.numbers[task] += self.adams[task].change(slope, self.lr * factor)


def learned(
    formula: Callable[[Tensor, Tensor], Tensor], start: float, anneal: bool, eps: float = 1e-8
) -> Replay:
    """Return the replay of an objective of the losses and of one number per task.

    The numbers are trained on the same objective.

    Args:
        formula: The objective as a function of the losses and the numbers.
        start: The initial value of the numbers.
        anneal: Whether their learning rate falls to 0 at the end of the run.
        eps: The eps of their Adam.
    """

    def replay(log: Log) -> tuple[Tensor, Tensor]:
        trained = Trained(len(log.kinds), start, eps=eps)

        def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
            numbers = trained.of(tasks)
            value = formula(losses, numbers)
            (gradient,) = torch.autograd.grad(value, numbers, retain_graph=True)
            trained.descend(tasks, gradient, settling(step, log.steps) if anneal else 1.0)
            return value

        return slopes(log, objective)

    return replay


# Uncertainty weighting, whose trained numbers are in metrics.csv


KENDALL = {
    "regression": (0.5, 0.5),
    "regression_l1": (1, 1),
    "classification": (1, 0.5),
    "multilabel": (1, 0.5),
}


def uncertainty_terms(form: str, kinds: Sequence[str], losses: Tensor, s: Tensor) -> Tensor:
    """Return the terms of the objective of a form of uncertainty weighting, one per task."""
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
    """Return the s ``[T]`` at which the objective is least for given losses, by Newton's method."""
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
    """Return the s ``[T]`` that a step used, which is the one that the previous step left.

    At the first step of a task it is ``start``, or the optimum if that is None.
    """
    optimum = uncertainty_optimum(form, log.kinds, log.losses[step])
    first = optimum if start is None else torch.full_like(optimum, start)
    if not step:
        return first
    seen = (log.active[:step] > 0).any(0)
    return torch.where(seen, log.s[step - 1], first)


def uncertainty(form: str, start: float | None = None) -> Replay:
    """Return the replay of a form of uncertainty weighting, with the logged sigmas."""

    def replay(log: Log) -> tuple[Tensor, Tensor]:
        def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
            kinds = [log.kinds[t] for t in tasks]
            return uncertainty_terms(
                form, kinds, losses, s_before(form, start, log, step)[tasks]
            ).sum()

        return slopes(log, objective)

    return replay


def uncertainty_closed_form(log: Log) -> tuple[Tensor, Tensor]:
    """Replay uncertainty weighting with s at the optimum for a moving mean of the losses.

    In the mean the loss of each step counts .99 times as much as that of the next step.
    """
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
    """Replay UW-O, whose weights are 0.5 / loss for Gaussian tasks and 1 / loss for all others."""
    halves = [0.5 if kind == "regression" else 1.0 for kind in log.kinds]

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        constants = torch.tensor([halves[t] for t in tasks], dtype=torch.float64)
        return (constants * losses / log.losses[step, tasks]).sum()

    return slopes(log, objective)


# Weightings with another memory


def dwa(log: Log) -> tuple[Tensor, Tensor]:
    """Replay DWA with temperature 2.

    The rate of a task is 1 until it has taken part in two epochs.
    """
    seen: dict[int, list[float]] = {t: [] for t in range(len(log.kinds))}

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        rates = [seen[t][-1] / seen[t][-2] if len(seen[t]) > 1 else 1.0 for t in tasks]
        for t in tasks:
            seen[t].append(log.losses[step, t].item())
        exponentials = [math.exp(rate / 2) for rate in rates]
        weights = [len(tasks) * e / sum(exponentials) for e in exponentials]
        return (torch.tensor(weights, dtype=torch.float64) * losses).sum()

    return slopes(log, objective)


def cov(log: Log) -> tuple[Tensor, Tensor]:
    """Replay CoV-Weighting, with mean and variance of the whole history of every task."""
    seen: dict[int, list[float]] = {t: [] for t in range(len(log.kinds))}
    ratios: dict[int, list[float]] = {t: [] for t in range(len(log.kinds))}

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        values = torch.ones(len(tasks), dtype=torch.float64)
        if all(len(ratios[t]) > 1 for t in tasks):
            rows = [torch.tensor(ratios[t], dtype=torch.float64) for t in tasks]
            values = torch.stack([(r.var(correction=0) + 1e-8).sqrt() / r.mean() for r in rows])
        for t in tasks:
            loss = log.losses[step, t].item()
            ratios[t].append(loss / (sum(seen[t]) / len(seen[t])) if seen[t] else 1.0)
            seen[t].append(loss)
        return (values / values.sum() * losses).sum()

    return slopes(log, objective)


def softadapt(log: Log) -> tuple[Tensor, Tensor]:
    """Replay SoftAdapt with beta 0.1."""
    previous: dict[int, float] = {}

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        values = {t: log.losses[step, t].item() for t in tasks}
        changes = [values[t] - previous.get(t, values[t]) for t in tasks]
        previous.update(values)
        exponentials = [math.exp(0.1 * change) for change in changes]
        weights = [e / sum(exponentials) for e in exponentials]
        return (torch.tensor(weights, dtype=torch.float64) * losses).sum()

    return slopes(log, objective)


def relobralo(log: Log, momentum: float = 0.999, memory: float = 0.999) -> tuple[Tensor, Tensor]:
    """Replay ReLoBRaLo with temperature 1.

    A lookback is drawn at every step from a generator with the run's seed, 0.
    """
    generator = torch.Generator().manual_seed(0)
    first: dict[int, float] = {}
    previous: dict[int, float] = {}
    weight: dict[int, float] = {}

    def relative(now: list[float], bases: list[float]) -> list[float]:
        exponentials = [math.exp(loss / base) for loss, base in zip(now, bases, strict=True)]
        return [len(now) * e / sum(exponentials) for e in exponentials]

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        now = log.losses[step, tasks].tolist()
        keeps = torch.rand(1, generator=generator).item() < memory
        since_first = relative(
            now, [first.setdefault(*pair) for pair in zip(tasks, now, strict=True)]
        )
        since_last = relative(now, [previous.get(*pair) for pair in zip(tasks, now, strict=True)])
        before = [weight.get(t, 1.0) for t in tasks]
        total = sum(before)
        past = [len(tasks) * b / total for b in before] if keeps else since_first
        weights = [momentum * p + (1 - momentum) * s for p, s in zip(past, since_last, strict=True)]
        previous.update(zip(tasks, now, strict=True))
        weight.update(zip(tasks, weights, strict=True))
        return (torch.tensor(weights, dtype=torch.float64) * losses).sum()

    return slopes(log, objective)


def igb(log: Log) -> tuple[Tensor, Tensor]:
    """Replay IGBv1: the logarithms, weighed by losses relative to those of a task's second epoch.

    Until every task that takes part has been in two epochs the objective is their sum.
    """
    seen: dict[int, list[float]] = {t: [] for t in range(len(log.kinds))}

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        known = all(len(seen[t]) > 1 for t in tasks)
        gaps = [log.losses[step, t].item() / seen[t][1] if known else 0.0 for t in tasks]
        for t in tasks:
            seen[t].append(log.losses[step, t].item())
        exponentials = [math.exp(gap) for gap in gaps]
        weights = [len(tasks) * e / sum(exponentials) for e in exponentials]
        return (torch.tensor(weights, dtype=torch.float64) * torch.log(losses)).sum()

    return slopes(log, objective)


def famo(log: Log) -> tuple[Tensor, Tensor]:
    """Replay FAMO with learning rate .025 and gamma .01.

    Every step is on all rows, so the losses after a step are those before the next one.
    """
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
    """Replay GradNorm with alpha 1.5.

    The weights of the active tasks are scaled at every step, so that they sum to their number.
    """
    w = Trained(len(log.kinds), 1.0, lr)
    first: dict[int, float] = {}

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        # The lower bound is a departure from the paper.
        w.numbers[tasks] = w.numbers[tasks].clamp(min=0.001)
        w.numbers[tasks] *= len(tasks) / w.numbers[tasks].sum()
        weights = w.of(tasks)
        progress = torch.tensor(
            [
                log.losses[step, t].item() / first.setdefault(t, log.losses[step, t].item())
                for t in tasks
            ],
            dtype=torch.float64,
        )
        weighted_norms = weights * log.norms[step, tasks]
        targets = weighted_norms.mean().detach() * (progress / progress.mean()) ** 1.5
        (gradient,) = torch.autograd.grad((weighted_norms - targets).abs().sum(), weights)
        value = (weights.detach() * losses).sum()
        w.descend(tasks, gradient)
        return value

    return slopes(log, objective)


def norm_balance(log: Log, decay: float = 0.999) -> tuple[Tensor, Tensor]:
    """Replay gradient-norm balancing with equal shares and the length of the plain sum."""
    seen: dict[int, list[float]] = {t: [] for t in range(len(log.kinds))}

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        means = []
        for t in tasks:
            seen[t].append(log.norms[step, t].item())
            shares = [decay ** (len(seen[t]) - 1 - i) for i in range(len(seen[t]))]
            means.append(sum(map(math.prod, zip(shares, seen[t], strict=True))) / sum(shares))
        norms = torch.tensor(means, dtype=torch.float64)
        return (norms.mean() / norms * losses).sum()

    return slopes(log, objective)


def lra(log: Log) -> tuple[Tensor, Tensor]:
    """Replay learning-rate annealing with rate .1 and a change at every other step.

    The tasks share one number, so the norm of a gradient is its largest and its mean entry.
    """
    weights = torch.ones(len(log.kinds), dtype=torch.float64)

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        if step % 2 == 0 and 0 in tasks:
            for t in tasks:
                if t:
                    target = log.norms[step, 0] / (weights[t] * log.norms[step, t])
                    weights[t] = 0.9 * weights[t] + 0.1 * target
        return (weights[tasks] * losses).sum()

    return slopes(log, objective)


def frozen_mean(replay: Replay) -> Replay:
    """Return a replay whose weights are frozen in the middle of the run, at their moving mean.

    In the mean the weight of each step counts .99 times as much as that of the next step.
    """

    def frozen(log: Log) -> tuple[Tensor, Tensor]:
        weights, values = replay(log)
        middle = round(log.steps / 2)
        means = torch.full((len(log.kinds),), math.nan, dtype=torch.float64)
        for t in range(len(log.kinds)):
            steps = [step for step in range(middle) if log.active[step, t]]
            counts = torch.tensor([0.99 ** (len(steps) - i) for i in range(len(steps))]).double()
            if steps:
                means[t] = (counts * weights[steps, t]).sum() / counts.sum()
        means = torch.where(means.isnan(), means.nanmean(), means)
        for step in range(middle, log.steps):
            tasks = log.tasks(step)
            weights[step] = 0.0
            weights[step, tasks] = means[tasks]
            values[step] = (means[tasks] * log.losses[step, tasks]).sum()
        return weights, values

    return frozen


def random(log: Log) -> tuple[Tensor, Tensor]:
    """Replay random weights: the softmax of normal numbers, times the number of tasks.

    The numbers are drawn from a generator with the run's seed, 0.
    """
    generator = torch.Generator().manual_seed(0)

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        del step
        draws = torch.randn(len(log.kinds), generator=generator)[: len(tasks)].double()
        return (len(tasks) * torch.softmax(draws, 0) * losses).sum()

    return slopes(log, objective)


# Weightings around a preference, which here is equal for all tasks


def _preference(losses: Tensor) -> Tensor:
    return torch.full_like(losses, 1 / len(losses))


def stch(losses: Tensor) -> Tensor:
    """Return the smooth Tchebycheff objective with mu 0.1."""
    return 0.1 * torch.log(torch.exp(_preference(losses) * losses / 0.1).sum())


def stch_log_nadir(log: Log) -> tuple[Tensor, Tensor]:
    """Replay the published multi-task code of STCH, with mu .1 and a warm-up of two epochs.

    Until every task that takes part has been in two epochs the objective is the sum of the
    logarithms; the loss of a task's second epoch is its nadir.
    """
    seen: dict[int, list[float]] = {t: [] for t in range(len(log.kinds))}

    def objective(step: int, tasks: list[int], losses: Tensor) -> Tensor:
        warming_up = any(len(seen[t]) < 2 for t in tasks)
        nadirs = [1.0 if warming_up else seen[t][1] for t in tasks]
        nadir = torch.tensor(nadirs, dtype=torch.float64)
        for t in tasks:
            seen[t].append(log.losses[step, t].item())
        if warming_up:
            return torch.log(losses).sum()
        return len(tasks) * 0.1 * torch.logsumexp(torch.log(losses / nadir) / 0.1, 0)

    return slopes(log, objective)


def pbi(losses: Tensor) -> Tensor:
    """Return the penalty-based boundary intersection objective with theta 5."""
    direction = _preference(losses) / _preference(losses).norm()
    along = (losses * direction).sum()
    away = (losses - along * direction).norm()
    return along + 5.0 * away


def cosmos(losses: Tensor) -> Tensor:
    """Return the COSMOS objective with penalty 1."""
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
    "imtl_l": learned(
        lambda losses, s: (torch.exp(s) * losses - s).sum(), start=0.0, anneal=True, eps=1e-3
    ),
    "log_sum": memoryless(lambda losses: torch.log(losses.prod())),
    "db_mtl": memoryless(lambda losses: torch.log(losses.prod())),
    "geometric_mean": memoryless(lambda losses: losses.prod() ** (1 / len(losses))),
    "dwa": dwa,
    "cov": cov,
    "softadapt": softadapt,
    "relobralo": relobralo,
    "relobralo_fast": partial(relobralo, momentum=0.5, memory=0.5),
    "famo": famo,
    "igb": igb,
    "gradnorm": gradnorm,
    "gradnorm_fast": partial(gradnorm, lr=0.1),
    "lra": lra,
    "norm_balance": norm_balance,
    "norm_balance_now": partial(norm_balance, decay=0.0),
    "frozen_mean": frozen_mean(uncertainty("kendall")),
    "two_phase": frozen_mean(norm_balance),
    "random": random,
    "stch": memoryless(stch),
    "stch_log_nadir": stch_log_nadir,
    "pbi": memoryless(pbi),
    "cosmos": memoryless(cosmos),
}
