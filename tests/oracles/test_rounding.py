"""Rounding stays rounding: no default of ours makes a visible difference of it.

The same run is trained in two ways that differ in the order of some sums. The numbers of the two
may then differ by about 1e-7 in float32, and training makes somewhat more of it.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.likelihood import Homoscedastic, Likelihood
from mtl_runner.train.stack import StackTrainer
from mtl_runner.weighting import IMTLL, Fixed, Uncertainty, Weighting
from tests.oracles.methods.runs import METHODS, prepare, start
from tests.support.builders import make_tasks

DIGITS = ("data=digits", "trainer.device=cpu", "record.plots=none")
SHORT = ("optimizer.lr=0.01", "trainer.epochs=2")
TOLERANCE = 1e-4


def validation_losses(directory: Path) -> torch.Tensor:
    """Return the validation losses of all evaluated epochs and tasks."""
    with (directory / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    return torch.tensor([float(row["loss"]) for row in rows if row["task"] != "total"])


def largest_difference(folder: Path, *options: str) -> float:
    """Return the largest relative difference of a loss between a single and a stacked run."""
    single = start(prepare(folder / "single", *DIGITS, *options, "seed=0"))
    single.run()
    stack = [start(prepare(folder / f"stack{i}", *DIGITS, *options, f"seed={i}")) for i in (0, 1)]
    StackTrainer(stack).run()
    expected = validation_losses(folder / "single")
    actual = validation_losses(folder / "stack0")
    assert len(actual) == len(expected) > 0
    return ((actual - expected).abs() / expected).max().item()


def test_uncertainty_does_not_amplify_rounding(tmp_path: Path) -> None:
    """Breaks if log variances that start at their optimum take a whole step along rounding."""
    assert largest_difference(tmp_path, "weighting=uncertainty", *SHORT) < TOLERANCE


# Two defaults are left out, in which training itself is chaotic, from no learned parameter of ours:
# heteroscedastic (in float64, too), and uncertainty_analytic, whose weights are 1 over the loss of
# single batches, which comes close to 0.
@pytest.mark.long
@pytest.mark.parametrize("lr", [0.001, 0.01])
@pytest.mark.parametrize(
    "method",
    [
        "fixed",
        "uncertainty",
        "uncertainty_simplified",
        "uncertainty_exact",
        "imtl_l",
        "learned",
        "log_sum",
        "dwa",
        "famo",
        "per_task_adam",
    ],
)
def test_no_default_amplifies_rounding(method: str, lr: float, tmp_path: Path) -> None:
    """Breaks if a stacked and a single run differ visibly after ten epochs of real data."""
    options = (*METHODS[method], f"optimizer.lr={lr}", "trainer.epochs=10")
    assert largest_difference(tmp_path, *options) < TOLERANCE


@pytest.mark.parametrize("make", [Uncertainty, IMTLL, Homoscedastic])
def test_slopes_of_the_size_of_rounding_move_no_log_scale(
    make: type[Weighting | Likelihood],
) -> None:
    """Breaks if an Adam for log scales turns a gradient of 1e-7 into a step of its rate."""
    tasks = make_tasks(a="regression", b="regression")
    owner = make(tasks, init=0.0)  # type: ignore[call-arg]
    if isinstance(owner, Weighting):
        optimizers = OwnOptimizers(owner, torch.optim.SGD)
    else:
        optimizers = OwnOptimizers(Fixed(tasks), torch.optim.SGD, owner)
    (optimizer,) = optimizers.optimizers
    for slope, share in ((1e-7, 0.0), (1.0, 1.0)):
        optimizer.state.clear()
        moved = _moved(optimizer, slope)
        assert moved == pytest.approx([share * 0.025] * 2, abs=1e-4)


def _moved(optimizer: torch.optim.Optimizer, slope: float) -> Sequence[float]:
    """Return how far one step along a slope moves the parameters of an optimizer."""
    parameters = optimizer.param_groups[0]["params"]
    before = [parameter.item() for parameter in parameters]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, slope)
    optimizer.step()
    return [start - parameter.item() for start, parameter in zip(before, parameters, strict=True)]
