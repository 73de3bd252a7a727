"""Objectives that are functions of a point (the model is `models.Point`); the data are a row to hang a step on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mtl_runner.data.dataset import SPLITS, Split
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import is_whole
from mtl_runner.tasks.task import Task, TermLoss

Objective = Callable[[Tensor], Tensor]

FLOOR = 5e-6  # of the CAGrad toy: where its valleys are cut off


class CAGradToy:
    r"""Two conflicting objectives of a point in the plane (Liu et al., "Conflict-Averse Gradient Descent", NeurIPS 2021).

    .. math::
        f_1 &= \log\max(|\tfrac12(-x_1 - 7) - \tanh(-x_2)|, 5\cdot10^{-6}) + 6, &
        q_1 &= ((-x_1 + 7)^2 + \tfrac1{10}(-x_2 - 8)^2) / 10 - 20, \\
        f_2 &= \log\max(|\tfrac12(-x_1 + 3) + \tanh(-x_2) + 2|, 5\cdot10^{-6}) + 6, &
        q_2 &= ((-x_1 - 7)^2 + \tfrac1{10}(-x_2 - 8)^2) / 10 - 20,

    ``l1`` and ``l2`` are :math:`L_t = c_1 f_t + c_2 q_t` with :math:`c_1 = \max(\tanh(x_2/2), 0)` and
    :math:`c_2 = \max(\tanh(-x_2/2), 0)`: above the axis the :math:`f_t`, each a narrow valley, below it the bowls :math:`q_t`.
    The published starts are (-8.5, 7.5), (-8.5, -5) and (9, 9).
    """

    def __init__(self) -> None:
        self.tasks = _tasks(2, l1=_l1, l2=_l2)
        self.splits = _one_row_each()


class FonsecaFleming:
    r"""Two objectives whose front is concave (Fonseca & Fleming, Evolutionary Computation 3(1), 1995).

    .. math:: f_1 = 1 - \exp(-\lVert x - 1/\sqrt n \rVert^2), \qquad f_2 = 1 - \exp(-\lVert x + 1/\sqrt n \rVert^2)

    Optimal are the points of equal coordinates between :math:`\pm 1/\sqrt n`; the front's ends are :math:`(0, 1 - e^{-4})` and the
    reverse. The minima of every weighted sum lie close to them (equal weights: :math:`f_1 = 0.0018` or :math:`f_2 = 0.0018`), and
    near the middle of the weights' range the start decides which: no fixed weighting reaches the front's middle.

    Args:
        n: coordinates of the point. Raises ``ConfigError`` unless it is a whole number of at least 1.
    """

    def __init__(self, n: int = 20) -> None:
        if not is_whole(n, 1):
            raise ConfigError(
                f"data.n must be a whole number of at least 1, the point's coordinates; found {n!r}."
            )
        centre = 1 / math.sqrt(n)
        self.tasks = _tasks(
            n, f1=lambda point: _well(point - centre), f2=lambda point: _well(point + centre)
        )
        self.splits = _one_row_each()


def _l1(point: Tensor) -> Tensor:
    x1, x2 = point.unbind()
    return _valley_or_bowl(x2, valley=0.5 * (-x1 - 7) - torch.tanh(-x2), bowl=-x1 + 7)


def _l2(point: Tensor) -> Tensor:
    x1, x2 = point.unbind()
    return _valley_or_bowl(x2, valley=0.5 * (-x1 + 3) + torch.tanh(-x2) + 2, bowl=-x1 - 7)


def _valley_or_bowl(x2: Tensor, valley: Tensor, bowl: Tensor) -> Tensor:
    """``c1 f + c2 q``; f is lowest where ``valley`` is 0, q where ``bowl`` is 0 and ``x2`` is -8."""
    f = valley.abs().clamp(min=FLOOR).log() + 6
    q = (bowl.square() + 0.1 * (-x2 - 8).square()) / 10 - 20
    c1, c2 = (torch.tanh(0.5 * side).clamp(min=0) for side in (x2, -x2))
    return f * c1 + q * c2


def _well(offset: Tensor) -> Tensor:
    return -torch.expm1(-offset.square().sum())


def _tasks(size: int, **objectives: Objective) -> list[Task]:
    """A loss term for each function of a point of ``size`` coordinates."""
    return [
        Task(name, "term", loss_term=_at_the_point(objective, size))
        for name, objective in objectives.items()
    ]


def _at_the_point(objective: Objective, size: int) -> TermLoss:
    def term(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        del targets
        point = outputs.get("point")
        if point is None or point.shape != (
            size,
        ):  # another size would broadcast, and be wrong in silence
            found = "another model's outputs" if point is None else f"{point.numel()}"
            raise ConfigError(
                f"The objective is a function of a point of {size} numbers; use model=point and give model.start {size} numbers (found {found})."
            )
        return objective(point)

    return term


def _one_row_each() -> dict[str, Split]:
    """Splits of one row that says nothing: an epoch is one step."""
    return {name: Split(torch.zeros(1, 1), {}) for name in SPLITS}
