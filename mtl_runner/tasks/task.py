"""A task: what one output of the model is for, and how it is judged.

What a kind of task means is defined in :mod:`mtl_runner.tasks.kinds`. Missing labels are marked in
the target itself: NaN in floating-point targets, ``MISSING_CLASS`` in class targets.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.tasks.kinds import KINDS, Kind
from mtl_runner.tasks.metrics.base import Metric
from mtl_runner.tasks.metrics.torchmetrics_adapter import TorchMetric
from mtl_runner.tasks.points import PointSet

TOTAL = "total"  # in metrics.csv the rows of the objective and of the mean over tasks

LARGEST = torch.finfo(torch.float32).max

#: A loss term: of (outputs, targets), or of (model, batch).
TermLoss = Callable[[Any, Any], Tensor]
AnyMetric = Metric | TorchMetric


def log_variance_key(name: str) -> str:
    """Return the key under which a model's outputs hold the log-variances of a task."""
    return f"{name}/log_variance"


def term_key(name: str) -> str:
    """Return the key under which outputs hold the value of a loss term that sees the model."""
    return f"{name}/term"


def _sees_model(function: Callable[..., Any] | None) -> bool:
    """Return whether a loss term is a function of (model, batch): its first argument says so."""
    try:
        names = list(inspect.signature(function).parameters) if callable(function) else []
    except ValueError:  # a function in C without a signature
        names = []
    return bool(names) and names[0] == "model"


def _takes_two_arguments(function: Callable[..., Any]) -> bool:
    """Return whether a function can be called with two arguments; True if nobody can know."""
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return not callable(function)  # said where it is used
    except ValueError:  # a function in C without a signature
        return True
    return True


@dataclass(frozen=True)
class Task:
    """One task of a multi-task problem: an output of the model, its target, loss and metrics.

    A dataset lists its tasks; the fields that the data determine (``size``, ``offset``, ``scale``,
    ``trivial``, ``missing``, ``places``) are filled in when the data are prepared.

    Args:
        name: The task's name in configs, columns and pictures, and the key of its output.
        kind: One of

            - ``"regression"``: numbers, with the mean squared error;
            - ``"regression_l1"``: numbers, with the mean absolute error;
            - ``"regression_log"``: numbers, with the mean squared error of log(1 + y);
            - ``"classification"``: one of ``size`` classes, with the cross entropy;
            - ``"multilabel"``: any of ``size`` labels, with the binary cross entropy;
            - ``"direction"``: a unit vector, with one minus the cosine of the angle to it;
            - ``"term"``: no target, but a ``loss_term`` of all outputs and all targets;

            or an instance of your own :class:`~mtl_runner.tasks.kinds.Kind`.
        size: Number of outputs, or of channels if the target has places; 0: the data decide.
        offset: Value of the target, in its own units, that is 0 in training units.
        scale: Size of one training unit in the target's own units.
        classes: Names of the classes or labels, in the order of the outputs.
        class_weights: One weight per class, for the mean of the cross entropy.
        true_sigma: The noise scale that generated the target, in its own units, where it is known.
        trivial: Output of the trivial predictor, ``size`` numbers: mean or median of the training
            split, or logits of the classes' frequencies.
        missing: Whether any label is missing in any split. Tasks without missing labels are faster.
        loss_term: A function ``(outputs, targets) -> loss`` that replaces the standard loss, or
            ``(model, batch) -> loss``, told apart by the name of the first argument. Its
            attribute ``metrics``, ``{name: function}``, may name more functions of the same
            arguments, which are recorded at every evaluation; a function's attribute
            ``higher_is_better`` says its direction. Of a function of (model, batch) the attribute
            ``points`` may be a :class:`~mtl_runner.tasks.points.PointSet`, which the batch then
            holds instead of rows of the data.
        places: Dimensions of the outputs behind the channels: height and width of an image, empty
            for one answer per sample.
        metrics: What is recorded instead of the kind's usual metrics: names of metrics of the kind,
            or :class:`~mtl_runner.tasks.metrics.Metric` objects. The first is the main one, which
            tables and pictures show.

    Raises:
        ConfigError: If the name is empty or ``"total"``, the kind or a metric is unknown, two
            metrics have one name, the main metric has no direction, ``scale`` or ``true_sigma`` is
            not positive, or a task of kind ``"term"`` has no ``loss_term``.

    Example:
        A target with a mean of 100 and a standard deviation of 10 is trained in units of 10:

        >>> import torch
        >>> task = Task("price", "regression", size=1, offset=100.0, scale=10.0)
        >>> task.answer(torch.tensor([[0.5]]))
        tensor([[105.]])
        >>> task.metric_names
        ['rmse', 'mae', 'r2', 'rrmse']

        A row without a label counts in no loss and no metric:

        >>> task = Task("price", "regression", size=1, missing=True, metrics=("mae", "rmse"))
        >>> output, target = torch.tensor([[1.0], [5.0]]), torch.tensor([[3.0], [torch.nan]])
        >>> task.loss({"price": output}, {"price": target})
        tensor(4.)
        >>> {name: value.item() for name, value in task.measure(output, target).items()}
        {'mae': 2.0, 'rmse': 2.0}

        Classes with names, of which the second counts three times:

        >>> task = Task("sort", "classification", classes=("cat", "dog"), class_weights=(1.0, 3.0))
        >>> task.spec.columns(torch.tensor([1, 0]), task)
        {'sort': ['dog', 'cat']}

        A loss term ties two outputs together:

        >>> def sum_is_one(outputs, targets):
        ...     return (outputs["a"] + outputs["b"] - 1).square().mean()
        >>> task = Task("balance", "term", loss_term=sum_is_one)
        >>> task.loss({"a": torch.tensor([0.5]), "b": torch.tensor([1.5])}, {})
        tensor(1.)

        One that sees the model can take derivatives of it:

        >>> def steep(model, batch):
        ...     slope = torch.func.grad(lambda x: model(x)["a"].sum())(batch.inputs)
        ...     return slope.square().mean()
        >>> Task("steep", "term", loss_term=steep).sees_model
        True
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
        self._check_name()
        self._check_arguments()
        # Checkpoints hold plain numbers, not NumPy's.
        object.__setattr__(self, "offset", float(self.offset))
        object.__setattr__(self, "scale", float(self.scale))
        object.__setattr__(self, "size", int(self.size))
        if self.true_sigma is not None:
            object.__setattr__(self, "true_sigma", float(self.true_sigma))
        for field in ("scale", "true_sigma"):
            value = getattr(self, field)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(
                    f"Task {self.name!r}: {field} must be a positive number; found {value}."
                )
        if not isinstance(self.kind, Kind) and self.kind not in KINDS:
            raise ConfigError(
                f"Task {self.name!r} has the unknown kind {self.kind!r}; {suggest(str(self.kind), KINDS)}."
            )
        if not self.has_target and self.loss_term is None:
            raise ConfigError(
                f"Task {self.name!r} is of kind 'term' and needs a `loss_term` callable."
            )
        object.__setattr__(self, "metrics", tuple(map(self._metric, self.metrics)))
        self._check_metrics()

    def _check_name(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ConfigError(
                f"The name of a task must be a text that is not empty; found {self.name!r}."
            )
        if self.name == TOTAL:
            raise ConfigError(
                f"A task cannot be called {TOTAL!r}, the name of the objective in metrics.csv; give it another one (for a column of a table: {{name: other, column: {TOTAL}}})."
            )

    def _check_arguments(self) -> None:
        """Raise ``ConfigError`` for arguments of another type."""
        for field in ("size", "offset", "scale", "true_sigma"):
            value = getattr(self, field)
            try:
                is_number, is_real = math.isfinite(value), True
            except (TypeError, ValueError, OverflowError):
                is_number = is_real = value is None and field == "true_sigma"
            # The range of scale and true_sigma is checked below.
            if not is_real or (not is_number and field in ("size", "offset")):
                raise ConfigError(
                    f"Task {self.name!r}: {field} must be a finite number; found {value!r}."
                )
            if is_number and value is not None and abs(value) > LARGEST:
                raise ConfigError(
                    f"Task {self.name!r}: {field} must lie within ±{LARGEST:.1e}, the range of single precision; found {value!r}."
                )
        if self.size < 0:
            raise ConfigError(f"Task {self.name!r}: size must be at least 0; found {self.size}.")
        for field in ("classes", "class_weights", "metrics"):
            value = getattr(self, field)
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise ConfigError(f"Task {self.name!r}: {field} must be a tuple; found {value!r}.")
        if self.loss_term is not None and not callable(self.loss_term):
            raise ConfigError(
                f"Task {self.name!r}: loss_term must be a callable of (outputs, targets) or (model, batch); found {self.loss_term!r}."
            )
        functions = {"loss_term": self.loss_term, **self.term_metrics}
        for name, function in functions.items():
            if function is not None and not _takes_two_arguments(function):
                field = name if name == "loss_term" else f"the loss term's metric {name!r}"
                forms = ["(outputs, targets)"] * (name == "loss_term" or not self.sees_model)
                forms += ["(model, batch)"] * (name == "loss_term" or self.sees_model)
                raise ConfigError(
                    f"Task {self.name!r}: {field} must take two arguments, {' or '.join(forms)}; its own are {inspect.signature(function)}."
                )
        if self.points is not None and not (self.sees_model and isinstance(self.points, PointSet)):
            raise ConfigError(
                f"Task {self.name!r}: the `points` of a loss term must be a PointSet, and the term a function of (model, batch); found {self.points!r}."
            )

    def _metric(self, metric: str | AnyMetric) -> AnyMetric:
        """Return the kind's metric of a name; a metric stays as it is."""
        if not isinstance(metric, str):
            return metric
        known = {m.name: m for m in (*self.spec.metrics, *self.spec.more_metrics)}
        if metric not in known:
            raise ConfigError(
                f"Task {self.name!r} of kind {self.spec.name!r} has no metric {metric!r}; {suggest(metric, known)}."
            )
        return known[metric]

    def _check_metrics(self) -> None:
        """Raise ``ConfigError`` unless names differ and the main metric has a direction."""
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
        """Return the fields that a prediction needs, as plain values for a checkpoint.

        Loss term and metrics are left out. A user's own kind becomes ``{"_target_": path, option:
        value}``, from which it can be instantiated.
        """
        fields = {
            name: value for name, value in vars(self).items() if name in self.__dataclass_fields__
        }
        for name in ("loss_term", "metrics"):
            del fields[name]
        if isinstance(self.kind, Kind):
            path = f"{type(self.kind).__module__}.{type(self.kind).__qualname__}"
            parameters = inspect.signature(type(self.kind)).parameters
            options = {
                name: value.item() if hasattr(value, "item") else value
                for name, value in vars(self.kind).items()
                if name in parameters
            }
            fields["kind"] = {"_target_": path, **options}
        return fields

    @cached_property
    def spec(self) -> Kind:
        """The kind itself, also if ``kind`` is its name."""
        return self.kind if isinstance(self.kind, Kind) else KINDS[self.kind]

    @property
    def has_target(self) -> bool:
        """Whether the task has a target and an output; only loss terms have none."""
        return self.spec.has_target

    @property
    def has_likelihood(self) -> bool:
        """Whether the loss belongs to a likelihood whose noise scale can be learned."""
        return self.loss_term is None and self.spec.noise.has_likelihood

    @property
    def has_noise_scale(self) -> bool:
        """Whether sigma is a noise scale in the units of the target, not a temperature."""
        return self.spec.noise.numeric

    @property
    def all_metrics(self) -> Sequence[AnyMetric]:
        """The metrics of the task's output and target, the main one first."""
        # After __post_init__ no metric is a name any more.
        return self.metrics or self.spec.metrics  # type: ignore[return-value]

    @property
    def term_metrics(self) -> Mapping[str, TermLoss]:
        """The functions that the loss term measures beside its loss, by name."""
        functions: Mapping[str, TermLoss] = getattr(self.loss_term, "metrics", {})
        if not isinstance(functions, Mapping):
            raise ConfigError(
                f"The metrics of the loss term {self.name!r} must be a dict from names to functions; found {functions!r}."
            )
        return functions

    @cached_property
    def sees_model(self) -> bool:
        """Whether the loss is a function of (model, batch), not of outputs and targets."""
        return _sees_model(self.loss_term)

    @property
    def residuals(self) -> TermLoss | None:
        """The function of (model, batch) whose mean square is the loss term; None if not known."""
        return getattr(self.loss_term, "residuals", None) if self.sees_model else None

    @property
    def points(self) -> PointSet | None:
        """The points of the loss term; None: it looks at the rows of the data."""
        return getattr(self.loss_term, "points", None)

    @property
    def metric_names(self) -> list[str]:
        """The names of all metrics of the task, the main one first."""
        return [*(metric.name for metric in self.all_metrics), *self.term_metrics]

    @property
    def main_metric(self) -> str:
        """The name of the first metric, which tables show; ``loss`` if there is none."""
        return next((metric.name for metric in self.all_metrics), "loss")

    @property
    def directions(self) -> dict[str, bool | None]:
        """Whether a higher value is better, for the losses and every metric; None if not known."""
        known = {metric.name: metric.higher_is_better for metric in self.all_metrics}
        terms = {
            name: getattr(metric, "higher_is_better", None)
            for name, metric in self.term_metrics.items()
        }
        return {"loss": False, "relative_loss": False, **known, **terms}

    def loss(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Return the standard loss of a batch: the mean over its labels, 0 if it has none.

        Args:
            outputs: The outputs of all tasks; the task's own is ``[N, size, ...]``. They hold the
                value of a loss term that sees the model under :func:`term_key`.
            targets: The targets of all tasks, in training units.

        Raises:
            ConfigError: If the loss term sees the model, and nobody has called it.
        """
        if self.sees_model:
            if term_key(self.name) not in outputs:
                raise ConfigError(
                    f"The loss term {self.name!r} is a function of (model, batch), which only a run of mtl-run calls; give your own loop its value as a loss."
                )
            return outputs[term_key(self.name)]
        if self.loss_term is not None:
            return self.loss_term(outputs, targets)
        return self.spec.loss(outputs[self.name], targets[self.name], self)

    def measure(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the metrics of one batch, except torchmetrics, as scalars on the output's device.

        Args:
            output: The task's output, ``[N, size, ...]``.
            target: The task's target, in training units.
        """
        return {
            metric.name: metric.compute_batch(output, target, self)
            for metric in self.all_metrics
            if isinstance(metric, Metric)
        }

    def known(self, target: Tensor) -> Tensor:
        """Return which entries of a target are labels, as booleans of its shape."""
        return self.spec.known(target)

    def labelled(self, target: Tensor) -> Tensor:
        """Return which rows of a target have at least one label, as booleans ``[N]``."""
        known = self.spec.known(target)
        return known.flatten(1).any(1) if known.dim() > 1 else known

    def loss_denominator(self, target: Tensor) -> Tensor:
        """Return the number, in float64, by which the mean loss of a batch was divided.

        It weighs the losses of batches so that their weighted mean is the loss of the split.
        """
        return self.spec.loss_denominator(target, self)

    def trivial_output(self, target: Tensor) -> Tensor:
        """Return the trivial predictor's output for a target, in the shape of a model's output."""
        return self.spec.trivial_output(target, self)

    def answer(self, output: Tensor) -> Tensor:
        """Return what an output means: numbers in the target's units, class indices, or labels."""
        return self.spec.answer(output, self)

    def probabilities(self, output: Tensor) -> Tensor | None:
        """Return the probability of every class or label; None where there are none."""
        return self.spec.probabilities(output, self)

    def in_units(self, target: Tensor) -> Tensor:
        """Return a target in the units of :meth:`answer`."""
        return self.spec.in_units(target, self)
