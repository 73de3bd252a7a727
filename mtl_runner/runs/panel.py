"""A few validation images with truth and prediction at every pixel, as plain arrays, for their picture."""

from __future__ import annotations

import numpy as np

from mtl_runner.data.inputs import InputTensors
from mtl_runner.experiment.forward import split_outputs
from mtl_runner.results.panel_plot import Map, Panel
from mtl_runner.train.trainer import Trainer

ROWS = 4


def panel(trainer: Trainer) -> Panel | None:
    """The first validation images with what their tasks with places say; None if there is none."""
    split = trainer.experiment.data.splits["val"]
    tasks = [task for task in trainer.tasks if task.has_target and task.places]
    inputs = InputTensors(split.inputs).single
    if not tasks or inputs is None or inputs.dim() != 4:
        return None
    few, images = split.rows(slice(0, ROWS)), inputs[:ROWS]
    outputs = trainer.learner.likelihood.answers(
        split_outputs(trainer.learner.forward_pass, few, ROWS)
    )
    maps = {}
    for task in tasks:
        kind = task.spec
        truth = kind.picture(task.in_units(few.targets[task.name])).cpu().numpy()
        predicted = kind.picture(task.answer(outputs[task.name])).cpu().numpy()
        maps[task.name] = Map(
            truth, np.where(np.isnan(truth), np.nan, predicted), kind.legend(task)
        )
    return Panel(images.float().cpu().numpy(), maps)
