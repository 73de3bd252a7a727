"""Metrics as tensor functions: computed on the device and equal to scikit-learn's."""

from mtl_runner.tasks.metrics.base import Metric

__all__ = ["Metric"]
