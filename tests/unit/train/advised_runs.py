"""Runs on a task of every kind, and the advice on their setup."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mtl_runner.experiment.build import Experiment, build
from mtl_runner.tasks.activity import Active
from mtl_runner.train.advice import advice_on_setup
from tests.support.whole_runs import everything_config


def build_experiment(*overrides: str, **data: Any) -> Experiment:
    """Build the experiment of a run on a task of every kind."""
    return build(everything_config(*overrides, gaps=False, **data))


def setup_advice(*overrides: str) -> list[str]:
    """Return the advice on the setup of a run on a task of every kind."""
    return advice_on_setup(build_experiment(*overrides))


def train_parameters(*overrides: str, steps: int = 4) -> Tensor:
    """Return all parameters of the model after some steps, ``[P]``."""
    experiment = build_experiment(*overrides)
    split = experiment.data.splits["train"]
    for _ in range(steps):
        experiment.learner.step(split, Active.all(4))
    return nn.utils.parameters_to_vector(experiment.learner.model.parameters()).detach()


def free_softmax(task: str) -> str:
    """Return the advice on a classification with a free last layer."""
    return (
        f"The exact likelihood does not weigh the classification {task!r}: its last layer is free, so logits and sigma^2 rescale "
        "together at the same loss; its sigma is a temperature only for frozen logits (weighting=uncertainty does weigh it)."
    )
