"""The exact likelihood with a noise scale that the model predicts for every sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.errors.checks import choice, fraction
from mtl_runner.likelihood.base import Likelihood, Tensors, entries_per_row, labelled_counts
from mtl_runner.tasks.noise import unit
from mtl_runner.tasks.task import Task, log_variance_key


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
    replica_options = ()

    def __init__(self, tasks: Sequence[Task], beta: float = 0.0, reduce: str = "sum") -> None:
        super().__init__(tasks)
        choice(reduce, "likelihood.reduce", ("sum", "mean"))
        fraction(beta, "likelihood.beta", one=True)
        self.beta, self.reduce = float(beta), reduce
        self.trains_nll = not beta

    def losses(self, outputs: Tensors, targets: Tensors) -> list[Tensor]:
        return [self._loss(task, outputs, targets, self.beta) for task in self.tasks]

    @torch.no_grad()
    def negative_log_likelihoods(self, outputs: Tensors, targets: Tensors) -> Tensor:
        return torch.stack([self._loss(task, outputs, targets, 0.0) for task in self.tasks])

    def _loss(self, task: Task, outputs: Tensors, targets: Tensors, beta: float) -> Tensor:
        if not task.has_likelihood:
            return task.loss(outputs, targets)
        output, s, target = (
            outputs[task.name],
            outputs[log_variance_key(task.name)],
            targets[task.name],
        )
        kind, known = task.spec, task.known(target)
        filled = kind.filled(target, known, output) if task.missing else target
        errors = kind.entry_errors(output, filled, task)
        s = s if s.dim() == errors.dim() else s.squeeze(1)  # one s for all outputs of a class entry
        errors = kind.noise.negative_log_likelihood(errors, s)
        if beta:
            errors = errors * torch.exp(beta * s.detach())
        total = torch.where(known, errors, 0.0).sum() if task.missing else errors.sum()
        mass = kind.mass(target, task).to(total.dtype)
        mean = total / torch.where(mass > 0, mass, 1.0)
        return mean * entries_per_row(task, target, self.reduce)

    def nll_scale(self, task: Task, target: Tensor) -> tuple[Tensor, Tensor]:
        summed = self.reduce == "sum" and task.has_likelihood
        return labelled_counts(task, target) if summed else super().nll_scale(task, target)

    def predicted_sigma(self, task: Task, outputs: Tensors) -> Tensor | None:
        """Standard deviation (Gaussian), scale b (Laplace) in the target's units, or the root of the temperature."""
        if not task.has_likelihood:
            return None
        return unit(task) * task.spec.noise.sigma(outputs[log_variance_key(task.name)])
