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
from mtl_runner.errors.checks import choice, not_negative, per_task, positive, whole_number
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting.base import TINY, Weighting


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
        objective: Tensor = self._scalarizer_for(active, losses.device)(losses)
        return objective

    def _scalarizer_for(self, active: Active | None, device: torch.device) -> nn.Module:
        """Return the scalarizer for these active tasks, made once."""
        key = (None if active is None else active.tasks, device)
        if key not in self._scalarizers:
            index = (active or self.all_active).index(device)
            weights = self.preference[index]
            if not bool(weights.any()):
                names = ", ".join(self.tasks[i].name for i in (active or self.all_active).tasks)
                raise ConfigError(
                    f"weighting.weights are 0 for all active tasks ({names}); give one of them a preference."
                )
            self._scalarizers[key] = self.make(weights / weights.sum(), self.ideal[index])
        return self._scalarizers[key]


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

    With ``form="log_nadir"`` it is the objective of the authors' multi-task code, for losses of
    different size:

    .. math:: k\,\mu \log \sum_t \exp\Bigl(\frac{k \lambda_t}{\mu} \log \frac{L_t}{N_t}\Bigr)

    where

    - :math:`k` is the number of active tasks; the authors' :math:`k \lambda_t` is 1,
    - :math:`N_t` is the nadir (``nadir``), by default the mean loss of the task in its epoch number
      ``warmup_epochs``. Until every active task has one, the objective is
      :math:`\sum_t \log L_t`, as in the authors' code.

    **Departs from the published code:** every task counts its own epochs, so that it may start
    late.

    **When it helps:** the Pareto front is concave. It reaches points there, where every weighted
    sum ends at an end of the front.

    **When not:** the losses are not on one scale, because they are compared as they are: at losses
    of 1 and 100 the small task gets nothing. Then take ``form="log_nadir"``.

    In a loop of your own, call :meth:`begin_epoch` at the start of every epoch; ``mtl-run`` does.

    Args:
        tasks: The tasks, in the order of the losses.
        mu: :math:`\mu` in the formula, a positive number; the smaller, the closer to the maximum.
            The authors' multi-task code takes 1.
        weights: The preference: a number for all, or ``{task: number}`` (1 for tasks that are left
            out).
        reference: The ideal point: a number, ``{task: number}``, or None for 0.
        form: ``"plain"`` or ``"log_nadir"``.
        nadir: The nadir: a number, ``{task: number}`` (1 for tasks that are left out), or None to
            measure it.
        warmup_epochs: The epoch in which the nadir is measured, at least 1; 5 in the authors' code.

    Raises:
        ConfigError: If an option is out of its range, names an unknown task or belongs to the other
            form, or if TorchJD is not installed.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import STCH
        >>> tasks = [Task("depth"), Task("normals")]
        >>> weights, objective = STCH(tasks, mu=0.5).weigh(torch.tensor([2.0, 1.0]))
        >>> weights
        tensor([0.3655, 0.1345])
        >>> weighting = STCH(tasks, mu=1.0, form="log_nadir", nadir={"depth": 400, "normals": 4})
        >>> weights, objective = weighting.weigh(torch.tensor([100.0, 1.0]))
        >>> weights  # Both losses are a quarter of their nadir, so both count alike.
        tensor([0.0100, 1.0000])
    """

    total: Tensor
    count: Tensor
    epochs: Tensor
    measured_nadir: Tensor

    def __init__(
        self,
        tasks: Sequence[Task],
        mu: float = 0.1,
        weights: Any = 1.0,
        reference: Any = None,
        form: str = "plain",
        nadir: Any = None,
        warmup_epochs: int = 5,
    ) -> None:
        self.mu = positive(mu, "weighting.mu")
        self.form = choice(form, "weighting.form", ("plain", "log_nadir"))
        self.warmup_epochs = whole_number(warmup_epochs, "weighting.warmup_epochs", 1)
        super().__init__(tasks, weights, reference)
        if form == "plain":
            if nadir is not None:
                raise ConfigError(
                    "weighting.nadir belongs to weighting.form=log_nadir; with form=plain the losses are compared as they are."
                )
            return
        if reference is not None:
            raise ConfigError(
                "weighting.reference belongs to weighting.form=plain; form=log_nadir compares the losses with weighting.nadir."
            )
        self.negative_losses = "counts as a loss of almost 0, with a weight of 0"
        dtype, count = torch.get_default_dtype(), len(self.tasks)
        measured = torch.zeros(count, dtype=dtype)
        if nadir is not None:
            values = per_task(nadir, tasks, 1.0, "weighting.nadir")
            if any(not 0 < value < float("inf") for value in values):
                raise ConfigError(f"weighting.nadir must be positive and finite; found {values}.")
            measured = torch.tensor(values, dtype=dtype)
        # The nadirs, 0 before they are known; the sum of this epoch's losses, and how many they
        # are; the epochs in which each task took part.
        self.register_buffer("measured_nadir", measured)
        for name in ("total", "count", "epochs"):
            self.register_buffer(name, torch.zeros(count, dtype=dtype))

    @property
    def has_nadir(self) -> bool:
        """Whether the nadir of every task is known."""
        return self.form == "log_nadir" and bool((self.measured_nadir > 0).all())

    def make(self, weights: Tensor, reference: Tensor) -> nn.Module:
        """Return TorchJD's STCH with the preference and the ideal point of some of the tasks."""
        if self.form == "log_nadir":
            weights, reference = len(weights) * weights, torch.zeros_like(reference)
        return scalarizer("STCH", mu=self.mu, weights=weights, reference=reference)

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        """Return the objective of the active tasks' losses ``[k]``; in train mode, note them."""
        if self.form == "plain":
            return super().forward(losses, active)
        if self.training:
            self.accumulate(losses.detach(), active)
        logarithms = torch.log(losses.clamp(min=TINY))
        nadir = self.measured_nadir[(active or self.all_active).index(losses.device)]
        known = nadir > 0
        relative = logarithms - torch.log(torch.where(known, nadir, 1.0))
        # Chosen on the device, so that no step waits for it.
        return torch.where(
            known.all(), len(losses) * super().forward(relative, active), logarithms.sum()
        )

    @torch.no_grad()
    def accumulate(self, losses: Tensor, active: Active | None = None) -> None:
        """Add the active tasks' losses to the epoch's means, with ``form="log_nadir"``.

        Args:
            losses: The losses of one step, shape ``[k]``.
            active: Which tasks these are; None if all T tasks are active.
        """
        if self.form == "log_nadir":
            index = (active or self.all_active).index(losses.device)
            self.total.index_add_(0, index, losses)
            self.count.index_add_(0, index, torch.ones_like(losses))

    @torch.no_grad()
    def begin_epoch(self) -> None:
        """Close the last epoch: its means are the nadirs of the tasks whose warm-up it ended."""
        if self.form == "log_nadir":
            self.epochs.add_(self.count > 0)
            mean = (self.total / self.count.clamp(min=1)).clamp(min=TINY)
            ended = (self.measured_nadir == 0) & (self.epochs == self.warmup_epochs)
            self.measured_nadir.copy_(torch.where(ended, mean, self.measured_nadir))
            self.total.zero_()
            self.count.zero_()


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
