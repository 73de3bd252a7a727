"""The Nash bargaining solution: in closed form for two tasks, by Newton's method for more."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError

OPPOSITE = 1e-6  # a cosine so near to -1 leaves no direction that serves both; well above the rounding of a float32 Gramian
ITERATIONS = 100
ENDLESS = 1e6  # weights of rows of norm 1 that have grown so far grow without end
RESIDUAL = 1e-6  # of the solved equation; above it there is no solution


class Nash(nn.Module):
    r"""NashMTL (Navon et al., ICML 2022, claim 3.1) without its sequence of convex programs.

    The weights solve :math:`G\alpha = 1/\alpha` for the Gramian G of the k rows; the direction has norm :math:`\sqrt k` and is then
    scaled to at most ``max_norm``. With rows of norm 1 the equation is the minimum of :math:`\tfrac12 \beta^\top C \beta - \sum \log\beta_i`, which
    is convex and self-concordant, so damped Newton steps find it; for two rows :math:`\beta = (1 + \cos)^{-1/2}`.
    TorchJD's NashMTL, after the authors' code, often stops short of the solution for three tasks and more, and fails for small
    gradients. Where no direction serves all (opposite gradients) it is 0; a gradient of 0 leaves the others as if it were not there.

    Args:
        max_norm: largest norm of the direction; 0: not limited.

    Shape: rows ``[k, P]`` -> direction ``[P]``. Raises ``ConfigError`` for a negative ``max_norm``.
    """

    def __init__(self, max_norm: float = 1.0) -> None:
        super().__init__()
        if isinstance(max_norm, bool) or not isinstance(max_norm, int | float) or not max_norm >= 0:
            raise ConfigError(f"update.options.max_norm must be at least 0; found {max_norm!r}.")
        self.max_norm = float(max_norm)

    def forward(self, rows: Tensor) -> Tensor:
        return self.gramian_weighting(rows @ rows.T) @ rows

    def gramian_weighting(self, gramian: Tensor) -> Tensor:
        """The weights ``[k]`` from the Gramian ``[k, k]``."""
        norms = gramian.diagonal().clamp(min=0).sqrt()
        there = norms > 0
        safe = torch.where(there, norms, 1.0)
        cosines = gramian / safe.unsqueeze(0) / safe.unsqueeze(1)
        if len(gramian) == 2:
            cosine = cosines[0, 1].clamp(-1, 1)
            together = torch.where(
                cosine > OPPOSITE - 1, (1 + cosine).clamp(min=OPPOSITE).rsqrt(), 0.0
            )
            units = torch.where(there.all(), together, there.to(norms.dtype)).expand(2)
        else:
            units = _bargain(cosines.double().cpu(), there.cpu()).to(norms)
        weights = torch.where(there, units / safe, 0.0)
        if not self.max_norm:
            return weights
        norm = (units * there) @ cosines @ (units * there)
        norm = norm.clamp(min=0).sqrt()
        return weights * torch.where(
            norm > self.max_norm, self.max_norm / norm.clamp(min=1e-30), 1.0
        )


def _bargain(cosines: Tensor, there: Tensor) -> Tensor:
    """The weights of rows of norm 1, 0 for those that are not there; all 0 if there is no solution."""
    units = torch.zeros(len(cosines), dtype=cosines.dtype)
    if not bool(there.any()):
        return units
    matrix = cosines[there][:, there]
    beta = torch.ones(len(matrix), dtype=matrix.dtype)
    for _ in range(ITERATIONS):
        slope = matrix @ beta - 1 / beta
        step, singular = torch.linalg.solve_ex(matrix + torch.diag(beta.pow(-2)), slope)
        if int(singular) or not bool(step.isfinite().all()) or float(beta.max()) > ENDLESS:
            return units  # it grows without end: no direction serves all
        decrement = torch.dot(slope, step).clamp(min=0).sqrt()
        beta = beta - step / (1 + decrement if decrement > 0.25 else 1)
        if decrement < 1e-12:
            break
    if (
        bool(((matrix @ beta) * beta - 1).abs().max() < RESIDUAL)
        and bool((beta > 0).all())
        and not _cancels(matrix, beta)
    ):
        units[there] = beta
    return units


def _cancels(cosines: Tensor, beta: Tensor) -> bool:
    """Whether a mean of the rows of norm 1, weighed by ``beta``, is 0 but for rounding, so that no direction serves all.

    Its squared length is that of the mean of two rows whose cosine is ``OPPOSITE - 1``, or less. The Gramian's own rounding
    decides otherwise on which side of singular it falls, and so would the processor.
    """
    shares = beta / beta.sum()
    return bool(shares @ cosines @ shares <= OPPOSITE / 2)
