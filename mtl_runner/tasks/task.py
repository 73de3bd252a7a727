"""A task: what one output of the model is for, how wrong it is (its standard loss) and how that is measured.

A target says itself which labels are missing: NaN in floating-point targets, ``MISSING_CLASS`` in class targets.
This module knows nothing of models, weightings or files.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.tasks import metrics
from mtl_runner.tasks.dense_metrics import MEASURES, Measure

MISSING_CLASS = -100  # PyTorch's own ignore_index


def log_variance_key(name: str) -> str:
    """Under which name a model's outputs hold the log-variances of a task, where it predicts them."""
    return f"{name}/log_variance"


TermLoss = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor]
Metric = Callable[[Tensor, Tensor, "Task"], Tensor]


@dataclass(frozen=True)
class Task:
    """One task of a multi-task problem.

    Args:
        name: column, key and label of the task everywhere.
        kind: ``regression`` (mean squared error), ``regression_l1`` (mean absolute error), ``classification`` (cross
            entropy of ``size`` logits), ``multilabel`` (binary cross entropy of ``size`` logits), ``direction`` (one less the
            cosine of the angle to a unit vector) or ``term`` (any callable of all outputs and all targets; it has no target of
            its own).
        size: number of outputs; 0 lets the data decide. Of a target with places it is the number of channels.
        places: of the outputs, after the channels: the height and width of an image, nothing for one answer per row. Read off
            the data.
        measures: metrics instead of the kind's own: ``segmentation``, ``depth``, ``normals`` or ``offsets``.
        offset, scale: target in its own units = offset + scale * target in training units.
        classes: names of the classes or labels, in the order of the outputs.
        class_weights: one weight per class in the cross entropy.
        true_sigma: the noise scale that generated the target, where known, in the target's units.
        trivial: output of the trivial predictor (train mean or median, logits of the class prior), ``size`` numbers.
        missing: whether any label is missing in any split; a fully labelled task takes a faster path.
        loss_term: replaces the standard loss by ``loss_term(outputs, targets)``. Its attribute ``metrics``, where it has one, names
            further callables of the same arguments that are recorded at every evaluation.
    """

    name: str
    kind: str = "regression"
    size: int = 0
    offset: float = 0.0
    scale: float = 1.0
    classes: tuple[str, ...] = ()
    class_weights: tuple[float, ...] = ()
    true_sigma: float | None = None
    trivial: tuple[float, ...] = ()
    missing: bool = False
    loss_term: TermLoss | None = None
    places: tuple[int, ...] = ()
    measures: str = ""

    def __post_init__(self) -> None:
        # Plain numbers, whatever a user's NumPy gave: they are saved in checkpoints.
        object.__setattr__(self, "offset", float(self.offset))
        object.__setattr__(self, "scale", float(self.scale))
        object.__setattr__(self, "size", int(self.size))
        if self.true_sigma is not None:
            object.__setattr__(self, "true_sigma", float(self.true_sigma))
        if self.kind not in KINDS:
            raise ConfigError(f"Task {self.name!r} has the unknown kind {self.kind!r}; {suggest(self.kind, KINDS)}.")
        if self.measures and self.measures not in MEASURES:
            raise ConfigError(
                f"Task {self.name!r} has the unknown measures {self.measures!r}; {suggest(self.measures, MEASURES)}."
            )
        if self.kind == "term" and self.loss_term is None:
            raise ConfigError(f"Task {self.name!r} is of kind 'term' and needs a `loss_term` callable.")

    @property
    def spec(self) -> Kind:
        """What all tasks of this kind have in common."""
        return KINDS[self.kind]

    @property
    def has_target(self) -> bool:
        """False for a loss term, which has neither a target nor an output of its own."""
        return self.kind != "term"

    def loss(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """The standard loss of a batch, a scalar: the mean over its labelled entries, exactly 0 where there are none."""
        if self.loss_term is not None:
            return self.loss_term(outputs, targets)
        return self.spec.loss(outputs[self.name], targets[self.name], self)

    def labelled(self, target: Tensor) -> Tensor:
        """Which rows have at least one label, a bool tensor ``[N]``."""
        known = self.spec.known(target)
        return known.flatten(1).any(1) if known.dim() > 1 else known

    def trivial_output(self, target: Tensor) -> Tensor:
        """The trivial predictor's output for every row of the target, in the shape that the model's output would have."""
        constant = torch.tensor(self.trivial, dtype=torch.get_default_dtype(), device=target.device)
        if self.kind != "classification" and self.places:
            return constant.view(1, self.size, *(1,) * len(self.places)).expand_as(target)
        if self.kind != "classification":
            return constant.view(1, *target.shape[1:]).expand_as(target)
        places = target.shape[1:]  # of a class per pixel, say
        return constant.view(1, self.size, *(1,) * len(places)).expand(len(target), self.size, *places)

    def answer(self, output: Tensor) -> Tensor:
        """What an output says: numbers in the target's own units, class indices, or 0/1 per label."""
        if self.kind == "classification":
            return output.argmax(1)
        return (output > 0).to(torch.int64) if self.kind == "multilabel" else self.offset + self.scale * output

    @property
    def measure(self) -> Measure | None:
        """How a task with places is measured in parts of a split; None for the metrics of the kind."""
        return MEASURES[self.measures] if self.measures else None

    @property
    def metric_names(self) -> list[str]:
        """Of every metric of the task, the main one first."""
        own = self.spec.metrics if self.measure is None else self.measure.names
        return [*own, *getattr(self.loss_term, "metrics", {})]

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Every metric of the task as a scalar tensor on the outputs' device, in the target's own units."""
        if self.measure is not None:
            return self.measure.finish(self.measure.parts(output, target, self), self)
        return {name: metric(output, target, self) for name, metric in self.spec.metrics.items()}

    def term_metrics(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the task's loss term measures beside its loss."""
        return {name: metric(outputs, targets) for name, metric in getattr(self.loss_term, "metrics", {}).items()}

    def mass(self, target: Tensor) -> Tensor:
        """What the mean over a batch's labelled entries divides by: losses of parts, weighed by it, add up to the whole's."""
        known = self.spec.known(target)
        if self.kind == "direction":
            known = known.all(1)
        weights = _class_weights(self.class_weights, torch.float64, target.device) if self.class_weights else None
        if weights is not None and self.kind == "classification":
            return torch.where(known, weights[target.clamp(min=0)], 0.0).sum()
        return known.sum().double()


def has_likelihood(task: Task) -> bool:
    """Whether the task's loss is one of the known kinds, not a callable of the user's."""
    return task.has_target and task.loss_term is None and task.kind != "direction"


@dataclass(frozen=True)
class Kind:
    """What a kind of task means: its standard loss, its metrics (the first is the main one) and its trivial predictor."""

    loss: Callable[[Tensor, Tensor, Task], Tensor]
    known: Callable[[Tensor], Tensor]
    trivial: Callable[[Tensor, Task], Tensor]
    metrics: dict[str, Metric]


def _not_nan(target: Tensor) -> Tensor:
    return ~target.isnan()


def _not_ignored(target: Tensor) -> Tensor:
    return target != MISSING_CLASS


def _known_mean(errors: Callable[[Tensor, Tensor], Tensor], output: Tensor, target: Tensor) -> Tensor:
    """Mean of the errors over the known entries; 0, not 0/0, when none is known."""
    known = _not_nan(target)
    # The target is replaced before the error is taken: NaN times a zero gradient would still be NaN.
    error = errors(output, torch.where(known, target, output.detach()))
    return torch.where(known, error, 0.0).sum() / known.sum().clamp(min=1)


def _squared(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output, target, reduction="none")


def _absolute(output: Tensor, target: Tensor) -> Tensor:
    return F.l1_loss(output, target, reduction="none")


def _binary(output: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(output, target, reduction="none")


def _mse(output: Tensor, target: Tensor, task: Task) -> Tensor:
    return _known_mean(_squared, output, target) if task.missing else F.mse_loss(output, target)


def _mae(output: Tensor, target: Tensor, task: Task) -> Tensor:
    return _known_mean(_absolute, output, target) if task.missing else F.l1_loss(output, target)


@functools.cache
def _class_weights(weights: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Made once, not at every step."""
    return torch.tensor(weights, dtype=dtype, device=device)


def class_weight_tensor(task: Task, like: Tensor) -> Tensor | None:
    """The class weights as a tensor of the same type on the same device; None where a classification has none."""
    if task.kind != "classification" or not task.class_weights:
        return None
    return _class_weights(task.class_weights, like.dtype, like.device)


def _cross_entropy(output: Tensor, target: Tensor, task: Task) -> Tensor:
    weights = class_weight_tensor(task, output)
    if not task.missing:
        return F.cross_entropy(output, target, weights)
    total = F.cross_entropy(output, target, weights, reduction="sum", ignore_index=MISSING_CLASS)
    known = _not_ignored(target)
    if weights is None:
        return total / known.sum().clamp(min=1)
    mass = torch.where(known, weights[target.clamp(min=0)], 0.0).sum()
    return total / torch.where(mass > 0, mass, 1.0)


def _binary_cross_entropy(output: Tensor, target: Tensor, task: Task) -> Tensor:
    if task.missing:
        return _known_mean(_binary, output, target)
    return F.binary_cross_entropy_with_logits(output, target)


def _one_less_cosine(output: Tensor, target: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(output, target, dim=1, eps=1e-6).unsqueeze(1)


def _direction(output: Tensor, target: Tensor, task: Task) -> Tensor:
    """1 - cos of the angle between output and target, both ``[N, size, ...]``, averaged over the known places (Liu et al. 2019, MTAN)."""
    if not task.missing:
        return _one_less_cosine(output, target).mean()
    known = _not_nan(target).all(1, keepdim=True)
    # The target is replaced before the error is taken: NaN times a zero gradient would still be NaN.
    error = _one_less_cosine(output, torch.where(known, target, 1.0))
    return torch.where(known, error, 0.0).sum() / known.sum().clamp(min=1)


def _train_mean(target: Tensor, task: Task) -> Tensor:
    if target.dim() > 2:  # per channel; summed in double precision, without a copy in it
        dims = [d for d in range(target.dim()) if d != 1]
        return target.nansum(dims, dtype=torch.float64) / _not_nan(target).sum(dims)
    return target.double().nanmean(0).reshape(task.size)


def _train_median(target: Tensor, task: Task) -> Tensor:
    if target.dim() > 2:
        return torch.stack([channel.flatten().nanmedian() for channel in target.unbind(1)]).double()
    return target.double().nanmedian(0).values.reshape(task.size)


def _class_prior(target: Tensor, task: Task) -> Tensor:
    counts = torch.bincount(target[_not_ignored(target)].flatten(), minlength=task.size).double()
    return torch.log((counts + 1e-6) / (counts + 1e-6).sum())  # a class absent from the training split stays finite


def _label_prior(target: Tensor, task: Task) -> Tensor:
    if target.dim() > 2:
        return torch.logit(_train_mean(target, task), eps=1e-6)
    return torch.logit(target.double().nanmean(0).reshape(task.size), eps=1e-6)


_REGRESSION: dict[str, Metric] = {"rmse": metrics.rmse, "mae": metrics.mae, "r2": metrics.r2, "rrmse": metrics.rrmse}

KINDS: dict[str, Kind] = {
    "regression": Kind(_mse, _not_nan, _train_mean, _REGRESSION),
    "regression_l1": Kind(_mae, _not_nan, _train_median, {"mae": metrics.mae, **_REGRESSION}),
    "classification": Kind(
        _cross_entropy,
        _not_ignored,
        _class_prior,
        {"accuracy": metrics.accuracy, "f1": metrics.macro_f1, "ece": metrics.expected_calibration_error},
    ),
    "multilabel": Kind(
        _binary_cross_entropy,
        _not_nan,
        _label_prior,
        {
            "f1": metrics.example_f1,
            "accuracy": metrics.example_accuracy,
            "precision": metrics.example_precision,
            "recall": metrics.example_recall,
            "one_error": metrics.one_error,
            "micro_f1": metrics.micro_f1,
        },
    ),
    "direction": Kind(_direction, _not_nan, _train_mean, {"rmse": metrics.rmse}),
    "term": Kind(_mse, _not_nan, _train_mean, {}),
}
