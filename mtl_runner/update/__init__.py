"""Axis 4: how the gradients of T losses become one change of the parameters."""

from mtl_runner.update.adatask import AdaTask
from mtl_runner.update.base import Update
from mtl_runner.update.jacobian import Jacobian
from mtl_runner.update.joint import Joint
from mtl_runner.update.per_task import PerTask

__all__ = ["AdaTask", "Jacobian", "Joint", "PerTask", "Update"]
