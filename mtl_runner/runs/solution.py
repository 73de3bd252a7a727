"""Answers of a model on a grid of two inputs, beside the truth, for their picture."""

from __future__ import annotations

import torch

from mtl_runner.data.dataset import Split
from mtl_runner.experiment.forward import split_outputs
from mtl_runner.results.pictures.solution import Solution
from mtl_runner.train.trainer import Trainer

FEWEST_LINES = 4
MAX_POINTS = 2**18
ROWS = 2**14  # that go through the model at once


def solutions_on_grid(trainer: Trainer) -> dict[str, Solution]:
    """Return truth and answer of every scalar regression on the grid that the test split is.

    Args:
        trainer: A trained run.

    Returns:
        For each such task its truth and the model's answer at the points of the grid, in the
        target's units. Empty if the rows of the test split are not a whole grid of two inputs.
    """
    split = trainer.experiment.data.splits["test"]
    if not isinstance(split, Split) or split.shape != (2,) or len(split) > MAX_POINTS:
        return {}
    assert isinstance(split.inputs, torch.Tensor)
    axes, places = zip(
        *(torch.unique(column, return_inverse=True) for column in split.inputs.unbind(1)),
        strict=True,
    )
    sizes = [len(axis) for axis in axes]
    cells = places[0] * sizes[1] + places[1]
    if min(sizes) < FEWEST_LINES or sizes[0] * sizes[1] != len(split):
        return {}
    if len(cells.unique()) != len(split):
        return {}
    outputs = split_outputs(trainer.forward_pass, split, ROWS)
    solutions = {}
    for task in trainer.tasks:
        if task.has_target and task.spec.numeric and task.size == 1:
            values = (task.in_units(split.targets[task.name]), task.answer(outputs[task.name]))
            truth, answer = (
                torch.empty_like(v[:, 0])
                .scatter_(0, cells, v[:, 0])
                .view(sizes[0], sizes[1])
                .cpu()
                .numpy()
                for v in values
            )
            first, second = (axis.cpu().numpy() for axis in axes)
            solutions[task.name] = Solution(first, second, truth, answer)
    return solutions
