"""The protocol of a likelihood: outputs and targets to one loss per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from mtl_runner.tasks.task import Task

Tensors = Mapping[str, Tensor]


class Likelihood(nn.Module):
    """The standard loss of every task: mean squared error, cross entropy, ... (see :class:`~mtl_runner.tasks.task.Task`).

    A subclass with a noise scale overrides :meth:`losses`, and sets ``has_noise``: its losses are then exact negative
    log-likelihoods, logged in a column of their own beside the standard losses.

    Shape: ``{task: output}, {task: target}`` -> losses ``[T]``, differentiable; an unlabelled task's is exactly 0.

    Attributes:
        has_noise: whether there is a noise scale beside the outputs.
        predicts_noise: whether the model predicts it, by further outputs of its own.
        trains_nll: whether the training losses of a likelihood with a noise scale are the exact ones.
        lr: learning rate of the likelihood's own parameters; None trains them with the model's optimizer settings.
        anneal: whether ``lr`` falls to 0 over the last 30 % of the run.
        replica_options: the options in which replicas of a stack may differ, since their values lie in parameters and buffers; None: runs with
            it do not stack.
    """

    has_noise: ClassVar[bool] = False
    predicts_noise: ClassVar[bool] = False
    trains_nll: bool = True
    lr: float | None = None
    anneal: bool = False
    replica_options: tuple[str, ...] | None = None

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.tasks = list(tasks)

    def losses(self, outputs: Tensors, targets: Tensors) -> list[Tensor]:
        """What is trained: one scalar per task, each with a graph of its own."""
        return [task.loss(outputs, targets) for task in self.tasks]

    def forward(self, outputs: Tensors, targets: Tensors) -> Tensor:
        return torch.stack(self.losses(outputs, targets))

    def answers(self, outputs: Tensors) -> Tensors:
        """The outputs as they predict: logits divided by a learned temperature, where there is one."""
        return outputs

    @torch.no_grad()
    def standard_losses(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """The unweighted standard losses ``[T]`` of the answers, by which runs with different likelihoods compare."""
        answers = self.answers(outputs)
        return torch.stack([task.loss(answers, targets) for task in self.tasks])

    @torch.no_grad()
    def negative_log_likelihoods(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """The exact negative log-likelihoods ``[T]`` in training units; the training losses unless a subclass trains another."""
        return torch.stack(self.losses(outputs, targets))

    @torch.no_grad()
    def nll_sums(self, outputs: Tensors, targets: Tensors) -> dict[str, Tensor]:
        """What the negative log-likelihoods of a batch contribute to those of a split: ``{task: [4]}``, which adds up.

        Of every task but those with a loss term, which is no sum: the mean over entries times its mass, the mass, the labelled
        entries and the labelled rows; :meth:`nll_of_sums` makes the number.
        """
        found = {}
        for task, nll in zip(
            self.tasks, self.negative_log_likelihoods(outputs, targets), strict=True
        ):
            if task.loss_term is None:
                mass = task.mass(targets[task.name])
                entries, rows = self.nll_scale(task, targets[task.name])
                per_row = torch.where(entries > 0, entries / rows.clamp(min=1), 1.0)
                found[task.name] = torch.stack([nll.double() / per_row * mass, mass, entries, rows])
        return found

    @staticmethod
    def nll_of_sums(sums: Tensor) -> Tensor:
        """The negative log-likelihood of a split from what its batches contribute; 0 without any label."""
        total, mass, entries, rows = sums.unbind()
        return total / torch.where(mass > 0, mass, 1.0) * (entries / rows.clamp(min=1))

    def nll_scale(self, task: Task, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return two counts whose ratio turns the mean over a target's labelled entries into the likelihood; here it is the mean itself."""
        del task
        one = torch.ones((), dtype=torch.float64, device=target.device)
        return one, one

    def predicted_sigma(self, task: Task, outputs: Tensors) -> Tensor | None:
        """The noise scale that the model predicts for every sample, in the target's units; None unless it does."""
        del task, outputs
        return None


def labelled_counts(task: Task, target: Tensor) -> tuple[Tensor, Tensor]:
    """The number of labelled entries of a target, and that of the rows that have some, in float64."""
    known = task.known(target)
    rows = known.flatten(1).any(1) if known.dim() > 1 else known
    return known.sum().double(), rows.sum().double()


def entries_per_row(task: Task, target: Tensor, reduce: str) -> Tensor | float:
    """The factor from a mean over labelled entries to a sum over each row's, averaged over the labelled rows."""
    if reduce == "mean":
        return 1.0
    if not task.missing:
        return target[0].numel()
    known = task.known(target).flatten(1) if target.dim() > 1 else task.known(target).unsqueeze(1)
    return known.sum() / known.any(1).sum().clamp(min=1)


class Standard(Likelihood):
    """``likelihood=standard``: the losses as they are."""

    replica_options = ()
