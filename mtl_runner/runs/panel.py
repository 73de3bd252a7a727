"""A few validation images with truth and prediction at every pixel, for their picture."""

from __future__ import annotations

import numpy as np

from mtl_runner.data.inputs import InputTensors
from mtl_runner.experiment.forward import split_outputs
from mtl_runner.results.pictures.panel import Map, Panel
from mtl_runner.train.trainer import Trainer

ROWS = 4


def validation_panel(trainer: Trainer) -> Panel | None:
    """Return the first validation images with the truth and prediction of their dense tasks.

    Args:
        trainer: A trained run.

    Returns:
        The first :data:`ROWS` images and, for each task with a target at every pixel, two maps in
        the target's units, unknown pixels as NaN. None if there is no such task, or the inputs are
        not images.
    """
    split = trainer.experiment.data.splits["val"]
    tasks = [task for task in trainer.tasks if task.has_target and task.places]
    if not tasks or isinstance(split.shape, dict) or len(split.shape) != 3:
        return None
    shown = split.rows(slice(0, ROWS))
    images = InputTensors(shown.inputs).first
    outputs = trainer.learner.likelihood.tempered_outputs(
        split_outputs(trainer.forward_pass, shown, ROWS)
    )
    maps = {}
    for task in tasks:
        kind = task.spec
        truth = kind.picture(task.in_units(shown.targets[task.name])).cpu().numpy()
        predicted = kind.picture(task.answer(outputs[task.name])).cpu().numpy()
        maps[task.name] = Map(
            truth, np.where(np.isnan(truth), np.nan, predicted), kind.legend(task)
        )
    return Panel(images.float().cpu().numpy(), maps)
