"""Runs that differ only in numbers, trained together as one stack of replicas."""

from mtl_runner.stack.stack import Stack

__all__ = ["Stack"]
