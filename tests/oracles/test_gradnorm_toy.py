"""On tasks that differ in nothing but their scale, strategies end in the known order."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.oracles.methods.runs import column
from tests.oracles.methods.runs import train as train_run
from tests.support.builders import assert_near
from tests.support.paths import ROOT

SCRIPT = ROOT / "scripts" / "reproduce" / "gradnorm_toy.py"


def test_the_trivial_predictor_is_as_good_as_an_untrained_network(tmp_path: Path) -> None:
    """Breaks if `relative_loss` is not the published ratio of the losses after and before training.

    They agree within a hundredth.
    """
    options = (
        "data=gradnorm_toy",
        "weighting=fixed",
        "data.n=200",
        "trainer.epochs=1",
        "record.plots=none",
        "optimizer.lr=1e-12",
    )
    relative = column(train_run(tmp_path / "run", *options), "relative_loss", "val")
    assert_near(relative, torch.ones_like(relative), 0.01)


def script() -> ModuleType:
    """Return scripts/reproduce/gradnorm_toy.py as a module."""
    spec = importlib.util.spec_from_file_location("gradnorm_toy_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.long
def test_strategies_end_in_the_known_order() -> None:
    """Breaks if a strategy is not as far after 4000 steps as it was measured to be.

    Equal weights leave y1 untrained.
    """
    known = {  # measured by hand before this code
        "equal weights": (1.02, 0.85),
        "uncertainty, s from 0, own lr": (0.93, 0.92),
        "per-task Adam": (0.73, 0.77),
        "fixed 1/sigma²": (0.59, 0.75),
    }
    module = script()
    rows = module.strategies((1.0, 100.0))
    ratios = {name: tuple(module.ratios(0, (1.0, 100.0), *rows[name]).values()) for name in known}
    assert sorted(ratios, key=lambda name: sum(ratios[name]), reverse=True) == list(known)
    for name, expected in known.items():
        assert ratios[name] == pytest.approx(expected, abs=0.05), name
