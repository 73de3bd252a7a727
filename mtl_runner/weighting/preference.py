"""Scalarizations around a preference, for concave fronts, where every weighted sum ends at an end.

TorchJD's scalarizers are used as they are. Added are a preference per task, by the task's name, and
that some of the tasks may be idle.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import not_negative, per_task, positive
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import Weighting


class Preference(Weighting):
    """Base class of STCH, PBI and COSMOS: a TorchJD scalarizer with a preference per task.

    The scalarizer gets the numbers of the active tasks only; their preferences are rescaled to sum
    to 1.

    Args:
        tasks: The tasks, in the order of the losses.
        weights: The preference: a number for all, or ``{task: number}`` (1 for tasks that are left
            out).
        reference: The ideal point, which is subtracted from the losses: a number,
            ``{task: number}``, or None for 0.

    Raises:
        ConfigError: If an option names an unknown task, if a weight is negative or not finite, if
            all weights are 0, or if TorchJD is not installed.
    """

    preference: Tensor
    ideal: Tensor

    def __init__(self, tasks: Sequence[Task], weights: Any = 1.0, reference: Any = None) -> None:
        super().__init__(tasks)
        values = per_task(weights, tasks, 1.0, "weighting.weights")
        if any(not 0 <= value < float("inf") for value in values) or not any(values):
            raise ConfigError(
                f"weighting.weights must be finite, not negative and not all 0; found {values}."
            )
        ideal = per_task(0.0 if reference is None else reference, tasks, 0.0, "weighting.reference")
        dtype = torch.get_default_dtype()
        self.register_buffer("preference", torch.tensor(values, dtype=dtype))
        self.register_buffer("ideal", torch.tensor(ideal, dtype=dtype))
        # Made once now, so that a missing TorchJD or an option that it refuses is an error at once.
        self.make(torch.ones(1), torch.zeros(1))
        self._scalarizers: dict[tuple[tuple[int, ...] | None, torch.device], nn.Module] = {}

    @abstractmethod
    def make(self, weights: Tensor, reference: Tensor) -> nn.Module:
        """Return the scalarizer for some of the tasks.

        Args:
            weights: The preference of these tasks, which sums to 1, shape ``[k]``.
            reference: The ideal point of these tasks, shape ``[k]``.
        """

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the scalarizer's value for the active tasks' losses ``[k]``.

        Raises:
            ConfigError: If the preferences of all active tasks are 0.
        """
        key = (None if active is None else active.tasks, losses.device)
        if key not in self._scalarizers:
            index = (active or self.all_active).index(losses.device)
            weights = self.preference[index]
            if not bool(weights.any()):
                names = ", ".join(self.tasks[i].name for i in (active or self.all_active).tasks)
                raise ConfigError(
                    f"weighting.weights are 0 for all active tasks ({names}); give one of them a preference."
                )
            self._scalarizers[key] = self.make(weights / weights.sum(), self.ideal[index])
        objective: Tensor = self._scalarizers[key](losses)
        return objective


class STCH(Preference):
    r"""Minimise a smooth maximum of the losses (smooth Tchebycheff scalarization).

    **Source:** Lin et al., *Smooth Tchebycheff Scalarization for Multi-Objective Optimization*,
    ICML 2024, `arXiv:2402.19078 <https://arxiv.org/abs/2402.19078>`__.

    .. math:: \mu \log \sum_t \exp\bigl(\lambda_t (L_t - z_t) / \mu\bigr)

    where

    - :math:`L_t` is the loss of task :math:`t`,
    - :math:`\lambda_t` is the preference for the task (``weights``, rescaled to sum to 1),
    - :math:`z_t` is its ideal loss (``reference``),
    - :math:`\mu` is the smoothness ``mu``.

    **When it helps:** the Pareto front is concave. It reaches points there, where every weighted
    sum ends at an end of the front.

    **When not:** the losses are not on one scale, because they are compared as they are.

    Args:
        tasks: The tasks, in the order of the losses.
        mu: :math:`\mu` in the formula, a positive number; the smaller, the closer to the maximum.
        weights: The preference: a number for all, or ``{task: number}`` (1 for tasks that are left
            out).
        reference: The ideal point: a number, ``{task: number}``, or None for 0.

    Raises:
        ConfigError: If an option is out of its range or names an unknown task, or if TorchJD is not
            installed.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import STCH
        >>> weighting = STCH([Task("depth"), Task("normals")], mu=0.5)
        >>> weights, objective = weighting.weigh(torch.tensor([2.0, 1.0]))
        >>> weights
        tensor([0.3655, 0.1345])
    """

    def __init__(
        self, tasks: Sequence[Task], mu: float = 0.1, weights: Any = 1.0, reference: Any = None
    ) -> None:
        self.mu = positive(mu, "weighting.mu")
        super().__init__(tasks, weights, reference)

    def make(self, weights: Tensor, reference: Tensor) -> nn.Module:
        """Return TorchJD's STCH with the preference and the ideal point of some of the tasks."""
        return scalarizer("STCH", mu=self.mu, weights=weights, reference=reference)


class PBI(Preference):
    r"""Go along a preferred ratio of the losses and pay for leaving it (PBI).

    **Source:** Zhang & Li, *MOEA/D: A Multiobjective Evolutionary Algorithm Based on
    Decomposition*, IEEE Transactions on Evolutionary Computation 2007 (penalty-based boundary
    intersection), `IEEE <https://ieeexplore.ieee.org/document/4358754>`__.

    .. math::

        d_1 + \theta\, d_2, \qquad d_1 = (L - z)^\top \hat\lambda,
        \qquad d_2 = \bigl\lVert L - z - d_1 \hat\lambda \bigr\rVert

    where

    - :math:`L` is the vector of the losses,
    - :math:`z` is the ideal point (``reference``),
    - :math:`\hat\lambda` is the preference (``weights``), scaled to length 1,
    - :math:`d_1` is the distance along the preference and :math:`d_2` the distance away from it,
    - :math:`\theta` is the penalty ``theta``.

    **When it helps:** as :class:`~mtl_runner.weighting.STCH`, for a given ratio of the losses.

    **When not:** no task may get worse. A weight may become negative: a task that is too far ahead
    of the preference is held back, and so it is untaught.

    Args:
        tasks: The tasks, in the order of the losses.
        theta: :math:`\theta` in the formula, at least 0.
        weights: The preference: a number for all, or ``{task: number}`` (1 for tasks that are left
            out).
        reference: The ideal point: a number, ``{task: number}``, or None for 0.

    Raises:
        ConfigError: If an option is out of its range or names an unknown task, or if TorchJD is not
            installed.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import PBI
        >>> weighting = PBI([Task("depth"), Task("normals")], theta=5.0)
        >>> weights, objective = weighting.weigh(torch.tensor([2.0, 1.0]))
        >>> weights  # The loss of normals is too small for equal losses.
        tensor([ 4.2426, -2.8284])
    """

    def __init__(
        self, tasks: Sequence[Task], theta: float = 5.0, weights: Any = 1.0, reference: Any = None
    ) -> None:
        self.theta = not_negative(theta, "weighting.theta")
        super().__init__(tasks, weights, reference)

    def make(self, weights: Tensor, reference: Tensor) -> nn.Module:
        """Return TorchJD's PBI with the preference and the ideal point of some of the tasks."""
        return scalarizer("PBI", theta=self.theta, weights=weights, reference=reference)


class COSMOS(Preference):
    r"""Minimise a weighted sum less the cosine between the losses and a preference (COSMOS).

    **Source:** Ruchte & Grabocka, *Scalable Pareto Front Approximation for Deep Multi-Objective
    Learning*, ICDM 2021, `arXiv:2103.13392 <https://arxiv.org/abs/2103.13392>`__.

    .. math:: \sum_t r_t L_t - \lambda \cos(r, L)

    where

    - :math:`L_t` is the loss of task :math:`t`, and :math:`L` the vector of all losses,
    - :math:`r_t` is the preference for the task (``weights``, rescaled to sum to 1),
    - :math:`\lambda` is the ``penalty``.

    **Departs from the paper:** the paper also gives the preference to the model as an input; this
    is its objective alone.

    **When it helps:** several runs with different preferences should spread along the front.

    **When not:** one model should serve all preferences. The method is made for models that also
    see the preference, which the models here do not.

    Args:
        tasks: The tasks, in the order of the losses.
        penalty: :math:`\lambda` in the formula, at least 0.
        weights: The preference: a number for all, or ``{task: number}`` (1 for tasks that are left
            out).

    Raises:
        ConfigError: If an option is out of its range or names an unknown task, or if TorchJD is not
            installed.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import COSMOS
        >>> weighting = COSMOS([Task("depth"), Task("normals")])
        >>> weights, objective = weighting.weigh(torch.tensor([3.0, 4.0]))
        >>> round(objective.item(), 2)  # The mean of the losses, less a cosine of 0.99.
        2.51
    """

    def __init__(self, tasks: Sequence[Task], penalty: float = 1.0, weights: Any = 1.0) -> None:
        self.penalty = not_negative(penalty, "weighting.penalty")
        super().__init__(tasks, weights)

    def make(self, weights: Tensor, reference: Tensor) -> nn.Module:
        """Return TorchJD's COSMOS with the preference of some of the tasks."""
        del reference
        return scalarizer("COSMOS", lambda_=self.penalty, weights=weights)


def scalarizer(name: str, **options: Any) -> nn.Module:
    """Make one of TorchJD's scalarizers.

    Args:
        name: Name of its class.
        **options: Arguments of its constructor.

    Raises:
        ConfigError: If TorchJD is not installed, with the line that installs it.
    """
    try:
        from torchjd import scalarization
    except ImportError:
        raise ConfigError(
            f"weighting={name.lower()} needs TorchJD; install it with: pip install 'mtl-runner[torchjd]'."
        ) from None
    module: nn.Module = getattr(scalarization, name)(**options)
    return module
