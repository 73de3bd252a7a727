"""Which metrics are better when they are lower. Free of torch: the reader of files needs it too."""

from __future__ import annotations

LOWER_IS_BETTER = frozenset(
    {"loss", "relative_loss", "rmse", "mae", "rrmse", "ece", "one_error"}
    | {"abs_err", "rel_err", "angle_mean", "angle_median", "instance_error"}
)


def higher_is_better(metric: str) -> bool:
    """Whether a larger value of the metric is the better one."""
    return metric not in LOWER_IS_BETTER
