"""The shortest vector in the convex hull of the gradients, exactly: MGDA without its iteration."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Matrix = NDArray[np.float64]

# The slope below which a row outside the active set cannot shorten the vector: rounding, for rows
# of norm 1 in float64.
FLAT = 1e-14

# A vector shorter than so many roundings of its terms is 0: its direction would be rounding.
ROUNDINGS = 8

# Columns that are converted to float64 at a time, so that no copy of the Jacobian is made.
COLUMNS = 2**16


class ShortestVector(nn.Module):
    r"""Take the shortest vector in the convex hull of the gradients.

    **Source:** Désidéri, *Multiple-gradient descent algorithm (MGDA) for multiobjective
    optimization*, Comptes Rendus 2012; Lawson & Hanson, *Solving Least Squares Problems*, 1974,
    chapter 23, for the solution.

    .. math::

        d = \sum_t w_t g_t, \qquad
        w = \arg\min_{w \ge 0, \, \sum_t w_t = 1} \Bigl\|\sum_t w_t g_t\Bigr\|^2

    where :math:`g_t` are the k rows and w their weights. Then :math:`\langle g_t, d \rangle \ge
    \|d\|^2` for every row: no task goes uphill.

    With rows :math:`u_t = g_t / \|g_t\|` and :math:`b_t = \min_s \|g_s\| / \|g_t\|`, the weights
    are those of the non-negative least squares problem :math:`\min_{v \ge 0} \|\sum_t v_t u_t\|^2 +
    (1 - \sum_t b_t v_t)^2`, as :math:`w_t \propto b_t v_t`. The active-set method of Lawson and
    Hanson solves it exactly in a few steps, whatever the rows' sizes.

    **Departs from** the Frank-Wolfe steps of Sener & Koltun (2018), which TorchJD follows: from
    three rows on they stop early, at a vector that is too long and may go uphill. Products of rows
    are summed in float64. Where the vector is 0 but for rounding, the weights are 0, too:
    an optimizer such as Adam would make full steps of the rounding.

    Example:
        >>> ShortestVector()(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        tensor([0.9000, 0.3000])
        >>> ShortestVector()(torch.tensor([[1.0, 0.0], [-10.0, 0.0]]))  # opposite: it stands still
        tensor([0., 0.])
    """

    def forward(self, rows: Tensor) -> Tensor:
        """Return the direction ``[P]`` for the rows ``[k, P]``."""
        return self.weighting(rows) @ rows

    def weighting(self, rows: Tensor) -> Tensor:
        """Return the weights ``[k]`` of the rows ``[k, P]``; NaN where the rows are not finite."""
        return self.weights_of(exact_gramian(rows), rows)

    def weights_of(self, gramian: Tensor, like: Tensor) -> Tensor:
        """Return the weights ``[k]`` of rows from their products; NaN where they are not finite.

        Args:
            gramian: The products of the rows ``[k, k]`` in float64.
            like: A tensor of the type of the rows, on their device.
        """
        products = gramian.cpu().numpy()
        if not np.isfinite(products).all():
            return like.new_full((len(products),), torch.nan)
        return torch.from_numpy(_weights(products, torch.finfo(like.dtype).eps)).to(like)


def exact_gramian(rows: Tensor) -> Tensor:
    """Return the products of the rows ``[k, k]`` in float64.

    Example:
        >>> exact_gramian(torch.tensor([[1.0, 2.0], [0.0, 3.0]]))
        tensor([[5., 6.],
                [6., 9.]], dtype=torch.float64)
    """
    gramian = rows.new_zeros((len(rows), len(rows)), dtype=torch.float64)
    for columns in torch.split(rows, COLUMNS, dim=1):
        block = columns.double()
        gramian.addmm_(block, block.T)
    return gramian


def _weights(gramian: Matrix, rounding: float) -> Matrix:
    """Return the weights ``[k]`` of the shortest vector for a Gramian ``[k, k]``.

    Args:
        gramian: The products of the rows.
        rounding: The relative rounding of a number of the rows.

    Returns:
        Weights that sum to 1; all 0 where the vector is 0 but for rounding.
    """
    norms = np.sqrt(np.maximum(gramian.diagonal(), 0))
    if not norms.all():
        return np.zeros_like(norms)  # a row of 0 is the shortest vector
    cosines = gramian / norms / norms[:, None]
    relative = norms.min() / norms
    coefficients = _non_negative_solution(cosines + np.outer(relative, relative), relative)
    # The length is compared with that of the terms, whose rounding it has.
    squared_length = coefficients @ cosines @ coefficients
    largest_rounding = max((ROUNDINGS * rounding) ** 2, ROUNDINGS * np.finfo(np.float64).eps)
    if squared_length <= largest_rounding * coefficients.sum() ** 2:
        return np.zeros_like(norms)
    weights: Matrix = relative * coefficients / (relative @ coefficients)
    return weights


def _non_negative_solution(matrix: Matrix, target: Matrix) -> Matrix:
    """Return the v ``[k]`` that minimises v' A v / 2 - b' v subject to v >= 0.

    Args:
        matrix: A, symmetric and positive semidefinite, ``[k, k]``.
        target: b, which lies in the span of A and has a positive entry, ``[k]``.
    """
    solution = np.zeros_like(target)
    passive = np.zeros(len(target), dtype=bool)  # those that are free to be positive
    # From 0 the slope is b, and one equation needs no solver.
    first = target.argmax()
    passive[first], solution[first] = True, target[first] / matrix[first, first]
    # Lawson and Hanson's method ends by itself; the limit guards against rounding.
    for _ in range(10 * len(target)):
        slope = np.where(passive, -np.inf, target - matrix @ solution)
        entering = int(slope.argmax())
        if slope[entering] <= FLAT:
            break
        passive[entering] = True
        while True:
            trial = np.zeros_like(target)
            trial[passive] = np.linalg.lstsq(
                matrix[passive][:, passive], target[passive], rcond=None
            )[0]
            blocked = passive & (trial <= 0)
            if not blocked.any():
                break
            fractions = solution[blocked] / (solution[blocked] - trial[blocked])
            fraction = fractions.min()
            passive[np.flatnonzero(blocked)[fractions <= fraction]] = False
            solution = np.where(passive, solution + fraction * (trial - solution), 0.0)
        solution = trial
    return solution
