"""The exact likelihood with one learned noise scale per task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import choice, flag, learning_rate
from mtl_runner.likelihood.base import Likelihood, Tensors, entries_per_row, labelled_counts
from mtl_runner.tasks.noise import (
    SMALLEST_SLOPE,
    initial_log_scales,
    initial_log_variances,
    log_variances,
    sigma_of,
)
from mtl_runner.tasks.task import Task

# The floor of a loss inside a logarithm.
TINY = 1e-12


class Homoscedastic(Likelihood):
    r"""Take exact negative log-likelihoods with one learned noise scale per task.

    **Source:** Kendall, Gal & Cipolla, *Multi-Task Learning Using Uncertainty to Weigh Losses for
    Scene Geometry and Semantics*, CVPR 2018, eq. 5 and 8,
    `arXiv:1705.07115 <https://arxiv.org/abs/1705.07115>`__.

    ==================  ==========================================================
    kind                negative log-likelihood
    ==================  ==========================================================
    ``regression``      :math:`\tfrac12 e^{-s} r^2 + \tfrac12 s + \tfrac12\log 2\pi`
    ``regression_l1``   :math:`|r|/b + \log b + \log 2`
    ``classification``  cross entropy of the softmax of :math:`f / \sigma^2`
    ``multilabel``      binary cross entropy of :math:`f / \sigma^2`
    ==================  ==========================================================

    where

    - :math:`r` is the residual, output less target,
    - :math:`f` are the logits,
    - :math:`s = \log\sigma^2` is the learned log variance of the task (for ``regression_l1``
      :math:`s = \log b`, the log of the Laplace scale).

    With a free last layer the classification likelihoods do not weigh the task at all: logits and
    :math:`\sigma^2` rescale together and the loss stays the same. Only for frozen logits is
    :math:`\sigma^2` the calibration temperature. A loss term has no likelihood and is taken as it
    is.

    **Departs from the paper:** classification takes the exact softmax of eq. 8, not the
    approximation of eq. 10 (:class:`~mtl_runner.weighting.Uncertainty` has that one). The log
    variances have a learning rate of their own, and no weight decay.

    **When it helps:** a noise scale is wanted that belongs to a true likelihood, in the units of
    the target.

    **When not:** a classification should be weighed against other tasks by its sigma, since the
    exact likelihood does not weigh it. The sigma follows the residual on the training data: where
    a model overfits, it is smaller than the error on new data.

    Args:
        tasks: The tasks, in the order of the losses.
        reduce: ``"sum"`` over a target's outputs, which is the likelihood of the whole target, or
            ``"mean"``, which weighs it as the standard loss does (for a digit image of 64 pixels,
            64 times less).
        init: Initial :math:`s`: a number, ``{task: number}``, or ``"log_loss"``, the optimum of
            the trivial predictor.
        lr: Learning rate of the log variances (Adam, eps 0.001); None trains them with the
            settings of the model's optimizer, without weight decay.
        anneal: Whether ``lr`` falls to 0 over the last 30 % of the run.
        frozen: ``{task: sigma}`` keeps a sigma fixed, in the units of the target; one number keeps
            all of them fixed.
        trivial_losses: The training loss of the trivial predictor per task, for ``"log_loss"``.

    Raises:
        ConfigError: If ``reduce`` or ``init`` is unknown, if an option names an unknown task, or
            if a number is out of its range.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.likelihood import Homoscedastic
        >>> likelihood = Homoscedastic([Task("depth", size=1)], init=0.0)
        >>> likelihood({"depth": torch.ones(4, 1)}, {"depth": torch.zeros(4, 1)})
        tensor([1.4189], grad_fn=<StackBackward0>)
        >>> likelihood.sigmas()
        [1.0]
    """

    has_noise = True
    smallest_slope = SMALLEST_SLOPE
    replica_options = ("init", "frozen", "lr")

    def __init__(
        self,
        tasks: Sequence[Task],
        reduce: str = "sum",
        init: Any = "log_loss",
        lr: float | None = 0.025,
        anneal: bool = True,
        frozen: Any = None,
        trivial_losses: Sequence[float | None] | None = None,
    ) -> None:
        super().__init__(tasks)
        choice(reduce, "likelihood.reduce", ("sum", "mean"))
        if isinstance(init, str) and init != "log_loss":
            raise ConfigError(
                f"likelihood.init={init!r} is unknown; give a number, {{task: number}} or log_loss."
            )
        self.reduce = reduce
        self.lr = learning_rate(lr, "likelihood.lr")
        self.anneal = flag(anneal, "likelihood.anneal")
        start = (
            initial_log_variances(tasks, trivial_losses)
            if init == "log_loss"
            else initial_log_scales(init, tasks, "likelihood.init")
        )
        self.log_variance = log_variances(tasks, start, frozen, "likelihood.frozen")

    def losses(self, outputs: Tensors, targets: Tensors) -> list[Tensor]:
        """Return the exact negative log-likelihoods, one scalar per task."""
        tempered, scales = self.tempered_outputs(outputs), self.log_variance.parameters()
        return [
            self._loss(task, s, tempered, targets)
            for task, s in zip(self.tasks, scales, strict=True)
        ]

    def tempered_outputs(self, outputs: Tensors) -> Tensors:
        """Return the outputs, with logits divided by the temperature: the softmax predicts so."""
        scales = zip(self.tasks, self.log_variance.parameters(), strict=True)
        tempered_logits = {
            task.name: outputs[task.name] * torch.exp(-s)
            for task, s in scales
            if task.has_likelihood and not task.has_noise_scale
        }
        return {**outputs, **tempered_logits}

    def nll_counts(self, task: Task, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the labelled entries and rows, whose ratio turns the mean into the likelihood."""
        summed = self.reduce == "sum" and task.has_likelihood
        return labelled_counts(task, target) if summed else super().nll_counts(task, target)

    def sigmas(self) -> list[float | None]:
        """Return the sigma of each task, None for a task without a likelihood.

        It is the standard deviation (Gaussian) or the scale b (Laplace) in the target's units, or
        the square root of the temperature (classification).
        """
        scales = self.log_variance.parameters()
        return [
            sigma_of(task, s.item()) if task.has_likelihood else None
            for task, s in zip(self.tasks, scales, strict=True)
        ]

    def values_and_optima(self, losses: Sequence[float]) -> list[tuple[float, float] | None]:
        """Return each task's s and its optimum for constant standard losses ``[T]``.

        None stands for a task whose s is not trained or has no closed form (a temperature).
        """
        return [
            (s.item(), math.log(max(loss, TINY)))
            if s.requires_grad and task.has_likelihood and task.has_noise_scale
            else None
            for task, s, loss in zip(self.tasks, self.log_variance, losses, strict=True)
        ]

    def _loss(self, task: Task, s: Tensor, tempered: Tensors, targets: Tensors) -> Tensor:
        """Return the negative log-likelihood of a task."""
        if not task.has_likelihood:
            return task.loss(tempered, targets)
        target = targets[task.name]
        entries, noise = entries_per_row(task, target, self.reduce, s.dtype), task.spec.noise
        if not noise.numeric:
            # The logits are divided by the temperature already.
            return entries * task.loss(tempered, targets)
        fit = noise.a * torch.exp(-s) * task.loss(tempered, targets)
        return entries * (fit + self._if_labelled(task, target, noise.b * s + noise.c))

    @staticmethod
    def _if_labelled(task: Task, target: Tensor, term: Tensor) -> Tensor:
        """Return the term, or 0 for a batch without a label: such a task's loss is exactly 0."""
        return torch.where(task.known(target).any(), term, 0.0) if task.missing else term
