"""The learning-rate schedulers of a run know its length."""

from __future__ import annotations

import pytest
import torch

from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import build
from tests.oracles.methods.runs import compose


def test_the_default_rate_falls_to_zero_at_the_end() -> None:
    """Breaks if cosine is cut off before the end of the run, or ends before it."""
    experiment = build(compose("data=toy_regression", "trainer.epochs=7"))
    (scheduler, *_) = experiment.lr_schedulers
    assert isinstance(scheduler, torch.optim.lr_scheduler.CosineAnnealingLR)
    assert scheduler.T_max == 7


@pytest.mark.parametrize(("per", "steps"), [("epoch", 7), ("step", 35)])
def test_a_scheduler_is_told_how_often_it_steps(per: str, steps: int) -> None:
    """Breaks if OneCycleLR needs numbers that the run knows, or ends at a wrong step."""
    node = "trainer.lr_scheduler={_target_: torch.optim.lr_scheduler.OneCycleLR, max_lr: 0.1}"
    options = ("data=toy_regression", "trainer.epochs=7", f"trainer.lr_scheduler_per={per}")
    (scheduler, *_) = build(compose(*options, node)).lr_schedulers
    assert scheduler.total_steps == steps


def test_a_scheduler_that_looks_at_evaluations_cannot_step_with_the_steps() -> None:
    """Breaks if ReduceLROnPlateau steps without a number to look at."""
    node = "trainer.lr_scheduler={_target_: torch.optim.lr_scheduler.ReduceLROnPlateau}"
    with pytest.raises(ConfigError, match="ReduceLROnPlateau looks at evaluations"):
        build(compose("data=toy_regression", "trainer.lr_scheduler_per=step", node))
