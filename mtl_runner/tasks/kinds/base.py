"""What a kind of task is: everything that its outputs and targets mean, in one class."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mtl_runner.errors import DataError
from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.metrics.base import Metric


@dataclass(frozen=True)
class Noise:
    r"""How a kind's standard loss :math:`L` becomes a negative log-likelihood with a noise scale.

    .. math:: a\, e^{-s} L + b\, s + c, \qquad s = \log\sigma^2 \quad (\text{Laplace: } s = \log b)

    Attributes:
        form: ``"gaussian"``, ``"laplace"``; ``"temperature"``, where the likelihood is the loss of the outputs over
            :math:`\sigma^2`; or ``""``: there is no likelihood. Of the last two the formula is an approximation, without c.
        a, b: The constants of Kendall, Gal & Cipolla (CVPR 2018, eq. 7 and 10).
        c: The logarithm of the normaliser.
    """

    form: str
    a: float
    b: float
    c: float = 0.0

    @property
    def has_likelihood(self) -> bool:
        """Whether the loss belongs to a likelihood whose noise scale can be learned."""
        return bool(self.form)

    @property
    def numeric(self) -> bool:
        """Whether sigma is a noise scale in the units of the target."""
        return self.form in ("gaussian", "laplace")

    def sigma(self, s: Tensor) -> Tensor:
        """The noise scale: a standard deviation, the Laplace scale, or the square root of the temperature."""
        return torch.exp(s if self.form == "laplace" else s / 2)

    def sigma_of(self, s: float) -> float:
        """:meth:`sigma` of a number."""
        return math.exp(s if self.form == "laplace" else s / 2)

    def log_variance(self, sigma: float) -> float:
        """The inverse of :meth:`sigma_of`."""
        return math.log(sigma) if self.form == "laplace" else 2 * math.log(sigma)

    def negative_log_likelihood(self, errors: Tensor, s: Tensor) -> Tensor:
        """Of every entry, from its standard loss and its log-variance."""
        return self.a * torch.exp(-s) * errors + self.b * s + self.c if self.numeric else errors


GAUSSIAN = Noise("gaussian", 0.5, 0.5, 0.5 * math.log(2 * math.pi))
LAPLACE = Noise("laplace", 1.0, 1.0, math.log(2))
TEMPERATURE = Noise("temperature", 1.0, 0.5)
NO_NOISE = Noise("", 1.0, 0.5)


class Kind(ABC):
    """Base of all kinds. A subclass is one file: what a target is, how wrong an output is, what it says, how that is measured.

    Instances hold no state, but may hold options of their own: plain values, given to the constructor
    and kept under its parameters' names, so that a checkpoint can make the kind again.

    Attributes:
        name: What users write as ``kind``.
        noise: How the loss becomes a likelihood.
        metrics: Recorded at every evaluation unless ``data.metrics`` says otherwise; the first is the main one.
        more_metrics: Those that ``data.metrics`` can name beside them.
        numeric: Whether answers are numbers in the units of the target, which is then scaled for training.
        column: How a column of a table becomes a target: ``"numbers"``, ``"classes"``, ``"labels"``, or ``""``: it cannot.
        has_target: False for a loss term, which has neither a target nor an output of its own.
    """

    name: ClassVar[str]
    noise: ClassVar[Noise] = NO_NOISE
    metrics: ClassVar[Sequence[Metric]] = ()
    more_metrics: ClassVar[Sequence[Metric]] = ()
    numeric: ClassVar[bool] = False
    column: ClassVar[str] = ""
    has_target: ClassVar[bool] = True

    # What a target is

    def clean(self, target: Tensor, mask: Tensor | None, where: str) -> Tensor:
        """A target in the form that training relies on: floats ``[N, size, ...]``, NaN where a label is missing.

        Args:
            target: As the dataset gave it.
            mask: Of the same shape, True where a label is known; None: the target says it itself.
            where: The end of a sentence about it, ``"in the val split"``; :class:`DataError` messages are completed with it.

        Raises:
            DataError: If a value cannot be a label; the text begins after the name of the task.
        """
        target = target.to(torch.get_default_dtype()) if not target.is_floating_point() else target
        if target.dim() == 1:
            target = target.unsqueeze(
                1
            )  # outputs are [N, size]; [N] against [N, 1] would broadcast to [N, N]
        if mask is not None:
            target = torch.where(spread(mask, target), target, torch.nan)
        if bool(target.isinf().any()):
            raise DataError(f"has an infinite target {where}; remove it or mark it missing (NaN)")
        return target

    def known(self, target: Tensor) -> Tensor:
        """Which entries of a target are labels, a bool tensor of its shape."""
        return ~target.isnan()

    def mass(self, target: Tensor, task: TaskFields) -> Tensor:
        """What the mean over a batch's labelled entries divides by: losses of parts, weighed by it, add up to the whole's."""
        return self.known(target).sum().double()

    def size(self, targets: Mapping[str, Tensor], task: TaskFields) -> int:
        """The number of outputs, read off the targets of all splits where the task does not say it.

        Raises:
            DataError: If the targets contradict it; the text begins after the name of the task.
        """
        dense = targets["train"].dim() > 2
        widths = {
            name: int(target.shape[1] if dense else target[0].numel())
            for name, target in targets.items()
        }
        size = task.size or widths["train"]
        for name, width in widths.items():
            if width != size:
                raise DataError(
                    f"has size {size}, but its target in the {name} split has shape {tuple(targets[name].shape)}"
                )
        return size

    def places(self, target: Tensor) -> tuple[int, ...]:
        """The places of an answer, behind its channels: height and width of an image, nothing for one answer per row."""
        return tuple(target.shape[2:])

    # How wrong an output is

    def output_shape(self, target: Sequence[int], task: TaskFields) -> tuple[int, ...]:
        """The shape that a model's output must have for a target of a shape."""
        return tuple(target)

    def noise_outputs(self, size: int) -> int:
        """How many outputs a model needs beside its answers to predict the noise of each: 0 where there is no likelihood."""
        return (size if self.noise.numeric else 1) if self.noise.has_likelihood else 0

    @abstractmethod
    def entry_errors(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        """The loss of every entry of the target; anything, but finite, where the target is not known."""

    def loss(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        """The standard loss of a batch, a scalar: the mean over its labelled entries, exactly 0 where there are none."""
        if not task.missing:
            return self.entry_errors(output, target, task).mean()
        known = self.known(target)
        # The target is replaced before the error is taken: NaN times a zero gradient would still be NaN.
        errors = self.entry_errors(output, self.filled(target, known, output), task)
        return torch.where(known, errors, 0.0).sum() / known.sum().clamp(min=1)

    def filled(self, target: Tensor, known: Tensor, output: Tensor) -> Tensor:
        """The target with something harmless where it is not known."""
        return torch.where(known, target, output.detach())

    # What a model without inputs would say

    @abstractmethod
    def trivial(self, target: Tensor, task: TaskFields) -> Tensor:
        """The output ``[size]`` of the best constant predictor of a target."""

    def trivial_output(self, target: Tensor, task: TaskFields) -> Tensor:
        """The trivial predictor's output for every row of the target, in the shape that the model's output would have."""
        constant = torch.tensor(task.trivial, dtype=torch.get_default_dtype(), device=target.device)
        shape = self.output_shape(target.shape, task)
        if task.places or tuple(shape) != tuple(target.shape):
            return constant.view(1, task.size, *(1,) * (len(shape) - 2)).expand(shape)
        return constant.view(1, *target.shape[1:]).expand_as(target)

    # What an output says

    def answer(self, output: Tensor, task: TaskFields) -> Tensor:
        """What an output says: for numeric kinds numbers in the target's own units."""
        return task.offset + task.scale * output if self.numeric else output

    def in_units(self, target: Tensor, task: TaskFields) -> Tensor:
        """A target in the units of :meth:`answer`."""
        return task.offset + task.scale * target if self.numeric else target

    def predictions(
        self, output: Tensor, target: Tensor, task: TaskFields
    ) -> tuple[Tensor, Tensor]:
        """Predictions and labels of the rows without a missing label, as ``torchmetrics`` takes them."""
        rows = self.known(target).flatten(1).all(1) if target.dim() > 1 else self.known(target)
        answers, labels = self.answer(output[rows], task), self.in_units(target[rows], task)
        return (answers.squeeze(1), labels.squeeze(1)) if task.size == 1 else (answers, labels)

    def columns(self, answer: Tensor, task: TaskFields) -> dict[str, Any]:
        """Answers ``[N, size]`` as columns of a table."""
        values = answer.cpu().numpy()
        if values.shape[1] == 1:
            return {task.name: values[:, 0]}
        names = task.classes or [str(i) for i in range(values.shape[1])]
        return {f"{task.name}.{name}": values[:, i] for i, name in enumerate(names)}

    def picture(self, values: Tensor) -> Tensor:
        """Answers, or targets in their units, as numbers to draw: NaN where there is none."""
        return values.double()

    def legend(self, task: TaskFields) -> tuple[str, ...]:
        """Names of the classes that :meth:`picture` shows; empty for numbers."""
        return ()


def spread(mask: Tensor, target: Tensor) -> Tensor:
    """A mask of rows as a mask of every entry of the target."""
    if mask.dim() == target.dim():
        return mask
    return mask.reshape(mask.shape[0], *(1,) * (target.dim() - 1)).expand_as(target)


def channel_means(target: Tensor, task: TaskFields) -> Tensor:
    """The mean of every output's known targets, ``[size]``."""
    if target.dim() > 2:  # per channel; summed in double precision, without a copy in it
        dims = [d for d in range(target.dim()) if d != 1]
        return target.nansum(dims, dtype=torch.float64) / (~target.isnan()).sum(dims)
    return target.double().nanmean(0).reshape(task.size)
