"""Runs that differ only in numbers, trained together as one stack of replicas."""

from mtl_runner.runs.stacked import Stacker, run_compiled
from mtl_runner.train.stack.loop import Stack

__all__ = ["Stack", "Stacker", "run_compiled"]
