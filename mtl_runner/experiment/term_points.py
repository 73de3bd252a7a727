"""The points of the loss terms that have some of their own: drawn by epoch, dealt out by step."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mtl_runner.data.inputs import Inputs, InputTensors
from mtl_runner.data.items.randomness import stable_seed
from mtl_runner.errors import ConfigError
from mtl_runner.errors.words import counted
from mtl_runner.tasks.points import PointSet
from mtl_runner.tasks.task import Task

#: Points by the name of the loss term.
Points = dict[str, Inputs]


class TermPoints:
    """The points of every loss term at every step of a run.

    They are a function of the seed, the term and the epoch alone, so a run that stops and goes on
    has nothing to remember.

    Args:
        tasks: The tasks, of which some have points.
        seed: The seed of the run.
        steps_per_epoch: Number of steps of an epoch, over which the points are shared out.
        device: Where the points go.

    Raises:
        ConfigError: If a term has fewer points than an epoch has steps.

    Example:
        >>> from mtl_runner import Task
        >>> def term(model, batch): ...
        >>> term.points = PointSet(lambda n, generator: torch.rand(n, 2, generator=generator), n=6)
        >>> points = TermPoints([Task("pde", "term", loss_term=term)], 0, 3, torch.device("cpu"))
        >>> tuple(points.of_step(0)["pde"].shape)
        (2, 2)
        >>> torch.equal(points.of_step(0)["pde"], points.of_step(3)["pde"])  # the next epoch
        False
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        seed: int,
        steps_per_epoch: int,
        device: torch.device,
    ) -> None:
        self.sets = {task.name: task.points for task in tasks if task.points is not None}
        self.seed, self.steps, self.device = seed, steps_per_epoch, device
        for name, points in self.sets.items():
            if points.n < steps_per_epoch:
                raise ConfigError(
                    f"The loss term {name!r} has {counted(points.n, 'point')} for the {steps_per_epoch} steps of an epoch; give it at least one per step, or make data.batch_size larger."
                )
        self._epoch = -1
        self._points: Points = {}

    def of_step(self, step: int) -> Points:
        """Return the points of each term at a step.

        Args:
            step: Number of the step in the run, counted from 0.
        """
        if not self.sets:
            return {}
        epoch, place = divmod(step, self.steps)
        if epoch != self._epoch:
            self._epoch, self._points = epoch, self._of_epoch(epoch)
        if self.steps == 1:
            return self._points
        return {
            name: self._share(self._points[name], points.n, place)
            for name, points in self.sets.items()
        }

    def _share(self, points: Inputs, n: int, place: int) -> Inputs:
        rows = slice(place * n // self.steps, (place + 1) * n // self.steps)
        return InputTensors(points).map(lambda tensor: tensor[rows])

    def _of_epoch(self, epoch: int) -> Points:
        """Return all points of an epoch; those that stay are drawn once."""
        return {
            name: drawn(points, f"{self.seed} {name}", epoch, self.device)
            if points.resample or name not in self._points
            else self._points[name]
            for name, points in self.sets.items()
        }


def points_for_evaluation(tasks: Sequence[Task], device: torch.device) -> Points:
    """Return the points at which the loss terms are evaluated, the same in all runs.

    Args:
        tasks: The tasks, of which some have points.
        device: Where the points go.
    """
    return {
        task.name: drawn(task.points, f"evaluation {task.name}", 0, device)
        for task in tasks
        if task.points is not None
    }


def drawn(points: PointSet, seed: str, epoch: int, device: torch.device) -> Inputs:
    """Return the points of an epoch, drawn with a generator of their own.

    Args:
        points: Where they come from.
        seed: What tells runs and terms apart.
        epoch: Number of the epoch; not resampled, all epochs have the points of the first.
        device: Where the points go.

    Raises:
        ConfigError: If what is drawn is no tensor, or has another number of points.
    """
    generator = torch.Generator().manual_seed(
        stable_seed("points", seed, epoch if points.resample else 0)
    )
    inputs = InputTensors(points.draw(points.n, generator))
    for tensor in inputs.tensors.values():
        if not isinstance(tensor, torch.Tensor) or tensor.dim() < 2 or len(tensor) != points.n:
            shape = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else tensor
            raise ConfigError(
                f"The `draw` of a PointSet must return {points.n} points as a tensor [{points.n}, ...], like the inputs of the model; found {shape}."
            )
    return inputs.map(lambda tensor: tensor.to(device))
