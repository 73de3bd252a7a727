"""One of several classes."""

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
from mtl_runner.tasks.metrics.ranking import CLASS_AUC, CLASS_AVERAGE_PRECISION

MISSING_CLASS = -100  # PyTorch's own ignore_index


class Classification(Kind):
    """Class indices ``[N, ...]``, outputs are ``size`` logits ``[N, size, ...]``, with the cross entropy.

    Class weights, where the task has some, count in the loss and its mean, in no metric. The trivial predictor knows how
    frequent each class is.
    """

    name = "classification"
    noise = TEMPERATURE
    metrics = (ACCURACY, MACRO_F1, CALIBRATION_ERROR)
    more_metrics = (
        BALANCED_ACCURACY,
        LOG_LOSS,
        CLASS_AUC,
        CLASS_AVERAGE_PRECISION,
        MEAN_IOU,
        PIXEL_ACCURACY,
    )
    column = "classes"

    def clean(self, target: Tensor, mask: Tensor | None, where: str) -> Tensor:
        """Class indices, ``MISSING_CLASS`` where a label is missing."""
        mask = None if mask is None else spread(mask, target)
        if target.is_floating_point():
            if mask is None:
                mask = ~target.isnan()
            target = torch.where(mask, target, MISSING_CLASS)
            if bool((target != target.round()).any()):
                raise DataError(f"has classes that are not whole numbers {where}")
        target = target.long()
        known = target != MISSING_CLASS if mask is None else mask
        if mask is not None:
            target = torch.where(known, target, MISSING_CLASS)
        if bool(((target < 0) & known).any()):
            raise DataError(
                f"has a negative class {where}; classes count from 0, and {MISSING_CLASS} is a missing label"
            )
        return target

    def known(self, target: Tensor) -> Tensor:
        return target != MISSING_CLASS

    def mass(self, target: Tensor, task: TaskFields) -> Tensor:
        known = self.known(target)
        if not task.class_weights:
            return known.sum().double()
        weights = class_weight_tensor(task.class_weights, torch.float64, target.device)
        return torch.where(known, weights[target.clamp(min=0)], 0.0).sum()

    def size(self, targets: Mapping[str, Tensor], task: TaskFields) -> int:
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
        return tuple(target.shape[1:])

    def output_shape(self, target: Sequence[int], task: TaskFields) -> tuple[int, ...]:
        return (target[0], task.size, *target[1:])

    def entry_errors(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        return F.cross_entropy(
            output,
            target,
            self._weights(output, task),
            reduction="none",
            ignore_index=MISSING_CLASS,
        )

    def loss(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        weights = self._weights(output, task)
        if not task.missing and all(
            task.class_weights
        ):  # a batch of classes that weigh 0 alone would be 0/0
            return F.cross_entropy(output, target, weights)
        total = F.cross_entropy(
            output, target, weights, reduction="sum", ignore_index=MISSING_CLASS
        )
        known = self.known(target)
        if weights is None:
            return total / known.sum().clamp(min=1)
        mass = torch.where(known, weights[target.clamp(min=0)], 0.0).sum()
        return total / torch.where(mass > 0, mass, 1.0)

    def filled(self, target: Tensor, known: Tensor, output: Tensor) -> Tensor:
        return target  # cross entropy leaves missing classes out by itself

    def trivial(self, target: Tensor, task: TaskFields) -> Tensor:
        counts = torch.bincount(target[self.known(target)].flatten(), minlength=task.size).double()
        return torch.log(
            (counts + 1e-6) / (counts + 1e-6).sum()
        )  # a class absent from the training split stays finite

    def answer(self, output: Tensor, task: TaskFields) -> Tensor:
        """The indices ``[N, ...]`` of the most probable classes."""
        return output.argmax(1)

    def predictions(
        self, output: Tensor, target: Tensor, task: TaskFields
    ) -> tuple[Tensor, Tensor]:
        """Probabilities ``[N, classes, ...]`` and class indices."""
        rows = self.known(target).flatten(1).all(1) if target.dim() > 1 else self.known(target)
        return output[rows].softmax(1), target[rows]

    def columns(self, answer: Tensor, task: TaskFields) -> dict[str, Any]:
        """One column with the names of the classes."""
        return {task.name: [task.classes[i] if task.classes else i for i in answer.tolist()]}

    def picture(self, values: Tensor) -> Tensor:
        return torch.where(values == MISSING_CLASS, torch.nan, values.double())

    def legend(self, task: TaskFields) -> tuple[str, ...]:
        return task.classes or tuple(map(str, range(task.size)))

    @staticmethod
    def _weights(like: Tensor, task: TaskFields) -> Tensor | None:
        return (
            class_weight_tensor(task.class_weights, like.dtype, like.device)
            if task.class_weights
            else None
        )


@functools.cache
def class_weight_tensor(
    weights: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Class weights as a tensor, made once, not at every step."""
    return torch.tensor(weights, dtype=dtype, device=device)
