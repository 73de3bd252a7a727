"""The training steps of somebody's own loop, as one row per task and evaluation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.tasks.task import TOTAL, Task

log = logging.getLogger("mtl_runner")

#: Numbers of all tasks: by name, or in the order of the tasks.
TaskNumbers = Mapping[str, Any] | Sequence[Any] | Tensor


@dataclass(frozen=True)
class StepMeans:
    """Means over the steps since the last evaluation; None where a number was not logged.

    Attributes:
        loss: The loss of each task.
        weight: The weight of each task.
        sigma: The last noise scale of each task.
        objective: What was minimised.
    """

    loss: list[float | None]
    weight: list[float | None]
    sigma: list[float | None]
    objective: float | None

    def cells(self, tasks: Sequence[Task]) -> dict[str, dict[str, float | None]]:
        """Return the cells of every task's row of the training split, and of the total's.

        Args:
            tasks: The tasks.
        """
        rows = zip(tasks, self.loss, self.weight, self.sigma, strict=True)
        cells = {t.name: {"loss": loss, "weight": w, "sigma": s} for t, loss, w, s in rows}
        return {**cells, TOTAL: {"loss": self.objective}}


class RecordedSteps:
    """Collects losses, weights and sigmas of steps on their device, until :meth:`take` is called.

    Args:
        tasks: The tasks.

    Example:
        >>> steps = RecordedSteps([Task("depth"), Task("angle")])
        >>> losses = torch.tensor([4.0, 1.0], requires_grad=True)
        >>> steps.add(losses, objective=losses.sqrt().sum())
        >>> steps.take().weight
        [0.25, 0.5]
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.names = [task.name for task in tasks]
        self._steps: list[dict[str, Tensor]] = []
        self._sigmas: Tensor | None = None
        self._has_warned = False

    def add(
        self,
        losses: TaskNumbers,
        objective: Tensor | float | None = None,
        weights: TaskNumbers | None = None,
        sigmas: TaskNumbers | None = None,
    ) -> None:
        """Keep the numbers of a step.

        Args:
            losses: The losses.
            objective: What is minimised.
            weights: The weights; None: the derivatives of the objective, if it depends on losses.
            sigmas: The noise scales.

        Warns, once, that an objective does not tell the weights.
        """
        if weights is None:
            weights = _derivatives(objective, losses)
            if weights is None and objective is not None and not self._has_warned:
                self._has_warned = True
                log.warning(
                    "No weights are recorded, since the objective does not depend on the tensor that is given as losses; log that tensor itself, not detached and before backward, or give weights=..."
                )
        if sigmas is not None:
            self.set_sigmas(sigmas)
        numbers = {"loss": losses, "weight": weights}
        step = {
            name: vector(values, self.names, name)
            for name, values in numbers.items()
            if values is not None
        }
        if objective is not None:
            step["objective"] = torch.as_tensor(objective).detach().double().reshape(1)
        self._steps.append(step)

    def set_sigmas(self, sigmas: TaskNumbers) -> None:
        """Keep the noise scales as they are now; the last ones are recorded.

        Args:
            sigmas: The noise scales.
        """
        self._sigmas = vector(sigmas, self.names, "sigma")

    def take(self) -> StepMeans | None:
        """Return the means over the steps since the last call; None if there were none."""
        if not self._steps:
            return None
        columns = {
            name: [step[name] for step in self._steps if name in step]
            for name in ("loss", "weight", "objective")
        }
        self._steps = []
        means: dict[str, list[float | None]] = {
            name: _numbers(torch.stack(values).nanmean(0))
            for name, values in columns.items()
            if values
        }
        nothing: list[float | None] = [None] * len(self.names)
        sigmas = nothing if self._sigmas is None else _numbers(self._sigmas)
        return StepMeans(
            means["loss"],
            means.get("weight", nothing),
            sigmas,
            means.get("objective", [None])[0],
        )


def vector(values: TaskNumbers, names: Sequence[str], quantity: str) -> Tensor:
    """Return numbers of all tasks as a vector ``[T]`` in double precision; NaN for None.

    Args:
        values: The numbers, by name or in the order of the tasks.
        names: The names of the tasks.
        quantity: Their name, for the error.

    Raises:
        ConfigError: If they are not one for each task.

    Example:
        >>> vector({"b": 2.0, "a": 1.0}, ["a", "b"], "loss")
        tensor([1., 2.], dtype=torch.float64)
    """
    if isinstance(values, Mapping):
        if set(values) != set(names):
            raise ConfigError(
                f"Every task needs a {quantity}: {', '.join(names)}; found {', '.join(map(str, values)) or 'none'}."
            )
        values = [values[name] for name in names]
    if len(values) != len(names):
        raise ConfigError(
            f"Every task needs a {quantity}: {', '.join(names)}; found {len(values)} numbers."
        )
    if isinstance(values, Tensor):
        return values.detach().double().reshape(len(names))
    entries = [float("nan") if value is None else value for value in values]
    if any(isinstance(entry, Tensor) for entry in entries):
        tensors = [torch.as_tensor(entry).detach().double().reshape(()) for entry in entries]
        device = next(entry.device for entry in entries if isinstance(entry, Tensor))
        return torch.stack([tensor.to(device) for tensor in tensors])
    return torch.tensor(entries, dtype=torch.float64)


def _derivatives(objective: Tensor | float | None, losses: TaskNumbers) -> Tensor | None:
    """Return d objective / d losses, where the one depends on the tensor of the others."""
    if not (isinstance(objective, Tensor) and isinstance(losses, Tensor)):
        return None
    if not (objective.requires_grad and losses.requires_grad):
        return None
    (weights,) = torch.autograd.grad(objective, losses, retain_graph=True, allow_unused=True)
    return weights


def _numbers(values: Tensor) -> list[float | None]:
    """Return numbers of a tensor, None for NaN."""
    return [None if number != number else number for number in values.tolist()]
