"""Training of many runs that differ only in numbers as one stack of replicas.

The parameters of all replicas lie in tensors ``[S, ...]``, S the number of replicas, and one
vmapped step trains them all. Letters in shapes: S replicas, N rows of a split, n rows of a batch, T
tasks.
"""

from mtl_runner.train.stack.compiled import run_compiled
from mtl_runner.train.stack.stack_trainer import StackTrainer

__all__ = ["StackTrainer", "run_compiled"]
