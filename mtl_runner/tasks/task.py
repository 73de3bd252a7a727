"""A task: what one output of the model is for. What its kind means lies in :mod:`mtl_runner.tasks.kinds`.

A target says itself which labels are missing: NaN in floating-point targets, ``MISSING_CLASS`` in class targets.
This module knows nothing of models, weightings or files.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.tasks.kinds import KINDS, Kind
from mtl_runner.tasks.metrics.base import Metric
from mtl_runner.tasks.metrics.torchmetrics_adapter import TorchMetric

TermLoss = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor]
AnyMetric = Metric | TorchMetric


def log_variance_key(name: str) -> str:
    """Under which name a model's outputs hold the log-variances of a task, where it predicts them."""
    return f"{name}/log_variance"


@dataclass(frozen=True)
class Task:
    """One task of a multi-task problem.

    Args:
        name: Column, key and label of the task everywhere.
        kind: ``"regression"`` (mean squared error), ``"regression_l1"`` (mean absolute error), ``"classification"`` (cross
            entropy of ``size`` logits), ``"multilabel"`` (binary cross entropy of ``size`` logits), ``"direction"`` (one less the
            cosine of the angle to a unit vector), ``"term"`` (any callable of all outputs and all targets; it has no target of
            its own), or a :class:`~mtl_runner.tasks.kinds.Kind` of your own.
        size: Number of outputs; 0 lets the data decide. Of a target with places it is the number of channels.
        offset: Target in its own units = offset + scale * target in training units.
        scale: See ``offset``.
        classes: Names of the classes or labels, in the order of the outputs.
        class_weights: One weight per class in the cross entropy.
        true_sigma: The noise scale that generated the target, where known, in the target's units.
        trivial: Output of the trivial predictor (train mean or median, logits of the class prior), ``size`` numbers.
        missing: Whether any label is missing in any split; a fully labelled task takes a faster path.
        loss_term: Replaces the standard loss by ``loss_term(outputs, targets)``. Its attribute ``metrics``, where it has one, names
            more callables of the same arguments that are recorded at every evaluation; a callable's attribute
            ``higher_is_better`` (True or False) says its direction.
        places: Places of the outputs, after the channels: the height and width of an image, nothing for one answer per row. Read
            off the data.
        metrics: Names of the kind's metrics, or metrics, instead of those that it records by default; the first is the main one.

    Raises:
        ConfigError: For an unknown kind or metric, two metrics of one name, a main metric without a direction, or a term without a
            callable.

    Example:
        >>> task = Task("price", "regression", size=1, offset=100.0, scale=10.0)
        >>> task.answer(torch.tensor([[0.5]]))
        tensor([[105.]])
        >>> [metric.name for metric in task.all_metrics]
        ['rmse', 'mae', 'r2', 'rrmse']
    """

    name: str
    kind: str | Kind = "regression"
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
    metrics: tuple[str | AnyMetric, ...] = ()

    def __post_init__(self) -> None:
        # Plain numbers, whatever a user's NumPy gave: they are saved in checkpoints.
        object.__setattr__(self, "offset", float(self.offset))
        object.__setattr__(self, "scale", float(self.scale))
        object.__setattr__(self, "size", int(self.size))
        if self.true_sigma is not None:
            object.__setattr__(self, "true_sigma", float(self.true_sigma))
        if not isinstance(self.kind, Kind) and self.kind not in KINDS:
            raise ConfigError(
                f"Task {self.name!r} has the unknown kind {self.kind!r}; {suggest(str(self.kind), KINDS)}."
            )
        if not self.has_target and self.loss_term is None:
            raise ConfigError(
                f"Task {self.name!r} is of kind 'term' and needs a `loss_term` callable."
            )
        object.__setattr__(self, "metrics", tuple(self._found(metric) for metric in self.metrics))
        self._check_metrics()

    def _found(self, metric: str | AnyMetric) -> AnyMetric:
        if not isinstance(metric, str):
            return metric
        known = {m.name: m for m in (*self.spec.metrics, *self.spec.more_metrics)}
        if metric not in known:
            raise ConfigError(
                f"Task {self.name!r} of kind {self.spec.name!r} has no metric {metric!r}; {suggest(metric, known)}."
            )
        return known[metric]

    def _check_metrics(self) -> None:
        for name in (names := self.metric_names):
            if names.count(name) > 1:
                raise ConfigError(
                    f"Task {self.name!r} has two metrics called {name!r}; give one of them another name."
                )
        main = self.main_metric
        if self.directions[main] is None:
            raise ConfigError(
                f"Task {self.name!r}: its first metric is the main one, by which models are ranked, but nobody says whether a higher "
                f"{main} is better; put it after another, or give it `higher_is_better`."
            )

    def plain(self) -> dict[str, Any]:
        """What predicts, as plain values for a checkpoint: without loss term and metrics, a kind of one's own by its import path."""
        fields = {
            name: value for name, value in vars(self).items() if name in self.__dataclass_fields__
        }
        for name in ("loss_term", "metrics"):
            del fields[name]
        if isinstance(self.kind, Kind):
            made_by = f"{type(self.kind).__module__}.{type(self.kind).__qualname__}"
            options = inspect.signature(type(self.kind)).parameters
            given = {name: value for name, value in vars(self.kind).items() if name in options}
            fields["kind"] = {
                "_target_": made_by,
                **{k: v.item() if hasattr(v, "item") else v for k, v in given.items()},
            }
        return fields

    @cached_property
    def spec(self) -> Kind:
        """What all tasks of this kind have in common."""
        return self.kind if isinstance(self.kind, Kind) else KINDS[self.kind]

    @property
    def has_target(self) -> bool:
        """False for a loss term, which has neither a target nor an output of its own."""
        return self.spec.has_target

    @property
    def has_likelihood(self) -> bool:
        """Whether the task's loss is one of a known distribution, whose noise scale can be learned."""
        return self.loss_term is None and self.spec.noise.has_likelihood

    @property
    def has_noise_scale(self) -> bool:
        """Whether the task's sigma is a noise scale in the units of its target, not a temperature."""
        return self.spec.noise.numeric

    @property
    def all_metrics(self) -> Sequence[AnyMetric]:
        """Metrics of the task's output and target, the main one first."""
        return self.metrics or self.spec.metrics  # type: ignore[return-value]  # names have become metrics

    @property
    def term_metrics(self) -> Mapping[str, TermLoss]:
        """What the task's loss term measures beside its loss, by name."""
        found: Mapping[str, TermLoss] = getattr(self.loss_term, "metrics", {})
        return found

    @property
    def metric_names(self) -> list[str]:
        """Of every metric of the task, the main one first."""
        return [*(metric.name for metric in self.all_metrics), *self.term_metrics]

    @property
    def main_metric(self) -> str:
        """The one that tables and pictures show: the first, or the loss where there is none."""
        return next((metric.name for metric in self.all_metrics), "loss")

    @property
    def directions(self) -> dict[str, bool | None]:
        """Whether higher is better, for every column that judges the task; None where nobody said it."""
        known = {metric.name: metric.higher_is_better for metric in self.all_metrics}
        terms = {
            name: getattr(metric, "higher_is_better", None)
            for name, metric in self.term_metrics.items()
        }
        return {"loss": False, "relative_loss": False, **known, **terms}

    def loss(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """The standard loss of a batch, a scalar: the mean over its labelled entries, exactly 0 where there are none."""
        if self.loss_term is not None:
            return self.loss_term(outputs, targets)
        return self.spec.loss(outputs[self.name], targets[self.name], self)

    def measure(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Every metric that adds up or collects rows, of one batch, as scalar tensors on the outputs' device."""
        return {
            m.name: m.of(output, target, self) for m in self.all_metrics if isinstance(m, Metric)
        }

    def known(self, target: Tensor) -> Tensor:
        """Which entries of a target are labels, a bool tensor of its shape."""
        return self.spec.known(target)

    def labelled(self, target: Tensor) -> Tensor:
        """Which rows have at least one label, a bool tensor ``[N]``."""
        known = self.spec.known(target)
        return known.flatten(1).any(1) if known.dim() > 1 else known

    def mass(self, target: Tensor) -> Tensor:
        """What the mean over a batch's labelled entries divides by: losses of parts, weighed by it, add up to the whole's."""
        return self.spec.mass(target, self)

    def trivial_output(self, target: Tensor) -> Tensor:
        """The trivial predictor's output for every row of the target, in the shape that the model's output would have."""
        return self.spec.trivial_output(target, self)

    def answer(self, output: Tensor) -> Tensor:
        """What an output says: numbers in the target's own units, class indices, or 0/1 per label."""
        return self.spec.answer(output, self)

    def in_units(self, target: Tensor) -> Tensor:
        """A target in the units of :meth:`answer`."""
        return self.spec.in_units(target, self)
