"""The exact likelihood with one learned noise scale per task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import choice, flag, learning_rate, per_task
from mtl_runner.likelihood.base import Likelihood, Tensors, entries_per_row, labelled_counts
from mtl_runner.tasks.noise import initial, log_variances, sigma_of
from mtl_runner.tasks.task import Task

TINY = 1e-12  # floor of a loss inside a logarithm


class Homoscedastic(Likelihood):
    r"""Exact negative log-likelihood of every task, with a noise scale learned beside the model (Kendall, Gal & Cipolla, CVPR 2018, eq. 5 and 8).

    =================  ===========================================================================
    regression         :math:`\tfrac12 e^{-s} r^2 + \tfrac12 s + \tfrac12\log 2\pi`, :math:`s = \log\sigma^2`
    regression_l1      :math:`|r|/b + \log b + \log 2`, :math:`s = \log b`
    classification     cross entropy of the softmax of logits / :math:`\sigma^2` (no approximation)
    multilabel         binary cross entropy of logits / :math:`\sigma^2`
    =================  ===========================================================================

    With a free last layer the classification likelihoods do not weigh the task at all: logits and :math:`\sigma^2` rescale
    together and the loss stays what it is. Only for frozen logits is :math:`\sigma^2` the calibration temperature. A loss term
    has no likelihood and is taken as it is.

    Args:
        tasks: the tasks.
        reduce: ``sum`` over a target's outputs, which is the likelihood of the whole target; ``mean`` weighs it as the standard
            loss does (for a digit image of 64 pixels, 64 times less).
        init: initial :math:`s`: a number, ``{task: number}``, or ``log_loss``, the optimum of the trivial predictor.
        lr: for the log-variances only (Adam); None: the model's optimizer and its settings, without weight decay.
        anneal: whether ``lr`` falls to 0 over the last 30 % of the run.
        frozen: ``{task: sigma}`` keeps a sigma (in the target's units) fixed; one number: all of them.
        trivial_losses: training loss of the trivial predictor per task, for ``log_loss``.

    Raises ``ConfigError`` for an unknown option or task.
    """

    has_noise = True
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
        self.reduce, self.lr, self.anneal = (
            reduce,
            learning_rate(lr, "likelihood.lr"),
            flag(anneal, "likelihood.anneal"),
        )
        start = (
            initial(tasks, trivial_losses)
            if init == "log_loss"
            else per_task(init, tasks, 0.0, "likelihood.init")
        )
        self.log_variance = log_variances(tasks, start, frozen, "likelihood.frozen")

    def losses(self, outputs: Tensors, targets: Tensors) -> list[Tensor]:
        answers, scales = self.answers(outputs), self.log_variance.parameters()
        return [
            self._loss(task, s, answers, targets)
            for task, s in zip(self.tasks, scales, strict=True)
        ]

    def answers(self, outputs: Tensors) -> Tensors:
        """Logits over the temperature: what the softmax predicts from."""
        scales = zip(self.tasks, self.log_variance.parameters(), strict=True)
        return {
            **outputs,
            **{
                t.name: outputs[t.name] * torch.exp(-s)
                for t, s in scales
                if t.has_likelihood and not t.has_noise_scale
            },
        }

    def _loss(self, task: Task, s: Tensor, answers: Tensors, targets: Tensors) -> Tensor:
        if not task.has_likelihood:
            return task.loss(answers, targets)
        target = targets[task.name]
        entries, noise = entries_per_row(task, target, self.reduce), task.spec.noise
        if not noise.numeric:  # the answers' logits are divided by the temperature already
            return entries * task.loss(answers, targets)
        fit = noise.a * torch.exp(-s) * task.loss(answers, targets)
        return entries * (fit + self._if_labelled(task, target, noise.b * s + noise.c))

    @staticmethod
    def _if_labelled(task: Task, target: Tensor, term: Tensor) -> Tensor:
        """The term, or 0 for a batch without a label: an unlabelled task's loss is exactly 0."""
        return torch.where(task.known(target).any(), term, 0.0) if task.missing else term

    def nll_scale(self, task: Task, target: Tensor) -> tuple[Tensor, Tensor]:
        summed = self.reduce == "sum" and task.has_likelihood
        return labelled_counts(task, target) if summed else super().nll_scale(task, target)

    def sigmas(self) -> list[float | None]:
        """In the target's units: standard deviation (Gaussian), scale b (Laplace), root of the temperature (classification)."""
        scales = self.log_variance.parameters()
        return [
            sigma_of(t, s.item()) if t.has_likelihood else None
            for t, s in zip(self.tasks, scales, strict=True)
        ]

    def off_optimum(self, losses: Sequence[float]) -> list[tuple[float, float] | None]:
        return [
            (s.item(), math.log(max(loss, TINY)))
            if s.requires_grad and task.has_likelihood and task.has_noise_scale
            else None
            for task, s, loss in zip(self.tasks, self.log_variance, losses, strict=True)
        ]
