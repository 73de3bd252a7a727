"""The fitted curve of a 1-d regression, as plain arrays, for its picture."""

from __future__ import annotations

import torch

from mtl_runner.data.dataset import Split
from mtl_runner.data.inputs import InputTensors
from mtl_runner.experiment.forward import split_outputs
from mtl_runner.results.pictures.run import Fit
from mtl_runner.train.trainer import Trainer

POINTS = 400
MAX_POINTS = 2**16  # of the training split: more would only paint the picture over


def fit_curve(trainer: Trainer) -> dict[str, Fit]:
    """Return the curve of every scalar regression task over the range of the single input.

    Args:
        trainer: A trained run.

    Returns:
        For each such task its training points, the model's answers at :data:`POINTS` inputs and
        the standard deviation or scale that it predicts there, all in the target's units. Empty
        if the model has more than one input.
    """
    split = trainer.experiment.data.splits["train"]
    if split.shape != (1,):
        return {}
    train = split.rows(slice(0, MAX_POINTS))
    x = InputTensors(train.inputs).first
    grid = torch.linspace(
        float(x.min()), float(x.max()), POINTS, dtype=x.dtype, device=x.device
    ).unsqueeze(1)
    outputs = split_outputs(trainer.forward_pass, Split(grid, {}), POINTS)
    fits = {}
    for task in trainer.tasks:
        if task.spec.numeric and task.size == 1:
            in_units = (task.in_units(train.targets[task.name]), task.answer(outputs[task.name]))
            targets, answers = (values.squeeze(1).cpu().numpy() for values in in_units)
            predicted = trainer.learner.likelihood.predicted_sigma(task, outputs)
            fits[task.name] = Fit(
                x.squeeze(1).cpu().numpy(),
                targets,
                grid.squeeze(1).cpu().numpy(),
                answers,
                None if predicted is None else predicted.squeeze(1).cpu().numpy(),
            )
    return fits
