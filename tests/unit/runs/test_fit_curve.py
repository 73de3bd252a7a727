"""The curve of fit.png: the model's answers and noise along its only input, in target units."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mtl_runner.experiment.build import build
from mtl_runner.results.pictures.run import Fit
from mtl_runner.runs.fit_curve import POINTS, fit_curve
from mtl_runner.tasks.task import log_variance_key
from mtl_runner.train.trainer import Trainer
from tests.support.whole_runs import compose_config, everything_config


def fitted(directory: Path, *overrides: str) -> tuple[Trainer, dict[str, Fit]]:
    """Return a trainer before its first epoch, on the toy by default, and its curves."""
    data = () if any(o.startswith("data=") for o in overrides) else ("data=toy_regression",)
    small = ("model.hidden=[8]", "trainer.device=cpu", "weighting=fixed")
    config = compose_config(*data, *small, *overrides)
    trainer = Trainer(build(config), directory)
    return trainer, fit_curve(trainer)


@pytest.mark.usefixtures("float64")
def test_the_band_is_the_predicted_sigma_along_the_curve(tmp_path: Path) -> None:
    """Breaks if fit.png shows the mean of the predicted sigma, or sigma in training units."""
    trainer, _ = fitted(tmp_path, "likelihood=heteroscedastic")
    for head in trainer.learner.model.model.nets:
        torch.nn.init.normal_(head[-1].weight)
    curves = fit_curve(trainer)
    assert list(curves) == ["y1", "y2"]
    for task, curve in curves.items():
        x = trainer.experiment.data.splits["train"].inputs.squeeze(1).numpy()
        np.testing.assert_array_equal(curve.x, x)
        np.testing.assert_allclose(curve.grid, np.linspace(x.min(), x.max(), POINTS), atol=1e-12)
        outputs = trainer.learner.model(torch.as_tensor(curve.grid).unsqueeze(1))
        np.testing.assert_allclose(curve.line, outputs[task].detach().squeeze(1), atol=1e-12)
        assert curve.sigma is not None
        np.testing.assert_allclose(
            curve.sigma, (outputs[log_variance_key(task)].detach().squeeze(1) / 2).exp(), atol=1e-12
        )
        assert curve.sigma.shape == (POINTS,)
        assert curve.sigma.std() > 1e-3


@pytest.mark.usefixtures("float64")
def test_line_points_and_band_are_in_the_units_of_the_target(tmp_path: Path) -> None:
    """Breaks if a curve is drawn in standard deviations, or the band of an L1 task is a root."""
    x = np.linspace(-1, 1, 60)
    lines = [f"{a},{1000 * a + 100 * math.sin(9 * i)},{7 + i % 5}" for i, a in enumerate(x)]
    (tmp_path / "t.csv").write_text("x,y,z\n" + "\n".join(lines) + "\n")
    targets = "data.targets={y: regression, z: regression_l1}"
    options = (
        "data=table",
        f"data.path={tmp_path / 't.csv'}",
        targets,
        "likelihood=heteroscedastic",
        "optimizer.lr=0.01",
    )
    trainer, _ = fitted(tmp_path, *options, "trainer.epochs=1")
    trainer.run()
    curves = fit_curve(trainer)
    assert all(task.scale not in (0.0, 1.0) for task in trainer.tasks)
    assert set(curves["y"].y.round(6)) <= {round(float(line.split(",")[1]), 6) for line in lines}
    assert set(curves["z"].y.round(9)) == {7.0, 8.0, 9.0, 10.0, 11.0}
    for task in trainer.tasks:
        outputs = trainer.learner.model.eval()(torch.as_tensor(curves[task.name].grid).unsqueeze(1))
        line = task.offset + task.scale * outputs[task.name].detach().squeeze(1)
        s = outputs[log_variance_key(task.name)].detach().squeeze(1)
        np.testing.assert_allclose(curves[task.name].line, line, rtol=1e-12)
        assert curves[task.name].sigma is not None
        np.testing.assert_allclose(
            curves[task.name].sigma,
            task.scale * (s / {"y": 2, "z": 1}[task.name]).exp(),
            rtol=1e-12,
        )


@pytest.mark.parametrize("likelihood", ["standard", "homoscedastic"])
def test_where_nothing_is_predicted_there_is_no_band_of_its_own(
    likelihood: str, tmp_path: Path
) -> None:
    """Breaks if a constant sigma is drawn twice."""
    _, curves = fitted(tmp_path, f"likelihood={likelihood}")
    assert [curve.sigma for curve in curves.values()] == [None, None]


def test_more_than_one_input_has_no_curve(tmp_path: Path) -> None:
    """Breaks if a picture of a fit is tried where there is no line to draw."""
    assert (
        fit_curve(Trainer(build(everything_config("likelihood=heteroscedastic")), tmp_path)) == {}
    )
