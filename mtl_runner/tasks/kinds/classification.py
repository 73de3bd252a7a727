"""One of several classes per sample or pixel."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl_runner.errors import ConfigError, DataError
from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.kinds.base import TEMPERATURE, Kind, spread
from mtl_runner.tasks.metrics.classification import (
    ACCURACY,
    BALANCED_ACCURACY,
    CALIBRATION_ERROR,
    LOG_LOSS,
    MACRO_F1,
    MEAN_IOU,
    PIXEL_ACCURACY,
)
from mtl_runner.tasks.metrics.ranking import CLASS_AUC, CLASS_AVERAGE_PRECISION, CLASS_GAUC

# The default ignore_index of PyTorch's cross entropy.
MISSING_CLASS = -100


class Classification(Kind):
    """One of several classes, with the cross entropy.

    Targets are class indices ``[N, ...]``, ``MISSING_CLASS`` where a label is missing; outputs are
    ``size`` logits, ``[N, size, ...]``. Class weights, if the task has some, weigh the mean of the
    loss, but no metric. The trivial predictor knows how frequent each class is; if the training
    split lacks a class, it counts every class once more (Laplace's rule of succession).

    Example:
        >>> from mtl_runner import Task
        >>> task = Task("label", "classification", size=3)
        >>> logits = torch.tensor([[0.0, 2.0, 1.0]])
        >>> task.answer(logits)
        tensor([1])
        >>> Classification().loss(logits, torch.tensor([1]), task)
        tensor(0.4076)
    """

    name = "classification"
    noise = TEMPERATURE
    metrics = (ACCURACY, MACRO_F1, CALIBRATION_ERROR)
    more_metrics = (
        BALANCED_ACCURACY,
        LOG_LOSS,
        CLASS_AUC,
        CLASS_AVERAGE_PRECISION,
        CLASS_GAUC,
        MEAN_IOU,
        PIXEL_ACCURACY,
    )
    column = "classes"

    def clean(self, target: Tensor, mask: Tensor | None, location: str) -> Tensor:
        """Return class indices, ``MISSING_CLASS`` where a label is missing.

        Args:
            target: The target as the dataset gave it: integers, or floats with NaN.
            mask: True where a label is known, in the shape of the target or ``[N]``; NaN and
                ``MISSING_CLASS`` are missing labels there, too.
            location: Where the target lies, for errors.

        Raises:
            DataError: If a class is negative or not a whole number.
        """
        floats = target.is_floating_point()
        target = target if floats else target.long()
        known = self.known(target)
        if floats:
            known &= ~target.isnan()
        if mask is not None:
            # A sample that has a label may have pixels that have none.
            known &= spread(mask, target)
        # Integers that mark what is missing themselves, maybe in a mapped file, are not copied.
        if floats or mask is not None:
            target = torch.where(known, target, MISSING_CLASS)
        if floats and bool((target != target.round()).any()):
            raise DataError(f"has classes that are not whole numbers {location}")
        target = target.long()
        if bool(((target < 0) & known).any()):
            raise DataError(
                f"has a negative class {location}; classes count from 0, and {MISSING_CLASS} is a missing label"
            )
        return target

    def known(self, target: Tensor) -> Tensor:
        """Return which entries of a target are classes, as booleans of its shape."""
        return target != MISSING_CLASS

    def loss_denominator(self, target: Tensor, task: TaskFields) -> Tensor:
        """Return the number of labels, or the sum of their class weights."""
        known = self.known(target)
        if not task.class_weights:
            return known.sum().double()
        weights = class_weight_tensor(task.class_weights, torch.float64, target.device)
        return torch.where(known, weights[target.clamp(min=0)], 0.0).sum()

    def size(self, targets: Mapping[str, Tensor], task: TaskFields) -> int:
        """Return the number of classes.

        It is the task's own ``size``, or the number of its class names, or what the targets hold.

        Args:
            targets: The cleaned target of every split.
            task: The task; its ``size`` is 0 if the data decide.

        Raises:
            DataError: If a split holds a class beyond the last one, or there is only one class.
            ConfigError: If the number of class weights is another one.
        """
        largest = {name: int(target.max()) for name, target in targets.items()}
        size = task.size or len(task.classes) or max(largest.values()) + 1
        for name, top in largest.items():
            if top >= size:
                raise DataError(
                    f"has {size} classes, but the {name} split holds class {top} (they count from 0)"
                )
        if task.class_weights and len(task.class_weights) != size:
            raise ConfigError(
                f"has {len(task.class_weights)} class_weights, but {size} classes; give one per class"
            )
        if size < 2:
            raise DataError("has only one class; a classification needs at least two")
        return size

    def places(self, target: Tensor) -> tuple[int, ...]:
        """Return the dimensions of a target behind the samples; empty for one class per sample."""
        return tuple(target.shape[1:])

    def output_shape(self, target: Sequence[int], task: TaskFields) -> tuple[int, ...]:
        """Return the shape of the logits for a target of a given shape."""
        return (target[0], task.size, *target[1:])

    def entry_errors(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        """Return the cross entropy of every entry, times its class weight."""
        return F.cross_entropy(
            output,
            target,
            self._weights(output, task),
            reduction="none",
            ignore_index=MISSING_CLASS,
        )

    def loss(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        """Return the cross entropy of a batch, averaged over its labels by class weight."""
        weights = self._weights(output, task)
        # A batch that holds only classes of weight 0 would be 0/0 in PyTorch's mean.
        if not task.missing and all(task.class_weights):
            return F.cross_entropy(output, target, weights)
        total = F.cross_entropy(
            output, target, weights, reduction="sum", ignore_index=MISSING_CLASS
        )
        known = self.known(target)
        if weights is None:
            return total / known.sum().clamp(min=1)
        denominator = torch.where(known, weights[target.clamp(min=0)], 0.0).sum()
        return total / torch.where(denominator > 0, denominator, 1.0)

    def filled(self, target: Tensor, known: Tensor, output: Tensor) -> Tensor:
        """Return the target itself: cross entropy ignores ``MISSING_CLASS``."""
        return target

    def trivial(self, target: Tensor, task: TaskFields) -> Tensor:
        """Return the logarithms of the classes' frequencies."""
        counts = torch.bincount(target[self.known(target)].flatten(), minlength=task.size).double()
        # Were a class that training lacks all but impossible, any model would beat the trivial one.
        counts += 1.0 if bool((counts == 0).any()) else 1e-6
        return torch.log(counts / counts.sum())

    def answer(self, output: Tensor, task: TaskFields) -> Tensor:
        """Return the indices ``[N, ...]`` of the most probable classes."""
        return output.argmax(1)

    def probabilities(self, output: Tensor, task: TaskFields) -> Tensor:
        """Return the probability of every class, which add up to 1."""
        return output.softmax(1)

    def predictions(
        self, output: Tensor, target: Tensor, task: TaskFields
    ) -> tuple[Tensor, Tensor]:
        """Return probabilities ``[N, classes, ...]`` and class indices, for torchmetrics."""
        rows = self.known(target).flatten(1).all(1) if target.dim() > 1 else self.known(target)
        return output[rows].softmax(1), target[rows]

    def columns(self, answer: Tensor, task: TaskFields) -> dict[str, Any]:
        """Return one column: the names of the classes, or their indices if they have none."""
        return {task.name: [task.classes[i] if task.classes else i for i in answer.tolist()]}

    def picture(self, values: Tensor) -> Tensor:
        """Return class indices as numbers to draw; NaN where a label is missing."""
        return torch.where(values == MISSING_CLASS, torch.nan, values.double())

    def legend(self, task: TaskFields) -> tuple[str, ...]:
        """Return the names of the classes, or their indices if they have none."""
        return task.classes or tuple(map(str, range(task.size)))

    @staticmethod
    def _weights(like: Tensor, task: TaskFields) -> Tensor | None:
        """Return the class weights as a tensor like another; None if there are none."""
        if not task.class_weights:
            return None
        return class_weight_tensor(task.class_weights, like.dtype, like.device)


@functools.cache
def class_weight_tensor(
    weights: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return class weights as a tensor, which is made only once."""
    return torch.tensor(weights, dtype=dtype, device=device)
