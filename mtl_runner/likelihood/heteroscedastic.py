"""The exact likelihood with a noise scale that the model predicts for every sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.likelihood.base import Likelihood, Tensors
from mtl_runner.likelihood.homoscedastic import GAUSSIAN, LAPLACE
from mtl_runner.tasks.task import MISSING_CLASS, Task, class_weight_tensor, has_likelihood, log_variance_key


class Heteroscedastic(Likelihood):
    r"""Exact negative log-likelihood with a predicted noise scale (Kendall & Gal, NeurIPS 2017, eq. 8; per voxel: Bragman et al., MICCAI 2018).

    The model gets one further output per regression output (:math:`s(x) = \log\sigma^2(x)`, or :math:`\log b(x)` for L1), and one per sample for
    classification and multilabel, whose logits it divides by :math:`\sigma^2(x)`; see :class:`~mtl_runner.models.PredictsNoise`. The likelihoods are those of
    :class:`~mtl_runner.likelihood.Homoscedastic`, which this one equals where :math:`s(x)` is constant.

    Args:
        tasks: the tasks.
        beta: multiply each sample's negative log-likelihood by :math:`\mathrm{sg}[e^{\beta s(x)}]` (Seitzer et al., ICLR 2022, who
            recommend 0.5): at 0 hard samples are explained away as noise and never fitted, at 1 the mean is trained as by the
            standard loss. The logged ``nll`` is without it.
        reduce: ``sum`` or ``mean`` over a target's outputs.

    Raises ``ConfigError`` for an unknown ``reduce`` or a ``beta`` outside [0, 1].
    """

    has_noise = True
    predicts_noise = True
    stacks = ()

    def __init__(self, tasks: Sequence[Task], beta: float = 0.0, reduce: str = "sum") -> None:
        super().__init__(tasks)
        if reduce not in ("sum", "mean"):
            raise ConfigError(f"likelihood.reduce={reduce!r} is unknown; allowed: sum, mean.")
        if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 <= beta <= 1:
            raise ConfigError(f"likelihood.beta must lie in [0, 1]; found {beta!r}.")
        self.beta, self.reduce = float(beta), reduce
        self.trains_nll = not beta

    def losses(self, outputs: Tensors, targets: Tensors) -> list[Tensor]:
        return [self._loss(task, outputs, targets, self.beta) for task in self.tasks]

    @torch.no_grad()
    def negative_log_likelihoods(self, outputs: Tensors, targets: Tensors) -> Tensor:
        return torch.stack([self._loss(task, outputs, targets, 0.0) for task in self.tasks])

    def _loss(self, task: Task, outputs: Tensors, targets: Tensors, beta: float) -> Tensor:
        if not has_likelihood(task):
            return task.loss(outputs, targets)
        output, s, target = outputs[task.name], outputs[log_variance_key(task.name)], targets[task.name]
        known = task.spec.known(target)
        errors = _entry_errors(task, output, s, target, known)
        if beta:
            factor = torch.exp(beta * s.detach())
            errors = errors * (factor.squeeze(1) if task.kind == "classification" else factor)
        mass = _mass(task, target, known, errors)
        total = torch.where(known, errors, 0.0).sum() if task.missing else errors.sum()
        if self.reduce == "mean":
            return total / mass
        rows = task.labelled(target).sum().clamp(min=1) if task.missing else len(target)
        entries = known.sum().clamp(min=1) if task.missing else target.numel()
        return total / mass * (entries / rows)

    def predicted_sigma(self, task: Task, outputs: Tensors) -> Tensor | None:
        """Standard deviation (Gaussian), scale b (Laplace) in the target's units, or the root of the temperature."""
        if not has_likelihood(task):
            return None
        s = outputs[log_variance_key(task.name)]
        unit = task.scale if task.kind.startswith("regression") else 1.0
        return unit * torch.exp(s if task.kind == "regression_l1" else s / 2)


def _entry_errors(task: Task, output: Tensor, s: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """The negative log-likelihood of every entry of the target; anything, but finite, where it is not known."""
    if task.kind == "classification":
        weights = class_weight_tensor(task, output)
        return F.cross_entropy(output, target, weights, reduction="none", ignore_index=MISSING_CLASS)
    # Replaced before the error is taken: NaN times a zero gradient would still be NaN.
    target = torch.where(known, target, output.detach()) if task.missing else target
    if task.kind == "regression":
        return 0.5 * torch.exp(-s) * (output - target).square() + 0.5 * s + GAUSSIAN
    if task.kind == "regression_l1":
        return torch.exp(-s) * (output - target).abs() + s + LAPLACE
    return F.binary_cross_entropy_with_logits(output, target, reduction="none")


def _mass(task: Task, target: Tensor, known: Tensor, errors: Tensor) -> Tensor | int:
    """What the mean over the entries divides by: their number, or the sum of their class weights."""
    weights = class_weight_tensor(task, errors)
    if weights is not None:
        mass = torch.where(known, weights[target.clamp(min=0)], 0.0).sum()
        return torch.where(mass > 0, mass, 1.0)
    return known.sum().clamp(min=1) if task.missing else errors.numel()
