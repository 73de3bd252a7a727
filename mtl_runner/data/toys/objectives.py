"""Objectives that are functions of a point; the model is :class:`~mtl_runner.models.Point`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mtl_runner.data.dataset import SPLITS, Split
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import is_whole_number
from mtl_runner.tasks.task import Task, TermLoss

Objective = Callable[[Tensor], Tensor]

FLOOR = 5e-6  # of the CAGrad toy: where its valleys are cut off


class CAGradToy:
    r"""Two conflicting objectives of a point in the plane (Liu et al., CAGrad, NeurIPS 2021).

    .. math::
        f_1 &= \log\max(|\tfrac12(-x_1 - 7) - \tanh(-x_2)|, 5\cdot10^{-6}) + 6, \\
        f_2 &= \log\max(|\tfrac12(-x_1 + 3) + \tanh(-x_2) + 2|, 5\cdot10^{-6}) + 6, \\
        q_1 &= ((-x_1 + 7)^2 + \tfrac1{10}(-x_2 - 8)^2) / 10 - 20, \\
        q_2 &= ((-x_1 - 7)^2 + \tfrac1{10}(-x_2 - 8)^2) / 10 - 20, \\
        L_t &= c_1 f_t + c_2 q_t, \qquad
        c_1 = \max(\tanh(x_2/2), 0), \quad c_2 = \max(\tanh(-x_2/2), 0)

    where

    - :math:`x_1, x_2` are the point's coordinates,
    - :math:`f_t` is a narrow valley, which counts above the axis,
    - :math:`q_t` is a bowl, which counts below it,
    - :math:`L_1, L_2` are the losses ``l1`` and ``l2``.

    The published starts are (-8.5, 7.5), (-8.5, -5) and (9, 9). A split is one row that says
    nothing, so that an epoch is one step.

    Example:
        >>> import torch
        >>> from mtl_runner.data import CAGradToy
        >>> point = {"point": torch.tensor([0.0, -8.0])}
        >>> [round(float(task.loss(point, {})), 2) for task in CAGradToy().tasks]
        [-15.09, -15.09]
    """

    def __init__(self) -> None:
        self.tasks = _tasks(2, l1=_l1, l2=_l2)
        self.splits = _splits_of_one_row()


class FonsecaFleming:
    r"""Two objectives whose front is concave (Fonseca & Fleming, Evol. Computation 3(1), 1995).

    .. math::
        f_1 = 1 - \exp(-\lVert x - 1/\sqrt n \rVert^2), \qquad
        f_2 = 1 - \exp(-\lVert x + 1/\sqrt n \rVert^2)

    where :math:`x` is a point of :math:`n` coordinates.

    Optimal are the points of equal coordinates between :math:`\pm 1/\sqrt n`; the front's ends are
    :math:`(0, 1 - e^{-4})` and the reverse. The minima of every weighted sum lie close to them
    (equal weights: :math:`f_1 = 0.0018` or :math:`f_2 = 0.0018`), and near the middle of the
    weights' range the start decides which: no fixed weighting reaches the front's middle. A split
    is one row that says nothing, so that an epoch is one step.

    Args:
        n: Number of coordinates of the point.

    Raises:
        ConfigError: If ``n`` is not a whole number of at least 1.

    Example:
        >>> import torch
        >>> from mtl_runner.data import FonsecaFleming
        >>> point = {"point": torch.full((4,), 0.5)}
        >>> [round(float(task.loss(point, {})), 3) for task in FonsecaFleming(n=4).tasks]
        [0.0, 0.982]
    """

    def __init__(self, n: int = 20) -> None:
        if not is_whole_number(n, 1):
            raise ConfigError(
                f"data.n must be a whole number of at least 1, the point's coordinates; found {n!r}."
            )
        centre = 1 / math.sqrt(n)
        self.tasks = _tasks(
            n, f1=lambda point: _well(point - centre), f2=lambda point: _well(point + centre)
        )
        self.splits = _splits_of_one_row()


def _l1(point: Tensor) -> Tensor:
    x1, x2 = point.unbind()
    return _valley_or_bowl(x2, valley=0.5 * (-x1 - 7) - torch.tanh(-x2), bowl=-x1 + 7)


def _l2(point: Tensor) -> Tensor:
    x1, x2 = point.unbind()
    return _valley_or_bowl(x2, valley=0.5 * (-x1 + 3) + torch.tanh(-x2) + 2, bowl=-x1 - 7)


def _valley_or_bowl(x2: Tensor, valley: Tensor, bowl: Tensor) -> Tensor:
    """Return ``c1 f + c2 q``.

    f is lowest where ``valley`` is 0, q where ``bowl`` is 0 and ``x2`` is -8.
    """
    f = valley.abs().clamp(min=FLOOR).log() + 6
    q = (bowl.square() + 0.1 * (-x2 - 8).square()) / 10 - 20
    c1, c2 = (torch.tanh(0.5 * side).clamp(min=0) for side in (x2, -x2))
    return f * c1 + q * c2


def _well(offset: Tensor) -> Tensor:
    return -torch.expm1(-offset.square().sum())


def _tasks(size: int, **objectives: Objective) -> list[Task]:
    """Return a loss term for each function of a point of ``size`` coordinates."""
    return [
        Task(name, "term", loss_term=_at_the_point(objective, size))
        for name, objective in objectives.items()
    ]


def _at_the_point(objective: Objective, size: int) -> TermLoss:
    def term(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        del targets
        point = outputs.get("point")
        # A point of another size would broadcast, and be wrong in silence.
        if point is None or point.shape != (size,):
            given = "another model's outputs" if point is None else f"{point.numel()}"
            raise ConfigError(
                f"The objective is a function of a point of {size} numbers; use model=point and give model.start {size} numbers (found {given})."
            )
        return objective(point)

    return term


def _splits_of_one_row() -> dict[str, Split]:
    return {name: Split(torch.zeros(1, 1), {}) for name in SPLITS}
