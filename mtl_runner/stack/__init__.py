"""Runs that differ only in numbers, trained together as one stack of replicas."""

from mtl_runner.stack.runs import Stacker, run_compiled
from mtl_runner.stack.stack import Stack

__all__ = ["Stack", "Stacker", "run_compiled"]
