"""A few validation images with truth and prediction at every pixel, as plain arrays, for their picture."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mtl_runner.results.panel_plot import Map, Panel
from mtl_runner.tasks.task import MISSING_CLASS, Task
from mtl_runner.train.evaluation import predict
from mtl_runner.train.trainer import Trainer

ROWS = 4


def panel(trainer: Trainer) -> Panel | None:
    """The first validation images with what their tasks with places say; None if there is none."""
    split = trainer.experiment.data.splits["val"]
    tasks = [task for task in trainer.tasks if task.has_target and task.places]
    if not tasks or isinstance(split.inputs, dict) or split.inputs.dim() != 4:
        return None
    few, images = split.rows(slice(0, ROWS)), split.inputs[:ROWS]
    outputs = trainer.learner.likelihood.answers(predict(trainer.learner.model, few, ROWS))
    maps = {}
    for task in tasks:
        classes = (task.classes or tuple(map(str, range(task.size)))) if task.kind == "classification" else ()
        truth = _shown(task, few.targets[task.name], truth=True)
        said = _shown(task, task.answer(outputs[task.name]), truth=False)
        maps[task.name] = Map(truth, np.where(np.isnan(truth), np.nan, said), classes)
    return Panel(images.float().cpu().numpy(), maps)


def _shown(task: Task, values: Tensor, truth: bool) -> np.ndarray:
    """Class indices ``[rows, H, W]``, or numbers in the target's units ``[rows, channels, H, W]``; NaN where unknown."""
    if task.kind == "classification":
        return torch.where(values == MISSING_CLASS, torch.nan, values.double()).cpu().numpy()
    values = (task.offset + task.scale * values if truth else values).double()
    if task.kind == "direction":
        values = values / values.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return values.cpu().numpy()
