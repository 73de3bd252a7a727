"""The protocol of a likelihood: outputs and targets to one loss per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from mtl_runner.tasks.task import Task

Tensors = Mapping[str, Tensor]


class Likelihood(nn.Module):
    """Base class of all likelihoods: a module from outputs and targets to one loss per task.

    This class takes the standard loss of every task (mean squared error, cross entropy, ...; see
    :class:`~mtl_runner.tasks.task.Task`). A subclass with a noise scale overrides :meth:`losses`
    and sets ``has_noise``. Its losses are then exact negative log-likelihoods, which a run logs in
    a column of their own beside the standard losses.

    Args:
        tasks: The tasks, in the order of the losses.

    Attributes:
        has_noise: Whether there is a noise scale beside the outputs.
        predicts_noise: Whether the model predicts the noise scale, by more outputs than its
            answers.
        trains_nll: Whether the training losses of a likelihood with a noise scale are the exact
            negative log-likelihoods.
        lr: Learning rate of the likelihood's own parameters; None trains them with the settings of
            the model's optimizer.
        anneal: Whether ``lr`` falls to 0 over the last 30 % of the run.
        smallest_slope: The ``eps`` of that Adam: derivatives far below it hardly move the own
            parameters. It is 0.001 for log scales, whose derivatives are numbers of size 1.
        replica_options: The options in which the replicas of a stack may differ, because their
            values are held in parameters and buffers; None if runs with this likelihood cannot be
            stacked.

    Example:
        >>> import torch
        >>> from mtl_runner import Likelihood, Task
        >>> class Doubled(Likelihood):
        ...     def losses(self, outputs, targets):
        ...         return [2 * loss for loss in super().losses(outputs, targets)]
        >>> likelihood = Doubled([Task("depth", size=1)])
        >>> likelihood({"depth": torch.ones(4, 1)}, {"depth": torch.zeros(4, 1)})
        tensor([2.])
    """

    has_noise: ClassVar[bool] = False
    predicts_noise: ClassVar[bool] = False
    trains_nll: bool = True
    lr: float | None = None
    anneal: bool = False
    smallest_slope: float = 1e-8
    replica_options: tuple[str, ...] | None = None

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.tasks = list(tasks)

    def losses(self, outputs: Tensors, targets: Tensors) -> list[Tensor]:
        """Return the losses that are trained: one scalar per task, each with a graph of its own.

        The loss of a task without a label in the batch is exactly 0.

        Args:
            outputs: The model's outputs by name, shape ``[N, size, ...]`` each.
            targets: The targets by the task's name.
        """
        return [task.loss(outputs, targets) for task in self.tasks]

    def forward(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Return :meth:`losses` as one differentiable tensor ``[T]``."""
        return torch.stack(self.losses(outputs, targets))

    def tempered_outputs(self, outputs: Tensors) -> Tensors:
        """Return the outputs, with logits divided by a learned temperature where there is one."""
        return outputs

    @torch.no_grad()
    def standard_losses(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Return the unweighted standard losses ``[T]`` of the tempered outputs.

        By these losses runs with different likelihoods are compared.
        """
        tempered = self.tempered_outputs(outputs)
        return torch.stack([task.loss(tempered, targets) for task in self.tasks])

    @torch.no_grad()
    def negative_log_likelihoods(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Return the exact negative log-likelihoods ``[T]`` in training units.

        These are the training losses, unless a subclass trains other ones.
        """
        return torch.stack(self.losses(outputs, targets))

    @torch.no_grad()
    def nll_sums(self, outputs: Tensors, targets: Tensors) -> dict[str, Tensor]:
        """Return a batch's contributions to the negative log-likelihoods of a split.

        Contributions of several batches are added; :meth:`nll_of_sums` turns the sum into the
        negative log-likelihood. A loss term has none, because it is not a sum over rows.

        Returns:
            ``{task: [4]}``: the mean over entries times its denominator, the denominator, the
            number of labelled entries and the number of labelled rows, in float64.
        """
        sums = {}
        for task, nll in zip(
            self.tasks, self.negative_log_likelihoods(outputs, targets), strict=True
        ):
            if task.loss_term is None:
                denominator = task.loss_denominator(targets[task.name])
                entries, rows = self.nll_counts(task, targets[task.name])
                per_row = torch.where(entries > 0, entries / rows.clamp(min=1), 1.0)
                total = nll.double() / per_row * denominator
                sums[task.name] = torch.stack([total, denominator, entries, rows])
        return sums

    @staticmethod
    def nll_of_sums(sums: Tensor) -> Tensor:
        """Return the negative log-likelihood of a split, 0 without any label.

        Args:
            sums: The sum of the contributions of its batches, see :meth:`nll_sums`, shape ``[4]``.
        """
        total, denominator, entries, rows = sums.unbind()
        return (
            total / torch.where(denominator > 0, denominator, 1.0) * (entries / rows.clamp(min=1))
        )

    @torch.no_grad()
    def loss_counts(self, targets: Tensors, rows: int) -> Tensor:
        """Return what the losses of a batch divide by, so that losses of batches can be added up.

        Counts of several batches are added; :func:`mass_of` makes a batch's weight of them. For the
        standard losses the denominator alone is the weight.

        Args:
            targets: The targets by the task's name.
            rows: Number of rows, by which a loss term is taken to divide.

        Returns:
            Denominator, labelled entries and labelled rows of every task, ``[T, 3]``, in float64.
        """
        counts = []
        for task in self.tasks:
            if task.loss_term is None:
                target = targets[task.name]
                counts += [task.loss_denominator(target), *self.nll_counts(task, target)]
            else:
                like = next(iter(targets.values()), torch.zeros(0))
                counts += like.new_tensor([rows, 1.0, 1.0], dtype=torch.float64).unbind()
        return torch.stack(counts).view(len(self.tasks), 3)

    def nll_counts(self, task: Task, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return two counts by whose ratio the mean over labelled entries becomes the likelihood.

        Here the mean itself is the likelihood, so the ratio is 1.
        """
        del task
        count = torch.ones((), dtype=torch.float64, device=target.device)
        return count, count

    def predicted_sigma(self, task: Task, outputs: Tensors) -> Tensor | None:
        """Return the noise scale that the model predicts for every sample, in the target's units.

        None if the model does not predict it.
        """
        del task, outputs
        return None


class Standard(Likelihood):
    """Take the standard losses as they are: mean squared error, cross entropy, ...

    **When it helps:** always, as the default. A weighting then decides what each loss is worth.

    **When not:** a noise scale is wanted that belongs to a true likelihood, for calibrated
    probabilities or for intervals; see :class:`~mtl_runner.likelihood.Homoscedastic` and
    :class:`~mtl_runner.likelihood.Heteroscedastic`.

    Args:
        tasks: The tasks, in the order of the losses.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.likelihood import Standard
        >>> likelihood = Standard([Task("depth", size=1), Task("height", "regression_l1", size=1)])
        >>> outputs = {"depth": torch.full((4, 1), 3.0), "height": torch.full((4, 1), 3.0)}
        >>> targets = {"depth": torch.zeros(4, 1), "height": torch.zeros(4, 1)}
        >>> likelihood(outputs, targets)
        tensor([9., 3.])
    """

    replica_options = ()


def mass_of(counts: Tensor) -> Tensor:
    """Return how much the mean loss of a batch weighs among others, ``[...]``.

    It is what the mean divides by; for a likelihood that is summed over the entries of a row and
    averaged over rows, it is the number of rows.

    Args:
        counts: Counts of :meth:`Likelihood.loss_counts`, or their sums, ``[..., 3]``.

    Example:
        >>> mass_of(torch.tensor([[8.0, 1.0, 1.0], [8.0, 8.0, 2.0]]))
        tensor([8., 2.])
    """
    denominator, entries, rows = counts.unbind(-1)
    return denominator * rows / entries.clamp(min=1)


def shares_of(masses: Tensor, total: Tensor) -> Tensor:
    """Return the share of each part ``[..., T]``; 0 for a task without a label in the batch.

    Args:
        masses: The mass of each part, ``[..., T]``.
        total: That of the batch, ``[T]``.

    Example:
        >>> shares_of(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([4.0, 0.0]))
        tensor([[0.2500, 0.0000],
                [0.7500, 0.0000]])
    """
    return masses / torch.where(total > 0, total, 1.0)


def labelled_counts(task: Task, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many entries of a target are labelled, and how many rows have one, in float64."""
    known = task.known(target)
    rows = known.flatten(1).any(1) if known.dim() > 1 else known
    return known.sum().double(), rows.sum().double()


def entries_per_row(
    task: Task, target: Tensor, reduce: str, dtype: torch.dtype | None = None
) -> Tensor | float:
    """Return the factor from a mean over labelled entries to a mean over rows of their sums.

    Args:
        task: The task.
        target: Its target, shape ``[N, ...]``.
        reduce: ``"mean"`` for the factor 1, or ``"sum"`` for the number of labelled entries per
            labelled row.
        dtype: The type of the losses; None: torch's default.
    """
    if reduce == "mean":
        return 1.0
    if not task.missing:
        return target[0].numel()
    known = task.known(target).flatten(1) if target.dim() > 1 else task.known(target).unsqueeze(1)
    ratio = known.sum().double() / known.any(1).sum().clamp(min=1)
    return ratio.to(dtype or torch.get_default_dtype())
