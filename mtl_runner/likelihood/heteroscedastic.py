"""The exact likelihood with a noise scale that the model predicts for every sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.errors.checks import choice, fraction
from mtl_runner.likelihood.base import Likelihood, Tensors, entries_per_row, labelled_counts
from mtl_runner.tasks.noise import sigma_unit
from mtl_runner.tasks.task import Task, log_variance_key


class Heteroscedastic(Likelihood):
    r"""Take exact negative log-likelihoods whose noise scale the model predicts per sample.

    **Source:** Kendall & Gal, *What Uncertainties Do We Need in Bayesian Deep Learning for Computer
    Vision?*, NeurIPS 2017, eq. 8, `arXiv:1703.04977 <https://arxiv.org/abs/1703.04977>`__; per
    voxel: Bragman et al., MICCAI 2018. The option ``beta``: Seitzer et al., *On the Pitfalls of
    Heteroscedastic Uncertainty Estimation with Probabilistic Neural Networks*, ICLR 2022.

    .. math:: L = \mathrm{mean}_i\; \mathrm{sg}[e^{\beta s_i}] \, \ell(f_i, y_i, s_i)

    where

    - :math:`f_i` is the model's answer for sample :math:`i` and :math:`y_i` its target,
    - :math:`s_i = s(x_i)` is the log variance :math:`\log\sigma^2(x_i)` that the model predicts
      (for an L1 loss :math:`\log b(x_i)`, the log of the Laplace scale),
    - :math:`\ell` is the negative log-likelihood of
      :class:`~mtl_runner.likelihood.Homoscedastic`, which this one equals where :math:`s(x)` is
      constant,
    - :math:`\mathrm{sg}` stops the gradient,
    - :math:`\beta` is the option ``beta``, by default 0: the exact likelihood.

    The model gets one more output per regression output, and one per sample for classification and
    multilabel, whose logits it divides by :math:`\sigma^2(x)`; see
    :class:`~mtl_runner.models.PredictsNoise`. A loss term has no likelihood and is taken as it is.

    **When it helps:** the noise differs from sample to sample, and an answer should come with its
    own interval.

    **When not:** data are few or the mean is hard to fit, unless ``beta`` is set. At ``beta=0``
    hard samples are explained away as noise and never fitted, and easy ones, whose variances fall
    towards 0, make steps overshoot: training is chaotic at large learning rates. At 1 the mean is
    trained as by the standard loss. The authors of ``beta`` recommend 0.5.

    Args:
        tasks: The tasks, in the order of the losses.
        beta: :math:`\beta` in the formula, in [0, 1]. The logged ``nll`` is without it.
        reduce: ``"sum"`` over a target's outputs, which is the likelihood of the whole target, or
            ``"mean"``, which weighs it as the standard loss does.

    Raises:
        ConfigError: If ``reduce`` is unknown or ``beta`` lies outside [0, 1].

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.likelihood import Heteroscedastic
        >>> likelihood = Heteroscedastic([Task("depth", size=1)])
        >>> outputs = {
        ...     "depth": torch.zeros(2, 1),
        ...     "depth/log_variance": torch.tensor([[0.0], [2.0]]),
        ... }
        >>> likelihood(outputs, {"depth": torch.ones(2, 1)})
        tensor([1.7028])
    """

    has_noise = True
    predicts_noise = True
    replica_options = ()

    def __init__(self, tasks: Sequence[Task], beta: float = 0.0, reduce: str = "sum") -> None:
        super().__init__(tasks)
        choice(reduce, "likelihood.reduce", ("sum", "mean"))
        fraction(beta, "likelihood.beta", one_allowed=True)
        self.beta, self.reduce = float(beta), reduce
        self.trains_nll = not beta

    def losses(self, outputs: Tensors, targets: Tensors) -> list[Tensor]:
        """Return the negative log-likelihoods with ``beta``, one scalar per task.

        Args:
            outputs: The model's outputs, with the log variances of a task under
                ``"<task>/log_variance"``.
            targets: The targets by the task's name.
        """
        return [self._loss(task, outputs, targets, self.beta) for task in self.tasks]

    @torch.no_grad()
    def negative_log_likelihoods(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Return the exact negative log-likelihoods ``[T]``, without ``beta``."""
        return torch.stack([self._loss(task, outputs, targets, 0.0) for task in self.tasks])

    def nll_counts(self, task: Task, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the labelled entries and rows, whose ratio turns the mean into the likelihood."""
        summed = self.reduce == "sum" and task.has_likelihood
        return labelled_counts(task, target) if summed else super().nll_counts(task, target)

    def predicted_sigma(self, task: Task, outputs: Tensors) -> Tensor | None:
        """Return the noise scale of every sample, None for a task without a likelihood.

        It is the standard deviation (Gaussian) or the scale b (Laplace) in the target's units, or
        the square root of the temperature (classification).
        """
        if not task.has_likelihood:
            return None
        return sigma_unit(task) * task.spec.noise.sigma(outputs[log_variance_key(task.name)])

    def _loss(self, task: Task, outputs: Tensors, targets: Tensors, beta: float) -> Tensor:
        """Return the negative log-likelihood of a task, each sample times sg[e^(beta s)]."""
        if not task.has_likelihood:
            return task.loss(outputs, targets)
        output, target = outputs[task.name], targets[task.name]
        s = outputs[log_variance_key(task.name)]
        kind, known = task.spec, task.known(target)
        filled = kind.filled(target, known, output) if task.missing else target
        errors = kind.entry_errors(output, filled, task)
        # One s for all outputs of a class entry.
        s = s if s.dim() == errors.dim() else s.squeeze(1)
        errors = kind.noise.negative_log_likelihood(errors, s)
        if beta:
            errors = errors * torch.exp(beta * s.detach())
        total = torch.where(known, errors, 0.0).sum() if task.missing else errors.sum()
        denominator = kind.loss_denominator(target, task).to(total.dtype)
        mean = total / torch.where(denominator > 0, denominator, 1.0)
        return mean * entries_per_row(task, target, self.reduce, mean.dtype)
