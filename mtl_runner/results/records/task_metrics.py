"""The metrics that a task is measured by, as its runs' summary.json names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LOSSES = ("loss", "relative_loss")  # every task has them; lower is better


@dataclass(frozen=True)
class TaskMetrics:
    """The metrics of one task.

    Attributes:
        main: The metric that tables and pictures show.
        directions: ``{metric: whether a higher value is better}``; None where that is unknown.
        in_delta_m: The metrics whose relative differences mean something, the main one first.

    Example:
        >>> metrics = TaskMetrics.of({"kind": "classification"})
        >>> metrics.main, metrics.higher_is_better("accuracy"), metrics.higher_is_better("ece")
        ('accuracy', True, False)
    """

    main: str = "loss"
    directions: Mapping[str, bool | None] = field(default_factory=dict)
    in_delta_m: tuple[str, ...] = ()

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> TaskMetrics:
        """Read a task's entry of summary.json."""
        metrics = entry.get("metrics")
        if metrics is None:
            return _from_kind(str(entry.get("measures") or entry.get("kind")))
        directions = {name: metric.get("higher_is_better") for name, metric in metrics.items()}
        in_delta_m = tuple(name for name, metric in metrics.items() if metric.get("in_delta_m"))
        return cls(entry["main_metric"], directions, in_delta_m)

    def higher_is_better(self, metric: str) -> bool:
        """Return whether a higher value is better; False where that is unknown."""
        return bool(self.directions.get(metric, False))


# Older runs do not record directions, only the kind of a task or the name of a set of metrics.
# "+" marks metrics of which more is better; the number says how many of them enter delta-m.
_METRICS_OF_KIND: dict[str, tuple[str, int]] = {
    "regression": ("rmse mae r2+ rrmse", 2),
    "regression_l1": ("mae rmse r2+ rrmse", 2),
    "classification": ("accuracy+ f1+ ece", 2),
    "multilabel": ("f1+ accuracy+ precision+ recall+ one_error micro_f1+", 4),
    "direction": ("rmse", 1),
    "segmentation": ("miou+ pixel_accuracy+", 2),
    "depth": ("abs_err rel_err", 2),
    "normals": ("angle_mean angle_median within_11+ within_22+ within_30+", 5),
    "offsets": ("instance_error", 1),
}


def _from_kind(kind: str) -> TaskMetrics:
    text, count = _METRICS_OF_KIND.get(kind, ("", 0))
    directions = {name.rstrip("+"): name.endswith("+") for name in text.split()}
    names = list(directions)
    return TaskMetrics(names[0] if names else "loss", directions, tuple(names[:count]))
