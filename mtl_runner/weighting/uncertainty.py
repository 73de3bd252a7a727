"""Uncertainty weighting: each task's loss is divided by a learned noise variance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import choice, flag, fraction, learning_rate, per_task
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.noise import log_variances, sigma_of
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY, Derivatives, Weighting

FORMS = ("kendall", "simplified", "jde", "liebel")


class Uncertainty(Weighting):
    r"""Weigh each loss by a learned homoscedastic uncertainty (Kendall, Gal & Cipolla, CVPR 2018, eq. 7 and 10).

    .. math:: \sum_t a_t e^{-s_t} L_t + b_t s_t, \qquad s_t = \log\sigma_t^2 \quad (\text{L1: } s_t = \log b)

    At the optimum :math:`e^{s_t} = a_t L_t / b_t`, so the weight is :math:`b_t / L_t`: only ``b`` changes the balance, ``a``
    renames sigma. ``liebel`` (Liebel & Koerner 2018) is :math:`\tfrac12 e^{-s}L + \log(1+e^s)`.

    Departs from the paper: :math:`s` has its own learning rate (the network's leaves it unconverged for thousands of steps),
    which falls to 0 over the last 30 % of the run so that :math:`s` settles instead of following single batches, and no decay.

    Args:
        tasks: the tasks, in the order of the losses.
        form: the constants ``(a, b)`` per kind of task: ``kendall`` (regression 1/2, 1/2; L1 1, 1; classification and
            multilabel 1, 1/2), ``simplified`` (1, 1), ``jde`` (1/2, 1/2), or ``liebel``.
        solver: ``gradient``, or ``closed_form``: :math:`s_t = \log(a_t \bar L_t / b_t)` of a running mean of the loss.
        init: initial :math:`s_t`: a number, ``{task: number}``, or ``log_loss``, the optimum of a task's first batch.
        lr: for the log-variances only (Adam); None: the model's optimizer and its settings, without weight decay.
        anneal: whether ``lr`` falls to 0 over the last 30 % of the run.
        frozen: ``{task: sigma}`` keeps a sigma (in the target's units) fixed; one number: all of them.
        momentum: of the closed form's running mean.

    Shape: losses ``[k]`` -> scalar. Raises ``ConfigError`` for an unknown form, solver or task.
    """

    negative_losses = "weighs more and more without bound"
    replica_options: tuple[str, ...] | None = ("init", "frozen", "lr")
    a: Tensor
    log_a: Tensor
    b: Tensor
    running: Tensor
    mass: Tensor

    def __init__(
        self,
        tasks: Sequence[Task],
        form: str = "kendall",
        solver: str = "gradient",
        init: Any = "log_loss",
        lr: float | None = 0.025,
        anneal: bool = True,
        frozen: Any = None,
        momentum: float = 0.99,
    ) -> None:
        super().__init__(tasks)
        if form not in FORMS:
            raise ConfigError(f"weighting.form={form!r} is unknown; {suggest(form, FORMS)}.")
        choice(solver, "weighting.solver", ("gradient", "closed_form"))
        if isinstance(init, str) and init != "log_loss":
            raise ConfigError(
                f"weighting.init={init!r} is unknown; give a number, {{task: number}} or log_loss."
            )
        fraction(momentum, "weighting.momentum", one=False)
        self.form, self.solver, self.anneal, self.momentum = (
            form,
            solver,
            flag(anneal, "weighting.anneal"),
            momentum,
        )
        self.lr = learning_rate(lr, "weighting.lr")
        constants = [_constants(form, task) for task in tasks]
        dtype = torch.get_default_dtype()
        self.register_buffer("a", torch.tensor([a for a, _ in constants], dtype=dtype))
        self.register_buffer("log_a", self.a.log(), persistent=False)
        self.register_buffer("b", torch.tensor([b for _, b in constants], dtype=dtype))
        start = (
            [0.0] * len(self.tasks)
            if isinstance(init, str)
            else per_task(init, tasks, 0.0, "weighting.init")
        )
        self.log_variance = log_variances(tasks, start, frozen, "weighting.frozen")
        self._free = [i for i, s in enumerate(self.log_variance) if s.requires_grad]
        self._waiting = {
            i for i in self._free if init == "log_loss"
        }  # tasks whose first batch sets s
        if solver == "closed_form":
            self.register_buffer("running", torch.zeros(len(self.tasks), dtype=dtype))
            self.register_buffer("mass", torch.zeros(len(self.tasks), dtype=dtype))
        if solver == "closed_form":
            self.replica_options = None  # its running mean is state of every step
            self.log_variance.requires_grad_(False)
            self._waiting.clear()

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        s = torch.stack(self._active(self.log_variance, active))
        index = None if active is None else active.index(losses.device)
        log_a, b = (self.log_a, self.b) if index is None else (self.log_a[index], self.b[index])
        fit = torch.dot(torch.exp(log_a - s), losses)  # a e^-s L, in fewer operations
        return fit + (nn.functional.softplus(s).sum() if self.form == "liebel" else torch.dot(b, s))

    @torch.no_grad()
    def derivatives(self, losses: Tensor, active: Active | None = None) -> Derivatives:
        """The weights are :math:`a e^{-s}`, the slopes of s :math:`b - a e^{-s} L`: a tenth of a small model's step quicker than autograd."""
        parameters: list[Any] = self._active(self.log_variance, active)
        s = torch.stack(parameters)
        index = None if active is None else active.index(losses.device)
        log_a, b = (self.log_a, self.b) if index is None else (self.log_a[index], self.b[index])
        weights = torch.exp(log_a - s)
        fit = weights * losses
        if self.form == "liebel":
            objective, slopes = (
                torch.dot(weights, losses) + nn.functional.softplus(s).sum(),
                torch.sigmoid(s) - fit,
            )
        else:
            objective, slopes = torch.dot(weights, losses) + torch.dot(b, s), b - fit
        if not self._free or self.solver == "closed_form":
            return objective, weights, ()
        return (
            objective,
            weights,
            [
                pair
                for pair in zip(parameters, slopes.unbind(), strict=True)
                if pair[0].requires_grad
            ],
        )

    def prepare(self, losses: Tensor, active: Active | None = None) -> None:
        """``log_loss`` sets new tasks' s, and the closed form updates its running mean."""
        now = active or self.all_active
        if self._waiting:
            for i in self._waiting.intersection(now.tasks):
                self._assign(i, self.optimum(losses)[i])
            self._waiting.difference_update(now.tasks)
        if self.solver == "closed_form":
            self._average(losses, now)

    def optimum(self, losses: Tensor) -> Tensor:
        """The s that minimises the objective for constant losses ``[T]``: log(aL/b), or liebel's closed form."""
        loss = losses.clamp(min=TINY)
        if self.form == "liebel":  # e^s solves e^2s = L/2 (1 + e^s)
            return torch.log((loss + torch.sqrt(loss.square() + 8 * loss)) / 4)
        return torch.log(self.a * loss / self.b)

    @torch.no_grad()
    def _assign(self, index: int, value: Tensor) -> None:
        self.log_variance[index].copy_(value)

    @torch.no_grad()
    def _average(self, losses: Tensor, active: Active) -> None:
        """Running mean of the active tasks' losses, each with a clock of its own, and s from it."""
        share = 1 - self.momentum
        index = active.index(losses.device)
        self.running[index] += share * (losses[index] - self.running[index])
        self.mass[index] += share * (1 - self.mass[index])
        optimum = self.optimum(self.running / self.mass.clamp(min=share))
        for i in active.tasks:
            if i in self._free:
                self.log_variance[i].copy_(optimum[i])

    def sigmas(self) -> list[float | None]:
        """e^{s/2} in the target's units (Laplace: e^s); for classification the parameter's value, not a temperature.

        None for a task that still waits for its first batch.
        """
        return [
            None if self._unknown(i) else sigma_of(task, s.item())
            for i, (task, s) in enumerate(zip(self.tasks, self.log_variance, strict=True))
        ]

    @property
    def learns(self) -> bool:
        """Whether any sigma is learned, by gradient or in closed form."""
        return bool(self._free)

    def _unknown(self, index: int) -> bool:
        """Whether a task has not been active yet and so has no sigma."""
        if self.solver == "closed_form" and index in self._free:
            return not self.mass[index].item()
        return index in self._waiting

    def off_optimum(self, losses: Sequence[float]) -> list[tuple[float, float] | None]:
        optima = self.optimum(self.a.new_tensor(losses)).tolist()
        return [
            (s.item(), optimum) if s.requires_grad and i not in self._waiting else None
            for i, (s, optimum) in enumerate(zip(self.log_variance, optima, strict=True))
        ]

    def sigma_estimates_noise(self) -> list[bool]:
        return [self.form != "liebel" and task.has_noise_scale for task in self.tasks]

    def get_extra_state(self) -> dict[str, list[int]]:
        """Which tasks still wait for their first batch."""
        return {"waiting": sorted(self._waiting)}

    def set_extra_state(self, state: dict[str, list[int]]) -> None:
        self._waiting = set(state["waiting"])


def _constants(form: str, task: Task) -> tuple[float, float]:
    if form == "simplified":
        return 1.0, 1.0
    if form in ("jde", "liebel"):
        return 0.5, 0.5
    return task.spec.noise.a, task.spec.noise.b
