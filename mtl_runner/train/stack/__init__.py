"""Runs that differ only in numbers, trained together as one stack of replicas."""

from mtl_runner.train.stack.compiled import run_compiled
from mtl_runner.train.stack.loop import Stack

__all__ = ["Stack", "run_compiled"]
