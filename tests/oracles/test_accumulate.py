"""``trainer.accumulate``: any number of parts trains like the whole batch, for every method."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from mtl_runner.experiment.build import build
from mtl_runner.train.trainer import Trainer
from tests.oracles.methods.runs import METHODS, compose, ignore_solver_warnings
from tests.support.builders import assert_near, flat_parameters
from tests.support.lengths import long_but
from tests.support.whole_runs import everything_config

STEPS_CONFIG = (
    "trainer.epochs=10",
    "trainer.evaluate_every=10",
    "trainer.precision=float64",
    "model.hidden=[8]",
    "model.dropout=0",
    "trainer.device=cpu",
    "record.plots=none",
    "optimizer.lr=0.01",
)
# Whose solvers make more of a rounding error.
SOLVERS = ("upgrad", "dualproj", "cagrad", "nash", "fairgrad", "mgda", "sdmgrad")


def trained(directory: Path, *options: str) -> tuple[Tensor, list[list[float]]]:
    """Return the parameters after ten epochs, and the last means of what the steps recorded."""
    config = compose(
        "data=toy_mixed",
        "data.n=60",
        "data.n_val=20",
        "data.n_test=20",
        "data.batch_size=23",
        *STEPS_CONFIG,
        *options,
    )
    directory.mkdir()
    trainer = Trainer(build(config), directory)
    trainer.run()
    assert trainer.means is not None
    return flat_parameters(trainer.learner.model), [trainer.means.loss, trainer.means.weight]


@ignore_solver_warnings
@pytest.mark.long
@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("krum", "trimmed_mean")])
def test_every_method_trains_in_parts_as_on_whole_batches(tmp_path: Path, method: str) -> None:
    """Breaks if a weighting sees the losses of a part, or a gradient is not the batch's."""
    options = METHODS[method]
    full_batches, means = trained(tmp_path / "whole", *options)
    tolerance = 1e-8 if any(name in option for name in SOLVERS for option in options) else 1e-12
    for parts in (2, 3, 8):
        result, part_means = trained(
            tmp_path / f"parts_{parts}", *options, f"trainer.accumulate={parts}"
        )
        assert_near(result, full_batches, tolerance)
        assert part_means == [pytest.approx(m, rel=1e-6) for m in means]


FAMILIES: dict[str, tuple[str, ...]] = {
    "fixed": ("weighting=fixed",),
    "dwa": ("weighting=dwa",),
    "uncertainty": ("weighting=uncertainty",),
    "famo": ("weighting=famo",),
    "gradnorm": ("weighting=gradnorm",),
    "homoscedastic": ("weighting=fixed", "likelihood=homoscedastic"),
    "per_task": ("weighting=fixed", "update=per_task"),
    "fresh": ("weighting=fixed", "update=per_task", "update.gradients=fresh"),
    "adatask": ("weighting=fixed", "update=adatask"),
}


@pytest.mark.parametrize("accumulate", long_but(["3"], ["3", "'5 rows'"]))
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_does_with_missing_labels(tmp_path: Path, family: str, accumulate: str) -> None:
    """Breaks if parts with few labels count as much as those with many."""
    results = []
    for i, extra in enumerate(((), (f"trainer.accumulate={accumulate}",))):
        config = everything_config(
            *FAMILIES[family],
            "trainer.precision=float64",
            "record.gradients=true",
            *extra,
            gaps=True,
        )
        (tmp_path / str(i)).mkdir()
        trainer = Trainer(build(config), tmp_path / str(i))
        trainer.run()
        results.append(flat_parameters(trainer.learner.model))
    assert_near(results[1], results[0], 1e-12)
