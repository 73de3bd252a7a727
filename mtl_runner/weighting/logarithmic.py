"""Objectives of the logarithms of the losses: scale-invariant, with nothing to learn.

TorchJD has the geometric mean too; ours leaves a loss of 0 finite and needs no extra.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_runner.tasks.activity import Active
from mtl_runner.weighting.base import TINY, Weighting


class LogSum(Weighting):
    r"""Scale-invariant loss: :math:`\sum_t \log L_t`, weights :math:`1/L_t`.

    It shares its stationary points with uncertainty weighting at its optimum, IMTL-L and the geometric mean.

    Shape: losses ``[k]`` -> scalar. A loss below 1e-12 counts as 1e-12, without a gradient.
    """

    negative_losses = "gives the weight 0"
    replica_options = ()

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        del active
        return torch.log(losses.clamp(min=TINY)).sum()


class GeometricMean(Weighting):
    r"""Geometric loss strategy: :math:`\exp(\tfrac1k \sum_t \log L_t)` (Chennupati et al., CVPR Workshops 2019).

    Shape: losses ``[k]`` -> scalar. A loss below 1e-12 counts as 1e-12, without a gradient; it weakens all others, as in the formula.
    """

    negative_losses = "turns into a standstill of all tasks: every weight becomes almost 0"
    replica_options = ()

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        del active
        return torch.exp(torch.log(losses.clamp(min=TINY)).mean())
