"""The entire-space loss of click and conversion models."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.tasks.metrics.ranking import area_under_roc

Tensors = Mapping[str, Tensor]


class ESMM:
    r"""Train P(conversion | click) on all rows, through its product with P(click) (ESMM).

    .. math:: L = -\frac1N \sum_{i=1}^N \big[\,y_i z_i \log p_i + (1 - y_i z_i) \log(1 - p_i)\big],
        \qquad p_i = P(y_i = 1 \mid x_i)\; P(z_i = 1 \mid y_i = 1, x_i)

    where

    - :math:`y` is the click, :math:`z` the conversion, both tasks of two classes,
    - N is the number of rows that count,
    - the two probabilities are those of the outputs of these tasks.

    As the loss of the task ``conversion`` it replaces the cross entropy on clicked rows, which are
    few and a biased sample of the rows that are scored (sample selection bias; Ma et al., SIGIR
    2018, eq. 3). The task's output stays the probability of a conversion given a click; its metrics are those of the rows
    that have its label, so leave the label of rows without a click empty. The metric ``ctcvr_auc``
    is the area under the curve of the product, on all rows.

    A row counts if both labels are known, or if there was no click: then there was no conversion.
    The logarithm of :math:`1 - p` is taken from the logits, not from p, and is exact also where p
    is nearly 0 or 1. The gradient reaches the output of the click as well, as in the paper.

    Args:
        click: The task of the click.
        conversion: The task of the conversion.

    Example:
        >>> import torch
        >>> from mtl_runner.tasks.esmm import ESMM
        >>> outputs = {"click": torch.zeros(4, 2), "conversion": torch.zeros(4, 2)}
        >>> targets = {
        ...     "click": torch.tensor([0, 0, 1, 1]),
        ...     "conversion": torch.tensor([-100, -100, 0, 1]),
        ... }
        >>> ESMM()(outputs, targets)  # p is 1/4 in every row: -(3 log 3/4 + log 1/4) / 4
        tensor(0.5623)
    """

    def __init__(self, click: str = "click", conversion: str = "conversion") -> None:
        self.click, self.conversion = click, conversion

    @property
    def metrics(self) -> dict[str, Callable[[Tensors, Tensors], Tensor]]:
        """The numbers that are recorded beside the loss at every evaluation, by name."""
        return {"ctcvr_auc": EntireSpaceAUC(self)}

    def __call__(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Return the loss of a batch; 0 if no row counts.

        Args:
            outputs: The logits of both tasks, ``[N, 2]``.
            targets: Their classes, ``[N]``, negative where a label is missing.

        Raises:
            ConfigError: If a task is not there, or has other than two classes.
        """
        log_both, log_not_both = self.log_probabilities(outputs)
        known, both = self.labels(targets)
        losses = -torch.where(both, log_both, log_not_both)
        return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)

    def log_probabilities(self, outputs: Tensors) -> tuple[Tensor, Tensor]:
        """Return log p and log(1 - p) of the product p of both probabilities, ``[N]`` each."""
        no_click, click = self._logits(outputs, self.click, "click").log_softmax(1).unbind(1)
        not_given, given = (
            self._logits(outputs, self.conversion, "conversion").log_softmax(1).unbind(1)
        )
        # Not both is no click, or a click without a conversion.
        return click + given, torch.logaddexp(no_click, click + not_given)

    def labels(self, targets: Tensors) -> tuple[Tensor, Tensor]:
        """Return which rows count, and which have a click and a conversion, ``[N]`` each."""
        click, conversion = targets[self.click], targets[self.conversion]
        known = (click == 0) | ((click == 1) & (conversion >= 0))
        return known, (click == 1) & (conversion == 1)

    def _logits(self, outputs: Tensors, task: str, role: str) -> Tensor:
        if task not in outputs:
            raise ConfigError(
                f"data.losses: ESMM needs a task for the {role}, and there is none called {task!r}; {suggest(task, outputs)}, and set {role}=<name> beside _target_."
            )
        logits = outputs[task]
        if logits.dim() != 2 or logits.shape[1] != 2:
            raise ConfigError(
                f"data.losses: ESMM needs two classes of the task {task!r}, a classification of 0 and 1; its outputs have the shape {tuple(logits.shape)}."
            )
        return logits


class EntireSpaceAUC:
    """The area under the ROC curve of click and conversion together, on all rows that count.

    Args:
        loss: The loss term, which knows the tasks.

    Example:
        >>> import torch
        >>> outputs = {"click": torch.eye(2)[[0, 1, 1]], "conversion": torch.eye(2)[[1, 0, 1]]}
        >>> targets = {"click": torch.tensor([0, 1, 1]), "conversion": torch.tensor([-100, 0, 1])}
        >>> EntireSpaceAUC(ESMM())(outputs, targets)
        tensor(1., dtype=torch.float64)
    """

    higher_is_better = True

    def __init__(self, loss: ESMM) -> None:
        self.loss = loss

    def __call__(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Return the area; NaN if all rows have the same label."""
        known, both = self.loss.labels(targets)
        scores = self.loss.log_probabilities(outputs)[0].double()
        return area_under_roc(scores[known], both[known].double())
