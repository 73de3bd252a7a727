"""The base class of all kinds of tasks, and their noise models."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mtl_runner.errors import DataError
from mtl_runner.tasks.fields import TaskFields
from mtl_runner.tasks.metrics.base import Metric


@dataclass(frozen=True)
class Noise:
    r"""How a kind's standard loss becomes a negative log-likelihood with a noise scale.

    .. math:: a\, e^{-s} L + b\, s + c, \qquad s = \log\sigma^2 \quad (\text{Laplace: } s = \log b)

    where :math:`L` is the standard loss and :math:`s` is learned. The constants :math:`a` and
    :math:`b` are those of Kendall, Gal & Cipolla (CVPR 2018, eq. 7 and 10).

    Attributes:
        form: ``"gaussian"`` or ``"laplace"``, where the formula is exact; ``"temperature"``, where
            the likelihood is the loss of the outputs divided by :math:`\sigma^2` and the formula
            is an approximation without :math:`c`; ``""``, where there is no likelihood.
        a: Factor of the loss.
        b: Factor of :math:`s`.
        c: Logarithm of the normaliser.

    Example:
        >>> noise = Noise("gaussian", a=0.5, b=0.5, c=0.5 * math.log(2 * math.pi))
        >>> noise.sigma_of(0.0), noise.log_variance(1.0)
        (1.0, 0.0)
        >>> noise.negative_log_likelihood(torch.tensor([1.0]), torch.tensor(0.0))
        tensor([1.4189])
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
        """Return the noise scales of log-variances.

        They are standard deviations, Laplace scales, or square roots of temperatures.
        """
        return torch.exp(s if self.form == "laplace" else s / 2)

    def sigma_of(self, s: float) -> float:
        """Return the noise scale of a log-variance that is a plain number."""
        exponent = s if self.form == "laplace" else s / 2
        # math.exp raises where the result is larger than any number.
        return math.exp(exponent) if exponent < math.log(sys.float_info.max) else math.inf

    def log_variance(self, sigma: float) -> float:
        """Return the log-variance of a noise scale: the inverse of :meth:`sigma_of`."""
        return math.log(sigma) if self.form == "laplace" else 2 * math.log(sigma)

    def half_width(self, share: float) -> float:
        """Return half the width of the interval that holds a share of the noise, in sigmas.

        Args:
            share: The share, between 0 and 1.

        Example:
            >>> round(GAUSSIAN.half_width(0.95), 2), round(LAPLACE.half_width(0.95), 2)
            (1.96, 3.0)
        """
        if self.form == "laplace":
            return -math.log(1 - share)
        return NormalDist().inv_cdf((1 + share) / 2)

    def negative_log_likelihood(self, errors: Tensor, s: Tensor) -> Tensor:
        """Return the negative log-likelihood of every entry.

        Args:
            errors: The standard losses of the entries.
            s: Their log-variances, or one for all.
        """
        return self.a * torch.exp(-s) * errors + self.b * s + self.c if self.numeric else errors


GAUSSIAN = Noise("gaussian", 0.5, 0.5, 0.5 * math.log(2 * math.pi))
LAPLACE = Noise("laplace", 1.0, 1.0, math.log(2))
TEMPERATURE = Noise("temperature", 1.0, 0.5)
NO_NOISE = Noise("", 1.0, 0.5)


class Kind(ABC):
    """Everything that the outputs and targets of a kind of task mean.

    Subclass it for a kind of your own: a subclass says which targets are valid, how wrong an output
    is, which constant output is best, and what an output means as an answer. Training, evaluation,
    likelihoods, predictions and pictures ask only these methods. To use the kind, pass an instance
    as ``Task(name, kind)``, or name the class in a table's config:
    ``data.targets=[{name: grade, kind: {_target_: my_module.Ordinal, levels: 4}}]``.

    Every subclass needs the attribute ``name`` and two methods:

    - :meth:`entry_errors`: the loss of every entry of a target;
    - :meth:`trivial`: the best constant output.

    If a target and an output have different shapes, override :meth:`size`, :meth:`output_shape` and
    :meth:`filled` as well; if an output is not yet the answer (as a logit is not), :meth:`answer`.
    All other methods have defaults that suit numbers, with NaN as the mark of a missing label.

    An instance has no state, but it may have options: plain values that the constructor takes and
    keeps in attributes of the same names. A checkpoint saves the class's import path and these.

    Attributes:
        name: The name of the kind, as in ``summary.json``.
        noise: How the loss becomes a likelihood; :data:`NO_NOISE`: it does not.
        metrics: The metrics that are recorded unless the task or ``data.metrics`` names others;
            the first is the main one, which tables and pictures show.
        more_metrics: Further metrics that a task or ``data.metrics`` can name.
        numeric: Whether answers are numbers in the units of the target. Such a target is scaled
            for training.
        column: How a column of a table becomes a target: ``"numbers"``, ``"classes"``,
            ``"labels"``, or ``""`` if it cannot.
        has_target: False only for loss terms, which have neither a target nor an output.

    Example:
        Counts, such as visits per day, with half the Poisson deviance, which is 0 for a perfect
        answer and never negative; the output is the log of the rate:

        >>> class Counts(Kind):
        ...     name = "counts"
        ...     column = "numbers"
        ...
        ...     def entry_errors(self, output, target, task):
        ...         perfect = torch.xlogy(target, target) - target
        ...         return output.exp() - target * output + perfect
        ...
        ...     def trivial(self, target, task):
        ...         return target.double().nanmean(0).log()
        ...
        ...     def answer(self, output, task):
        ...         return output.exp()

        A task of this kind is trained, evaluated and predicted like any other:

        >>> from mtl_runner import Task
        >>> visits = Task("visits", Counts(), size=1, missing=True)
        >>> output, target = torch.zeros(3, 1), torch.tensor([[2.0], [4.0], [torch.nan]])
        >>> visits.loss({"visits": output}, {"visits": target})
        tensor(1.4657)
        >>> visits.answer(output).flatten()
        tensor([1., 1., 1.])
        >>> Counts().trivial(target, visits).exp()
        tensor([3.0000], dtype=torch.float64)

        ``tests/unit/tasks/ordinal.py`` is a longer example, with metrics, an option, and outputs of
        another shape than the target.
    """

    name: ClassVar[str]
    noise: ClassVar[Noise] = NO_NOISE
    metrics: ClassVar[Sequence[Metric]] = ()
    more_metrics: ClassVar[Sequence[Metric]] = ()
    numeric: ClassVar[bool] = False
    column: ClassVar[str] = ""
    has_target: ClassVar[bool] = True

    # Targets

    def clean(self, target: Tensor, mask: Tensor | None, location: str) -> Tensor:
        """Return a target in the form that training relies on.

        By default that is floats ``[N, size, ...]``, NaN where a label is missing.

        Args:
            target: The target as the dataset gave it.
            mask: True where a label is known, in the shape of the target or ``[N]``; None: the
                target marks missing labels itself.
            location: Where the target lies, for errors: ``"in the val split"``.

        Raises:
            DataError: If a value cannot be a label. The text starts after the name of the task,
                which the caller adds.
        """
        target = target.to(torch.get_default_dtype()) if not target.is_floating_point() else target
        if target.dim() == 1:
            # Outputs are [N, size]; [N] against [N, 1] would broadcast to [N, N].
            target = target.unsqueeze(1)
        if mask is not None:
            target = torch.where(spread(mask, target), target, torch.nan)
        if bool(target.isinf().any()):
            raise DataError(
                f"has an infinite target {location}; remove it or mark it missing (NaN)"
            )
        return target

    def from_column(self, numbers: np.ndarray) -> np.ndarray:
        """Return the numbers of a table's column, ``[N]``, as they are scaled and trained.

        By default they stay as they are; NaN is a missing label. A kind that changes them undoes it
        in :meth:`answer` and :meth:`in_units`.

        Raises:
            DataError: If a number cannot be a label. The text starts after the name of the task,
                which the caller adds.
        """
        return numbers

    def known(self, target: Tensor) -> Tensor:
        """Return which entries of a target are labels, as booleans of its shape."""
        return ~target.isnan()

    def loss_denominator(self, target: Tensor, task: TaskFields) -> Tensor:
        """Return the number, in float64, by which :meth:`loss` divides the sum of its entries.

        It weighs the losses of batches so that their weighted mean is the loss of the split.
        """
        return self.known(target).sum().double()

    def size(self, targets: Mapping[str, Tensor], task: TaskFields) -> int:
        """Return the number of outputs that a task needs.

        By default it is the task's own ``size``, or else the number of columns or channels of the
        target.

        Args:
            targets: The cleaned target of every split.
            task: The task; its ``size`` is 0 if the data decide.

        Raises:
            DataError: If a target contradicts the task. The text starts after the name of the task.
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
        """Return the dimensions of a target behind its channels.

        They are the height and width of an image, and empty for one answer per sample.
        """
        return tuple(target.shape[2:])

    # Losses

    def output_shape(self, target: Sequence[int], task: TaskFields) -> tuple[int, ...]:
        """Return the shape that an output must have for a target of a given shape."""
        return tuple(target)

    def noise_outputs(self, size: int) -> int:
        """Return how many more outputs a model needs to predict the noise of its outputs.

        Args:
            size: The number of outputs of the task.
        """
        return (size if self.noise.numeric else 1) if self.noise.has_likelihood else 0

    @abstractmethod
    def entry_errors(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        """Return the loss of every entry of the target.

        Args:
            output: The output, in the shape of :meth:`output_shape`.
            target: The cleaned target. Entries without a label hold the values of :meth:`filled`;
                their losses are not used, but they must be finite.
            task: The task.
        """

    def loss(self, output: Tensor, target: Tensor, task: TaskFields) -> Tensor:
        """Return the standard loss of a batch: the mean over its labels, 0 if it has none.

        Args:
            output: The output, in the shape of :meth:`output_shape`.
            target: The cleaned target.
            task: The task.
        """
        if not task.missing:
            return self.entry_errors(output, target, task).mean()
        known = self.known(target)
        # NaN is replaced before the error is taken: times a zero gradient it would stay NaN.
        errors = self.entry_errors(output, self.filled(target, known, output), task)
        return torch.where(known, errors, 0.0).sum() / known.sum().clamp(min=1)

    def filled(self, target: Tensor, known: Tensor, output: Tensor) -> Tensor:
        """Return the target with finite values, of no effect, in place of missing labels.

        Args:
            target: The cleaned target.
            known: Which of its entries are labels.
            output: The output, which the default takes as values.
        """
        return torch.where(known, target, output.detach())

    # The trivial predictor

    @abstractmethod
    def trivial(self, target: Tensor, task: TaskFields) -> Tensor:
        """Return the constant output ``[size]`` with the smallest loss on a target.

        Losses are reported relative to that of this trivial predictor.
        """

    def trivial_output(self, target: Tensor, task: TaskFields) -> Tensor:
        """Return the trivial predictor's output for a target, in the shape of a model's output."""
        constant = torch.tensor(task.trivial, dtype=torch.get_default_dtype(), device=target.device)
        shape = self.output_shape(target.shape, task)
        if task.places or tuple(shape) != tuple(target.shape):
            return constant.view(1, task.size, *(1,) * (len(shape) - 2)).expand(shape)
        return constant.view(1, *target.shape[1:]).expand_as(target)

    # Answers

    def answer(self, output: Tensor, task: TaskFields) -> Tensor:
        """Return the answer that an output stands for.

        By default it is the output itself; for numeric kinds in the target's own units.
        """
        return task.offset + task.scale * output if self.numeric else output

    def probabilities(self, output: Tensor, task: TaskFields) -> Tensor | None:
        """Return the probability of every class or label, ``[N, classes, ...]``.

        By default there are none: None.
        """
        return None

    def in_units(self, target: Tensor, task: TaskFields) -> Tensor:
        """Return a cleaned target in the units of :meth:`answer`."""
        return task.offset + task.scale * target if self.numeric else target

    def predictions(
        self, output: Tensor, target: Tensor, task: TaskFields
    ) -> tuple[Tensor, Tensor]:
        """Return predictions and labels as ``torchmetrics`` takes them.

        Samples with a missing label are left out.
        """
        rows = self.known(target).flatten(1).all(1) if target.dim() > 1 else self.known(target)
        answers, labels = self.answer(output[rows], task), self.in_units(target[rows], task)
        return (answers.squeeze(1), labels.squeeze(1)) if task.size == 1 else (answers, labels)

    def columns(self, answer: Tensor, task: TaskFields) -> dict[str, Any]:
        """Return answers ``[N, size]`` as columns of a table, by name."""
        values = answer.cpu().numpy()
        if values.shape[1] == 1:
            return {task.name: values[:, 0]}
        names = task.classes or [str(i) for i in range(values.shape[1])]
        return {f"{task.name}.{name}": values[:, i] for i, name in enumerate(names)}

    def picture(self, values: Tensor) -> Tensor:
        """Return answers, or targets in their units, as numbers to draw; NaN is not drawn."""
        return values.double()

    def legend(self, task: TaskFields) -> tuple[str, ...]:
        """Return the names of the classes that :meth:`picture` shows; empty for numbers."""
        return ()


def spread(mask: Tensor, target: Tensor) -> Tensor:
    """Return a mask of samples ``[N]`` as a mask of every entry of the target.

    Example:
        >>> spread(torch.tensor([True, False]), torch.zeros(2, 2))
        tensor([[ True,  True],
                [False, False]])
    """
    if mask.dim() == target.dim():
        return mask
    return mask.reshape(mask.shape[0], *(1,) * (target.dim() - 1)).expand_as(target)


def channel_means(target: Tensor, task: TaskFields) -> Tensor:
    """Return the mean of the labels of every output, ``[size]``, in float64."""
    if target.dim() > 2:
        # The sum is taken in double precision without a copy of the target in it.
        dims = [d for d in range(target.dim()) if d != 1]
        return target.nansum(dims, dtype=torch.float64) / (~target.isnan()).sum(dims)
    return target.double().nanmean(0).reshape(task.size)
