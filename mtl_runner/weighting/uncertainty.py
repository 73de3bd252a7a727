"""Uncertainty weighting: each task's loss is divided by a learned noise variance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import choice, flag, fraction, learning_rate
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.noise import (
    SMALLEST_SLOPE,
    initial_log_scales,
    log_variances,
    sigma_of,
)
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY, Derivatives, Weighting

FORMS = ("kendall", "simplified", "jde", "liebel")


class Uncertainty(Weighting):
    r"""Divide each loss by a learned noise variance (homoscedastic uncertainty weighting).

    **Source:** Kendall, Gal & Cipolla, *Multi-Task Learning Using Uncertainty to Weigh Losses for
    Scene Geometry and Semantics*, CVPR 2018, eq. 7 and 10,
    `arXiv:1705.07115 <https://arxiv.org/abs/1705.07115>`__.

    .. math:: \sum_t a_t e^{-s_t} L_t + b_t s_t

    where

    - :math:`L_t` is the loss of task :math:`t`, so that :math:`w_t = a_t e^{-s_t}` is its weight,
    - :math:`s_t = \log\sigma_t^2` is the learned log variance of its noise (for an L1 loss
      :math:`s_t = \log b`, the log of the Laplace scale),
    - :math:`a_t` and :math:`b_t` are constants of the task's kind (``form``).

    At the optimum :math:`e^{s_t} = a_t L_t / b_t`, so the weight is :math:`b_t / L_t`: only
    :math:`b_t` changes the balance, :math:`a_t` renames sigma. With ``form="liebel"`` (Liebel &
    Körner, *Auxiliary Tasks in Multi-task Learning*, 2018) the terms are
    :math:`\tfrac12 e^{-s_t} L_t + \log(1 + e^{s_t})`.

    **Departs from the paper:** :math:`s_t` has a learning rate of its own, because the network's
    leaves it unconverged for thousands of steps. That rate falls to 0 over the last 30 % of the
    run, so that :math:`s_t` settles instead of following single batches, and there is no weight
    decay on it. By default it starts at the optimum of the task's first batch: from
    :math:`s_t = 0` a first gradient of thousands can stay in Adam's second moment for long. At the
    optimum the gradient is rounding, so Adam's eps is 0.001, which makes no step of it. In
    classification the loss over :math:`\sigma^2` is the approximation of eq. 10, an equality only
    at :math:`\sigma = 1` (measured for five logits from N(0, 4): mean error .051 at
    :math:`\sigma^2 = .9`, .435 at .5); :class:`~mtl_runner.likelihood.Homoscedastic` is exact.

    **When it helps:** the losses have different units or noise. It puts every loss on its own noise
    scale, so units do not matter.

    **When not:** one task is nearly solved, because the weight is 1 over the loss and such a task
    is favoured; or a loss can be negative.

    The objective may become negative: a density can exceed 1, and nothing is wrong.

    Args:
        tasks: The tasks, in the order of the losses.
        form: The constants ``(a, b)`` per kind of task: ``"kendall"`` (regression 1/2, 1/2; L1 1,
            1; classification and multilabel 1, 1/2), ``"simplified"`` (1, 1), ``"jde"`` (1/2,
            1/2), or ``"liebel"``.
        solver: ``"gradient"``, or ``"closed_form"``: :math:`s_t = \log(a_t \bar L_t / b_t)` of a
            running mean :math:`\bar L_t` of the loss.
        init: Initial :math:`s_t`: a number, ``{task: number}``, or ``"log_loss"``, the optimum of
            the task's first batch.
        lr: Learning rate of the log variances (Adam, eps 0.001); None trains them with the
            settings of the model's optimizer, without weight decay.
        anneal: Whether ``lr`` falls to 0 over the last 30 % of the run.
        frozen: ``{task: sigma}`` keeps a sigma fixed, in the units of the target; one number keeps
            all of them fixed.
        momentum: Momentum of the running mean of ``solver="closed_form"``.

    Raises:
        ConfigError: If ``form``, ``solver`` or ``init`` is unknown, if an option names an unknown
            task, or if a number is out of its range.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import Uncertainty
        >>> weighting = Uncertainty([Task("depth"), Task("label", "classification", size=3)])
        >>> weights, objective = weighting.weigh(torch.tensor([4.0, 0.5]))
        >>> weights  # They start at their optimum: 1/2 over the loss.
        tensor([0.1250, 1.0000])
        >>> [round(sigma, 2) for sigma in weighting.sigmas()]
        [2.0, 1.0]
    """

    negative_losses = "weighs more and more without bound"
    smallest_slope = SMALLEST_SLOPE
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
        fraction(momentum, "weighting.momentum", one_allowed=False)
        self.form, self.solver, self.momentum = form, solver, momentum
        self.anneal = flag(anneal, "weighting.anneal")
        self.lr = learning_rate(lr, "weighting.lr")
        constants = [_constants(form, task) for task in tasks]
        dtype = torch.get_default_dtype()
        self.register_buffer("a", torch.tensor([a for a, _ in constants], dtype=dtype))
        self.register_buffer("log_a", self.a.log(), persistent=False)
        self.register_buffer("b", torch.tensor([b for _, b in constants], dtype=dtype))
        start = (
            [0.0] * len(self.tasks)
            if isinstance(init, str)
            else initial_log_scales(init, tasks, "weighting.init")
        )
        self.log_variance = log_variances(tasks, start, frozen, "weighting.frozen")
        self._not_frozen = [i for i, s in enumerate(self.log_variance) if s.requires_grad]
        # The tasks whose first batch sets s.
        self._waiting = {i for i in self._not_frozen if init == "log_loss"}
        if solver == "closed_form":
            # The running mean is `running / mass`. It changes at every step, so runs do not stack.
            self.register_buffer("running", torch.zeros(len(self.tasks), dtype=dtype))
            self.register_buffer("mass", torch.zeros(len(self.tasks), dtype=dtype))
            self.replica_options = None
            self.log_variance.requires_grad_(False)
            self._waiting.clear()

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the objective of the active tasks' losses ``[k]``, a scalar."""
        s = torch.stack(self._parameters_of(self.log_variance, active))
        index = None if active is None else active.index(losses.device)
        log_a, b = (self.log_a, self.b) if index is None else (self.log_a[index], self.b[index])
        # a e^-s L, in fewer operations.
        fit = torch.dot(torch.exp(log_a - s), losses)
        return fit + (nn.functional.softplus(s).sum() if self.form == "liebel" else torch.dot(b, s))

    @torch.no_grad()
    def derivatives(self, losses: Tensor, active: Active | None = None) -> Derivatives:
        """Return objective, weights :math:`a e^{-s}` and slopes of s :math:`b - a e^{-s} L`.

        It saves a tenth of a small model's step over autograd.
        """
        parameters: list[Any] = self._parameters_of(self.log_variance, active)
        s = torch.stack(parameters)
        index = None if active is None else active.index(losses.device)
        log_a, b = (self.log_a, self.b) if index is None else (self.log_a[index], self.b[index])
        weights = torch.exp(log_a - s)
        fit = weights * losses
        if self.form == "liebel":
            objective = torch.dot(weights, losses) + nn.functional.softplus(s).sum()
            slopes = torch.sigmoid(s) - fit
        else:
            objective = torch.dot(weights, losses) + torch.dot(b, s)
            slopes = b - fit
        if not self._not_frozen or self.solver == "closed_form":
            return objective, weights, ()
        pairs = zip(parameters, slopes.unbind(), strict=True)
        return objective, weights, [pair for pair in pairs if pair[0].requires_grad]

    def prepare(self, losses: Tensor, active: Active | None = None) -> None:
        """Set s of tasks that see their first batch, or update the closed form's running mean."""
        active_now = active or self.all_active
        if self._waiting:
            for i in self._waiting.intersection(active_now.tasks):
                self._assign(i, self.optimum(losses)[i])
            self._waiting.difference_update(active_now.tasks)
        if self.solver == "closed_form":
            self._average(losses, active_now)

    def optimum(self, losses: Tensor) -> Tensor:
        """Return the s ``[T]`` that minimises the objective for constant losses ``[T]``.

        It is log(aL/b), and for ``form="liebel"`` the solution of a quadratic equation.
        """
        loss = losses.clamp(min=TINY)
        if self.form == "liebel":
            # e^s solves e^2s = L/2 (1 + e^s).
            return torch.log((loss + torch.sqrt(loss.square() + 8 * loss)) / 4)
        return torch.log(self.a * loss / self.b)

    def sigmas(self) -> list[float | None]:
        """Return the sigma of each task, None for a task that still waits for its first batch.

        It is e^{s/2} in the units of the target (for an L1 loss e^s). For classification it is the
        value of the parameter, not a temperature.
        """
        return [
            None if self._has_no_sigma(i) else sigma_of(task, s.item())
            for i, (task, s) in enumerate(zip(self.tasks, self.log_variance, strict=True))
        ]

    @property
    def learns(self) -> bool:
        """Whether any sigma is learned, by gradient or in closed form."""
        return bool(self._not_frozen)

    def values_and_optima(self, losses: Sequence[float]) -> list[tuple[float, float] | None]:
        """Return each task's s and its optimum for constant losses ``[T]``.

        None stands for a task whose s is not trained by gradient or still waits for a first batch.
        """
        optima = self.optimum(self.a.new_tensor(losses)).tolist()
        return [
            (s.item(), optimum) if s.requires_grad and i not in self._waiting else None
            for i, (s, optimum) in enumerate(zip(self.log_variance, optima, strict=True))
        ]

    def sigma_estimates_noise(self) -> list[bool]:
        """Return for each task whether its sigma estimates the noise in the target's units."""
        return [self.form != "liebel" and task.has_noise_scale for task in self.tasks]

    def get_extra_state(self) -> dict[str, list[int]]:
        """Return which tasks still wait for their first batch, for a checkpoint."""
        return {"waiting": sorted(self._waiting)}

    def set_extra_state(self, state: dict[str, list[int]]) -> None:
        """Go on from a checkpoint's tasks that wait for their first batch."""
        self._waiting = set(state["waiting"])

    @torch.no_grad()
    def _assign(self, index: int, value: Tensor) -> None:
        """Set the s of a task."""
        self.log_variance[index].copy_(value)

    @torch.no_grad()
    def _average(self, losses: Tensor, active: Active) -> None:
        """Update the running means of the active tasks, each on its own clock, and s from them."""
        share = 1 - self.momentum
        index = active.index(losses.device)
        self.running[index] += share * (losses[index] - self.running[index])
        self.mass[index] += share * (1 - self.mass[index])
        optimum = self.optimum(self.running / self.mass.clamp(min=share))
        for i in active.tasks:
            if i in self._not_frozen:
                self.log_variance[i].copy_(optimum[i])

    def _has_no_sigma(self, index: int) -> bool:
        """Return whether a task has not been active yet, so that its sigma is not known."""
        if self.solver == "closed_form" and index in self._not_frozen:
            return not self.mass[index].item()
        return index in self._waiting


def _constants(form: str, task: Task) -> tuple[float, float]:
    """Return a and b of a task."""
    if form == "simplified":
        return 1.0, 1.0
    if form in ("jde", "liebel"):
        return 0.5, 0.5
    return task.spec.noise.a, task.spec.noise.b
