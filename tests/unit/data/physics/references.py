"""Residuals of reference solutions, by autograd in double precision."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_runner.data import PhysicsProblem


def solution_of(problem: PhysicsProblem) -> object:
    """Return the exact solution of a problem in the form of a model."""

    def model(points: Tensor) -> dict[str, Tensor]:
        exact = problem.equation.exact(points)
        return {name: values.unsqueeze(1) for name, values in exact.items()}

    return model


def largest_residuals(problem: PhysicsProblem, n: int = 200) -> dict[str, float]:
    """Return how much the exact solution violates each loss term at most, on the term's points."""
    largest = {}
    for task in problem.tasks:
        if task.points is not None:
            points = task.points.draw(n, torch.Generator().manual_seed(1))
            assert isinstance(points, Tensor)
            residual = problem.equation.residual(
                task.name,
                solution_of(problem),  # type: ignore[arg-type]
                points.double(),
            )
            largest[task.name] = residual.abs().max().item()
    return largest


def largest_error_of_rows(problem: PhysicsProblem) -> float:
    """Return how far the known rows of train are from the exact solution at most."""
    train = problem.splits["train"]
    exact = problem.equation.exact(train.inputs.double())  # type: ignore[union-attr]
    errors = [
        (train.targets[name].squeeze(1) - values).nan_to_num(0.0).abs().max()
        for name, values in exact.items()
    ]
    return torch.stack(errors).max().item()
