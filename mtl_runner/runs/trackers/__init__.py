"""Trackers: other programs that get the record of a run, too (``tracker=tensorboard``)."""

from mtl_runner.runs.trackers.base import TrackedRun, Tracker
from mtl_runner.runs.trackers.mlflow import MLflow
from mtl_runner.runs.trackers.tensorboard import TensorBoard
from mtl_runner.runs.trackers.trackio import Trackio
from mtl_runner.runs.trackers.wandb import WandB

__all__ = ["MLflow", "TensorBoard", "TrackedRun", "Tracker", "Trackio", "WandB"]
