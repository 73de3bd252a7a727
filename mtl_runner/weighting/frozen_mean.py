"""Two phases: follow another weighting for a while, then keep the mean of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_runner.config.instantiate import make
from mtl_runner.config.times import RunLength, parse_time
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import fraction
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY, Derivatives, Weighting

# The calls that a weighting may want, which are passed on until the weights are frozen.
CALLS = (
    *("observe_norms", "observe_gradients", "observe_traces", "measures_now", "observe_losses"),
    *("gradients", "accumulate", "begin_epoch", "sigmas", "sigma_estimates_noise"),
)


class FrozenMean(Weighting):
    r"""Follow another weighting at first, and then freeze the weights at their moving mean.

    **Source:** the second phase with fixed weights is that of Yang et al., *AutoScale: Linear
    Scalarization Guided by Multi-Task Optimization Metrics*, 2025,
    `arXiv:2508.13979 <https://arxiv.org/abs/2508.13979>`__, which chooses them by metrics of the
    gradients.

    .. math::

        \sum_t w_t L_t, \qquad w_t = \begin{cases} w_t^{\mathrm{of}} & \text{at first} \\
        \bar w_t & \text{then} \end{cases}

    where

    - :math:`L_t` is the loss of task :math:`t` and :math:`w_t` its weight,
    - :math:`w_t^{\mathrm{of}}` is the weight that the other weighting (``of``) gives it,
    - :math:`\bar w_t` is the moving mean of these weights over the steps in which the task took
      part, corrected for its start at 0.

    From ``after`` on nothing is measured or learned any more, so the rest of the run costs what
    fixed weights cost. A task that has not taken part by then gets the mean of the others' weights.

    **Departs from AutoScale:** it selects the weights by several metrics of the gradients, such as
    how similar their norms are; here they are those of any method, such as the one that makes the
    norms equal (``weighting=two_phase``).

    **When it helps:** fixed weights are known to be hard to beat, and nobody wants to search them.

    **When not:** the balance of the losses changes in the course of the training, or the first
    steps are not typical.

    Args:
        tasks: The tasks, in the order of the losses.
        of: The weighting that is followed: a :class:`~mtl_runner.weighting.Weighting`, or its
            config with ``_target_`` and options.
        after: When the weights are frozen: epochs (``2``), steps (``"200 steps"``) or a share of
            the run (``"10%"``).
        decay: The decay of the moving mean, in [0, 1): what an old weight is multiplied by with
            every newer one; 0: the newest alone.
        length: The length of the run; None, in a loop of your own: ``after`` must be in steps.
        trivial_losses: What ``of`` may want: the losses of the trivial predictor.
        seed: What ``of`` may want: the seed of the run.

    Raises:
        ConfigError: If ``of`` is no weighting, ``after`` is no time before the end of the run, or
            ``decay`` is not in [0, 1).

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import FrozenMean, LogSum
        >>> tasks = [Task("depth"), Task("normals")]
        >>> weighting = FrozenMean(tasks, LogSum(tasks), after="2 steps", decay=0.0)
        >>> for losses in ([4.0, 1.0], [2.0, 1.0], [1.0, 9.0]):
        ...     weights, objective = weighting.weigh(torch.tensor(losses))
        >>> weights  # Those of the second step, 1 / loss.
        tensor([0.5000, 1.0000])
    """

    mean: Tensor
    mass: Tensor

    def __init__(
        self,
        tasks: Sequence[Task],
        of: Any,
        after: Any = "10%",
        decay: float = 0.99,
        length: RunLength | None = None,
        trivial_losses: Any = None,
        seed: int = 0,
    ) -> None:
        super().__init__(tasks)
        if isinstance(of, str):
            raise ConfigError(
                f"weighting.of={of} names a weighting; choose it as weighting@weighting.of={of}."
            )
        if not isinstance(of, Weighting):
            context = {"tasks": tasks, "trivial_losses": trivial_losses, "seed": seed}
            of = make(of, "weighting.of", length=length, **context)
        if not isinstance(of, Weighting) or isinstance(of, FrozenMean):
            raise ConfigError(
                f"weighting.of is a {type(of).__name__}; it must be a weighting that sets no other axis, e.g. weighting@weighting.of=gradnorm."
            )
        self.of = of
        self.decay = fraction(decay, "weighting.decay", one_allowed=False)
        self.freezes_at = _step(after, length)
        self._steps = 0
        self._frozen_weights: Tensor | None = None
        # The mean is `mean / mass`.
        for name in ("mean", "mass"):
            zeros = torch.zeros(len(self.tasks), dtype=torch.get_default_dtype())
            self.register_buffer(name, zeros)
        self.lr, self.anneal, self.smallest_slope = of.lr, of.anneal, of.smallest_slope
        self.negative_losses = of.negative_losses
        self.norms_come_first = of.norms_come_first
        for name in CALLS:
            if hasattr(of, name):
                setattr(self, name, getattr(of, name))

    @property
    def is_frozen(self) -> bool:
        """Whether the weights do not change any more."""
        return self._steps >= self.freezes_at

    @property
    def uses_losses(self) -> bool:
        """Whether the weights of a step depend on its losses."""
        return not self.is_frozen and self.of.uses_losses

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the objective of the active tasks' losses ``[k]``, a scalar."""
        if self.is_frozen:
            return torch.dot(self._fixed(active), losses)
        objective: Tensor = self.of(losses, active)
        return objective

    def derivatives(self, losses: Tensor, active: Active | None = None) -> Derivatives:
        """Return objective and frozen weights, which are constants to autograd."""
        weights = self._fixed(active)
        return torch.dot(weights, losses), weights.clone(), ()

    def weigh(self, losses: Tensor, active: Active | None = None) -> tuple[Tensor, Tensor]:
        """Return weights and objective, and count the step; see :class:`Weighting`.

        Args:
            losses: The losses of all tasks, shape ``[T]``.
            active: Which tasks are active; None if all are.
        """
        if self.is_frozen:
            # With a gradient their optimizer would move them.
            for parameter in self._trained_parameters:
                parameter.grad = None
            return super().weigh(losses, active)
        weights, objective = self.of.weigh(losses, active)
        if self.training:
            self._remember(weights, active)
        return weights, objective

    @torch.no_grad()
    def frozen_weights(self) -> Tensor:
        """Return the mean weights of all tasks so far, shape ``[T]``."""
        known = self.mass > 0
        means = torch.where(known, self.mean / self.mass.clamp(min=TINY), 0.0)
        return torch.where(known, means, means.sum() / known.sum().clamp(min=1))

    def get_extra_state(self) -> dict[str, Any]:
        """Return the number of steps so far, for a checkpoint."""
        return {"steps": self._steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's number of steps."""
        self._steps = state["steps"]
        self._frozen_weights = None

    def _fixed(self, active: Active | None) -> Tensor:
        """Return the frozen weights of the active tasks ``[k]``, worked out once."""
        if self._frozen_weights is None:
            self._frozen_weights = self.frozen_weights()
        weights = self._frozen_weights
        return weights if active is None else weights[active.index(weights.device)]

    @torch.no_grad()
    def _remember(self, weights: Tensor, active: Active | None) -> None:
        """Count a step and add its weights ``[T]`` to the mean of the active tasks."""
        self._steps += 1
        index = (active or self.all_active).index(weights.device)
        share = 1 - self.decay
        self.mean[index] += share * (weights[index] - self.mean[index])
        self.mass[index] += share * (1 - self.mass[index])


def _step(after: Any, length: RunLength | None) -> int:
    """Return after how many steps the weights are frozen."""
    if length is None:
        if not str(after).strip().endswith(("step", "steps")):
            raise ConfigError(
                f"weighting.after={after!r} needs the length of a run; in a loop of your own give a number of steps, e.g. after='200 steps'."
            )
        return max(1, parse_time(after, RunLength(1, 1), "weighting.after"))
    step = parse_time(after, length, "weighting.after")
    if step >= length.steps:
        raise ConfigError(
            f"weighting.after={after} is not before the end of the run of {length.steps} steps, so that the weights would never be frozen; give an earlier time, such as 10%."
        )
    return max(1, step)
