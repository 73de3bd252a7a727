"""The Nash bargaining solution of two tasks in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError


class NashTwo(nn.Module):
    r"""NashMTL (Navon et al., ICML 2022) for two rows, without a solver.

    The weights solve :math:`G\alpha = 1/\alpha` for the Gramian :math:`G = \begin{pmatrix} a & b \\ b & c \end{pmatrix}`:

    .. math:: \alpha_1 = (a + b\sqrt{a/c})^{-1/2}, \qquad \alpha_2 = \alpha_1 \sqrt{a/c}

    The direction has norm :math:`\sqrt 2` and is then scaled to at most ``max_norm``, as in TorchJD. For opposite gradients, where no
    direction serves both, it is 0; a gradient of 0 leaves the other one, at norm 1.

    Args:
        max_norm: largest norm of the direction; 0: not limited.

    Shape: rows ``[2, P]`` -> direction ``[P]``. Raises ``ConfigError`` for a negative ``max_norm``.
    """

    def __init__(self, max_norm: float = 1.0) -> None:
        super().__init__()
        if not max_norm >= 0:
            raise ConfigError(f"update.options.max_norm must be at least 0; found {max_norm!r}.")
        self.max_norm = float(max_norm)

    def forward(self, rows: Tensor) -> Tensor:
        return self.gramian_weighting(rows @ rows.T) @ rows

    def gramian_weighting(self, gramian: Tensor) -> Tensor:
        """The weights ``[2]`` from the Gramian ``[2, 2]``."""
        norms = gramian.diagonal().clamp(min=0).sqrt()
        alone = norms > 0
        safe = torch.where(alone, norms, 1.0)
        cosine = (gramian[0, 1] / (safe[0] * safe[1])).clamp(-1, 1)
        # Both unit rows get the weight (1 + cosine)^(-1/2); alone, a row gets 1.
        together = torch.where(cosine > -1 + 1e-6, (1 + cosine).clamp(min=1e-6).rsqrt(), 0.0)
        weights = torch.where(alone, torch.where(alone.all(), together, 1.0) / safe, 0.0)
        if not self.max_norm:
            return weights
        norm = (weights @ gramian @ weights).clamp(min=0).sqrt()
        return weights * torch.where(norm > self.max_norm, self.max_norm / norm.clamp(min=1e-30), 1.0)
