"""Hydra plugins: where configs are found, and what happens around a sweep. Free of torch."""

from mtl_runner.launch.plugins import register
from mtl_runner.launch.start import SweepStart, current_sweep

__all__ = ["SweepStart", "current_sweep", "register"]
