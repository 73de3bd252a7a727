"""What a task is measured by, as its runs' summary.json says it: the main metric, directions, and what enters delta-m."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LOSSES = ("loss", "relative_loss")  # less is better, of every task


@dataclass(frozen=True)
class TaskMetrics:
    """The metrics of one task.

    Attributes:
        main: The one that tables and pictures show.
        directions: Whether a higher value is better, by metric; None where nobody knows.
        in_delta_m: Those whose relative differences mean something, the main one first.
    """

    main: str = "loss"
    directions: Mapping[str, bool | None] = field(default_factory=dict)
    in_delta_m: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> TaskMetrics:
        """Read a task's entry of summary.json."""
        metrics = row.get("metrics")
        if metrics is None:
            return _recorded_before(str(row.get("measures") or row.get("kind")))
        directions = {name: each.get("higher_is_better") for name, each in metrics.items()}
        return cls(
            row["main_metric"],
            directions,
            tuple(name for name, each in metrics.items() if each.get("in_delta_m")),
        )

    def higher_is_better(self, metric: str) -> bool:
        """Whether a higher value is better; False where nobody knows, and then there is no best."""
        return bool(self.directions.get(metric, False))


# Runs that were recorded before summary.json held directions say the kind of a task, or the name of a set of metrics; the second
# number is how many of the metrics enter delta-m.
_BEFORE: dict[str, tuple[str, int]] = {
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


def _recorded_before(measured_by: str) -> TaskMetrics:
    text, count = _BEFORE.get(measured_by, ("", 0))
    directions = {name.rstrip("+"): name.endswith("+") for name in text.split()}
    names = list(directions)
    return TaskMetrics(names[0] if names else "loss", directions, tuple(names[:count]))
