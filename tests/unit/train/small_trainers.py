"""Trainers of runs of a few steps, on a small data set with a task of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtl_runner.experiment.build import build
from mtl_runner.train.trainer import Trainer
from tests.support.whole_runs import everything_config


def make_trainer(directory: Path, *overrides: str, gaps: bool = False, **data: Any) -> Trainer:
    """Return a trainer of a run of 4 epochs of 4 steps, not yet trained.

    Args:
        directory: Directory of the run, made if it does not exist.
        overrides: Overrides of the config, as on the command line.
        gaps: Whether labels are missing.
        data: Options of the data.
    """
    directory.mkdir(parents=True, exist_ok=True)
    return Trainer(build(everything_config(*overrides, gaps=gaps, **data)), directory)
