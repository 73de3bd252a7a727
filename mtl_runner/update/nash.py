"""Nash bargaining solutions: in closed form for two tasks, by Newton's method for more."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mtl_runner.errors import ConfigError

Matrix = NDArray[np.float64]

# A cosine this close to -1 leaves no direction that serves both; well above the rounding of a
# float32 Gramian.
OPPOSITE = 1e-6

# Newton steps at most.
ITERATIONS = 100

# Weights of rows of norm 1 that exceed this grow without end.
LARGEST_WEIGHT = 1e6

# Largest residual of the solved equation; above it there is no solution.
LARGEST_RESIDUAL = 1e-6


class Nash(nn.Module):
    r"""Take the Nash bargaining solution of the gradients, also with unequal bargaining powers.

    **Source:** Navon et al., *Multi-Task Learning as a Bargaining Game*, ICML 2022, claim 3.1,
    `arXiv:2202.01017 <https://arxiv.org/abs/2202.01017>`__; with preferences Shamsian et al.,
    *Auxiliary Learning as an Asymmetric Bargaining Game*, ICML 2023, `arXiv:2301.13501
    <https://arxiv.org/abs/2301.13501>`__.

    .. math:: d = \sum_t \alpha_t g_t, \qquad G \alpha = p / \alpha

    where

    - :math:`g_t` are the k rows, the gradients of the active tasks, and G is their Gramian,
    - :math:`\alpha` are the positive weights that solve the equation,
    - p are the preferences, scaled so that their sum is k; equal ones are all 1,
    - :math:`\|d\| = \sqrt k`, then scaled to at most ``max_norm``.

    With rows of norm 1 the equation is the minimum of :math:`\tfrac12 \beta^\top C \beta - \sum_t
    p_t \log\beta_t`, with C the matrix of cosines. It is convex and self-concordant, so damped
    Newton steps find it. For two rows the ratio of the weights solves a quadratic equation; with
    equal preferences :math:`\beta = (1 + \cos)^{-1/2}`.

    **Departs from** the authors' sequence of convex programs, which TorchJD follows: that often
    stops short of the solution for three tasks and more, and fails for small gradients. Where no
    direction serves all (opposite gradients) it is 0 here; a gradient of 0 leaves the others as if
    it were not there.

    Args:
        max_norm: Largest norm of the direction; 0: not limited.
        preferences: The bargaining power of each row, positive, shape ``[k]``; only their ratios
            count. By default all are equal.

    Raises:
        ConfigError: If ``max_norm`` is negative or a preference is not positive.

    Example:
        >>> nash = Nash(max_norm=0)
        >>> nash(torch.tensor([[1.0, 0.0], [0.0, 10.0]]))
        tensor([1., 1.])
        >>> nash(torch.tensor([[1.0, 0.0], [-10.0, 0.0]]))  # opposite: it stands still
        tensor([0., 0.])
    """

    def __init__(self, max_norm: float = 1.0, preferences: Tensor | None = None) -> None:
        super().__init__()
        if isinstance(max_norm, bool) or not isinstance(max_norm, int | float) or not max_norm >= 0:
            raise ConfigError(f"update.options.max_norm must be at least 0; found {max_norm!r}.")
        if preferences is not None and not bool((preferences > 0).all()):
            raise ConfigError(
                f"update.options.preferences must be positive for every task; found {preferences.min().item():g}."
            )
        self.max_norm, self.preferences = float(max_norm), preferences

    def forward(self, rows: Tensor) -> Tensor:
        """Return the direction ``[P]`` for the rows ``[k, P]``."""
        return self.gramian_weighting(rows @ rows.T) @ rows

    def gramian_weighting(self, gramian: Tensor) -> Tensor:
        """Return the weights of the rows, ``[k]``, from their Gramian ``[k, k]``."""
        if len(gramian) == 2:
            return self._weights_of_two(gramian)
        # NumPy solves a few equations in a fraction of the time that torch takes.
        return torch.from_numpy(self._weights_of_many(gramian.cpu().double().numpy())).to(gramian)

    def _weights_of_two(self, gramian: Tensor) -> Tensor:
        """Return the weights ``[2]``, without waiting for the device."""
        norms = gramian.diagonal().clamp(min=0).sqrt()
        nonzero = norms > 0
        safe_norms = torch.where(nonzero, norms, 1.0)
        cosines = gramian / safe_norms.unsqueeze(0) / safe_norms.unsqueeze(1)
        powers = torch.ones_like(norms) if self.preferences is None else self.preferences.to(norms)
        pair = _bargain_of_two(cosines[0, 1].clamp(-1, 1), powers)
        unit_weights = torch.where(nonzero.all(), pair, nonzero.to(norms.dtype))
        weights = torch.where(nonzero, unit_weights / safe_norms, 0.0)
        if not self.max_norm:
            return weights
        norm = (unit_weights * nonzero) @ cosines @ (unit_weights * nonzero)
        norm = norm.clamp(min=0).sqrt()
        return weights * torch.where(
            norm > self.max_norm, self.max_norm / norm.clamp(min=1e-30), 1.0
        )

    def _weights_of_many(self, gramian: Matrix) -> Matrix:
        """Return the weights ``[k]``."""
        with np.errstate(all="ignore"):  # what is not finite stays so
            norms = np.sqrt(np.maximum(gramian.diagonal(), 0))
            nonzero = norms > 0
            cosines = gramian[nonzero][:, nonzero] / norms[nonzero] / norms[nonzero][:, None]
            powers = np.ones_like(norms)
            if self.preferences is not None:
                powers = self.preferences.cpu().double().numpy()
            unit_weights = _bargain(cosines, powers[nonzero])
            weights = np.zeros_like(norms)
            weights[nonzero] = unit_weights / norms[nonzero]
            norm = math.sqrt(max(float(unit_weights @ cosines @ unit_weights), 0.0))
            if self.max_norm and norm > self.max_norm:
                weights *= self.max_norm / norm
            return weights


def _bargain_of_two(cosine: Tensor, powers: Tensor) -> Tensor:
    """Return the weights ``[2]`` of two rows of norm 1; 0 if they are opposite.

    Args:
        cosine: The cosine of the rows.
        powers: Their preferences, shape ``[2]``.
    """
    powers = powers * (2 / powers.sum())
    quotient = powers.min() / powers.max()
    # The smaller weight over the larger one is the root of r^2 + cos (1 - q) r - q.
    slope = cosine * (1 - quotient)
    root = (slope * slope + 4 * quotient).sqrt()
    ratio = torch.where(slope > 0, 2 * quotient / (slope.abs() + root), (root - slope) / 2)
    larger = powers.max().sqrt() * (1 + cosine * ratio).clamp(min=OPPOSITE).rsqrt()
    weights = torch.stack([larger, ratio * larger])
    weights = torch.where(powers[1] > powers[0], weights.flip(0), weights)
    return torch.where(cosine > OPPOSITE - 1, weights, 0.0)


def _bargain(cosines: Matrix, powers: Matrix) -> Matrix:
    """Return the weights of rows of norm 1, by damped Newton steps.

    Args:
        cosines: The Gramian of the rows, shape ``[k, k]``.
        powers: Their preferences, shape ``[k]``.

    Returns:
        The weights ``[k]``; all 0 if there is no solution.
    """
    none = np.zeros_like(powers)
    if not len(powers):
        return none
    powers = powers * (len(powers) / powers.sum())
    is_equal = bool((powers == powers[0]).all())
    beta = np.sqrt(powers)
    for _ in range(ITERATIONS):
        slope = cosines @ beta - powers / beta
        try:
            step = np.linalg.solve(cosines + np.diag(powers / beta**2), slope)
        except np.linalg.LinAlgError:
            return none
        if not np.isfinite(step).all() or beta.max() > LARGEST_WEIGHT:
            return none  # beta grows without end: no direction serves all
        decrement = math.sqrt(max(float(slope @ step), 0.0))
        # A step of 1 / (1 + size) descends for either size; with very unequal powers the usual one
        # would make thousands of tiny steps.
        size = decrement if is_equal else float(np.abs(step / beta).max())
        beta = beta - step / (1 + size if size > 0.25 else 1)
        if decrement < 1e-12:
            break
    is_solved = np.abs((cosines @ beta) * beta / powers - 1).max() < LARGEST_RESIDUAL
    return beta if is_solved and (beta > 0).all() and not _cancels(cosines, beta) else none


def _cancels(cosines: Matrix, beta: Matrix) -> bool:
    """Return whether a mean of the rows of norm 1 is 0 but for rounding: no direction serves all.

    The mean is weighted by ``beta``. Its squared length is that of the mean of two rows whose
    cosine is ``OPPOSITE - 1``, or less. Otherwise the Gramian's rounding, and so the processor,
    would decide on which side of singular it falls.
    """
    shares = beta / beta.sum()
    return bool(shares @ cosines @ shares <= OPPOSITE / 2)
