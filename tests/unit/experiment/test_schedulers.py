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


@pytest.mark.parametrize(
    ("length", "per", "words"),
    [
        (
            "total_steps: 330",
            "epoch",
            "total_steps=330, but takes 7 steps in this run, one after every epoch; leave it out, or step it more often with trainer.lr_scheduler_per=step.",
        ),
        (
            "total_steps: 3",
            "step",
            "total_steps=3, but takes 35 steps in this run, one after every step; leave it out.",
        ),
        (
            "epochs: 7, steps_per_epoch: 9",
            "step",
            "epochs * steps_per_epoch=63, but takes 35 steps in this run, one after every step; leave them out.",
        ),
    ],
)
def test_a_cycle_of_another_length_is_refused(length: str, per: str, words: str) -> None:
    """Breaks if OneCycleLR runs 7 of its 330 steps without a word, or ends a run in its middle."""
    node = f"{{_target_: torch.optim.lr_scheduler.OneCycleLR, max_lr: 0.1, {length}}}"
    options = ("data=toy_regression", "trainer.epochs=7", f"trainer.lr_scheduler_per={per}")
    with pytest.raises(ConfigError) as error:
        build(compose(*options, f"trainer.lr_scheduler={node}"))
    assert str(error.value) == f"trainer.lr_scheduler: OneCycleLR has {words}"


def test_a_cycle_may_be_longer_than_a_run_that_looks_for_mistakes() -> None:
    """Breaks if +debug=true, which cuts a run short, refuses the length of the whole run."""
    node = "{_target_: torch.optim.lr_scheduler.OneCycleLR, max_lr: 0.1, total_steps: 330}"
    build(compose("data=toy_regression", f"trainer.lr_scheduler={node}", "+debug=true"))
