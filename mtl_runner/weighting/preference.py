"""Scalarizations around a preference, by TorchJD: for concave fronts, where every weighted sum ends at an end.

TorchJD's scalarizers are used as they are; what is added is a preference per task by name, and that a part of the tasks may be idle.
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
    """Base class of STCH, PBI and COSMOS: a scalarizer with numbers per task, of which it gets those of the active ones.

    Args:
        tasks: the tasks, in the order of the losses. weights: the preference: a number for all, or ``{task: number}`` (missing: 1).
        reference: the ideal point subtracted from the losses: a number, ``{task: number}``, or None.

    Shape: losses ``[k]`` -> scalar. Raises ``ConfigError`` for unknown tasks, negative weights, or without TorchJD.
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
        self.make(
            torch.ones(1), torch.zeros(1)
        )  # TorchJD missing, or an option that it refuses, is said now
        self._scalarizers: dict[tuple[tuple[int, ...] | None, torch.device], nn.Module] = {}

    @abstractmethod
    def make(self, weights: Tensor, reference: Tensor) -> nn.Module:
        """The scalarizer for some of the tasks: their weights ``[k]``, which sum to 1, and ideal point ``[k]``."""

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
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
    r"""Smooth Tchebycheff: :math:`\mu \log \sum_t e^{\lambda_t (L_t - z_t) / \mu}`, a smooth maximum (Lin et al., ICML 2024).

    Args:
        mu: smoothness; the smaller, the closer to the maximum. The others: see :class:`Preference`.
    """

    def __init__(
        self, tasks: Sequence[Task], mu: float = 0.1, weights: Any = 1.0, reference: Any = None
    ) -> None:
        self.mu = positive(mu, "weighting.mu")
        super().__init__(tasks, weights, reference)

    def make(self, weights: Tensor, reference: Tensor) -> nn.Module:
        return scalarizer("STCH", mu=self.mu, weights=weights, reference=reference)


class PBI(Preference):
    r"""Penalty-based boundary intersection: along the preference, plus :math:`\theta` times away from it (Zhang & Li, 2007).

    Args:
        theta: penalty. The others: see :class:`Preference`. A weight may become negative: a task that is too far ahead of the preference
        is held back.
    """

    def __init__(
        self, tasks: Sequence[Task], theta: float = 5.0, weights: Any = 1.0, reference: Any = None
    ) -> None:
        self.theta = not_negative(theta, "weighting.theta")
        super().__init__(tasks, weights, reference)

    def make(self, weights: Tensor, reference: Tensor) -> nn.Module:
        return scalarizer("PBI", theta=self.theta, weights=weights, reference=reference)


class COSMOS(Preference):
    r"""A weighted sum less :math:`\lambda` times the cosine between losses and preference (Ruchte & Grabocka, ICDM 2021).

    The paper also gives the preference to the model as an input; this is its objective alone.

    Args:
        penalty: :math:`\lambda`. weights: see :class:`Preference`.
    """

    def __init__(self, tasks: Sequence[Task], penalty: float = 1.0, weights: Any = 1.0) -> None:
        self.penalty = not_negative(penalty, "weighting.penalty")
        super().__init__(tasks, weights)

    def make(self, weights: Tensor, reference: Tensor) -> nn.Module:
        del reference
        return scalarizer("COSMOS", lambda_=self.penalty, weights=weights)


def scalarizer(name: str, **options: Any) -> nn.Module:
    """One of TorchJD's. Raises ``ConfigError`` with the line that installs it."""
    try:
        from torchjd import scalarization
    except ImportError:
        raise ConfigError(
            f"weighting={name.lower()} needs TorchJD; install it with: pip install 'mtl-runner[torchjd]'."
        ) from None
    made: nn.Module = getattr(scalarization, name)(**options)
    return made
