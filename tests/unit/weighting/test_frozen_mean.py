"""Weights that are frozen at the mean of another weighting's."""

from __future__ import annotations

from typing import Any

import hydra
import pytest
import torch

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.config.times import RunLength
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import build
from mtl_runner.tasks.protocols import HasSigmas
from mtl_runner.weighting import (
    DWA,
    FAMO,
    NTK,
    Fixed,
    FrozenMean,
    GradNorm,
    LogSum,
    LRAnnealing,
    NormBalance,
    Uncertainty,
    Weighting,
)
from mtl_runner.weighting.protocols import (
    KeepsLosses,
    ObservesGradients,
    ObservesLosses,
    ObservesNorms,
    ObservesTraces,
)
from tests.support.builders import (
    SGD,
    assert_near,
    assert_same_bits,
    copy_state,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    only_active,
    train,
)

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1")
LENGTH = RunLength(epochs=10, steps_per_epoch=4)


def tensors_of(weighting: Weighting) -> dict[str, torch.Tensor]:
    """Return copies of the parameters and buffers of a weighting."""
    return copy_state({**dict(weighting.named_parameters()), **dict(weighting.named_buffers())})


def test_the_weights_are_followed_and_then_their_mean() -> None:
    """Breaks if the mean lacks a step, is not corrected for its start, or moves on."""
    weighting = FrozenMean(TASKS, LogSum(TASKS), after="3 steps", decay=0.5)
    losses = torch.tensor([[1.0, 2.0, 4.0], [0.5, 2.0, 2.0], [0.25, 4.0, 1.0], [9.0, 9.0, 9.0]])
    for step in losses[:3]:
        weights, objective = weighting.weigh(step)
        assert_near(weights, 1 / step, 1e-12)
        assert_near(objective, step.log().sum(), 1e-12)
    mean = (torch.tensor([0.25, 0.5, 1.0])[:, None] / losses[:3]).sum(0) / 1.75
    for step in losses[2:]:
        weights, objective = weighting.weigh(step)
        assert_near(weights, mean, 1e-12)
        assert_near(objective, torch.dot(mean, step), 1e-12)


@pytest.mark.parametrize(
    ("after", "step"), [("10%", 4), (2, 8), ("7 steps", 7), ("0.01%", 1), (0, 1)]
)
def test_the_time_is_one_of_the_run(after: Any, step: int) -> None:
    """Breaks if epochs are taken for steps, or there is no step to take a mean of."""
    assert FrozenMean(TASKS, Fixed(TASKS), after, length=LENGTH).freezes_at == step


@pytest.mark.parametrize(
    ("followed", "protocol"),
    [
        (GradNorm, ObservesNorms),
        (NormBalance, ObservesNorms),
        (LRAnnealing, ObservesGradients),
        (NTK, ObservesTraces),
        (FAMO, ObservesLosses),
        (DWA, KeepsLosses),
        (Uncertainty, HasSigmas),
    ],
)
def test_the_calls_are_those_of_the_followed_weighting(
    followed: type[Weighting], protocol: Any
) -> None:
    """Breaks if the followed weighting is followed without its calls, or pays for others."""
    weighting = FrozenMean(TASKS, followed(TASKS), after="3 steps")
    protocols = (ObservesNorms, ObservesGradients, ObservesTraces, ObservesLosses, KeepsLosses)
    for kind in (*protocols, HasSigmas):
        assert isinstance(weighting, kind) == (kind is protocol)
    assert weighting.norms_come_first == followed.norms_come_first


@pytest.mark.parametrize("followed", [GradNorm, FAMO, NormBalance, Uncertainty, NTK])
def test_a_run_trains_like_the_followed_weighting_until_it_is_frozen(
    followed: type[Weighting],
) -> None:
    """Breaks if learned numbers stand still before, or go on to move afterwards."""
    split = make_split(TASKS)
    histories = []
    for make in (followed, lambda tasks: FrozenMean(tasks, followed(tasks), after="5 steps")):
        weighting = make(TASKS)
        learner = make_learner(
            TASKS, split, model=make_mlp(TASKS), weighting=weighting, optimizer=SGD
        )
        histories.append(train(learner, split, 5))
    assert_same_bits(histories[1].weights, histories[0].weights)
    assert isinstance(weighting, FrozenMean)
    assert weighting.is_frozen
    learned = tensors_of(weighting)
    weights = train(learner, split, 4).weights
    assert_near(weights, weighting.frozen_weights().expand(4, 3), 1e-12)
    assert_near(tensors_of(weighting), learned, 0)


def test_a_late_task_gets_the_mean_of_the_others() -> None:
    """Breaks if a task that starts after the weights are frozen has the weight 0."""
    weighting = FrozenMean(TASKS, LogSum(TASKS), after="2 steps")
    for _ in range(2):
        weighting.weigh(torch.tensor([0.5, 7.0, 0.25]), only_active(0, 2))
    assert_near(weighting.weigh(torch.ones(3))[0], torch.tensor([2.0, 3.0, 4.0]), 1e-12)
    assert_near(
        weighting.weigh(torch.ones(3), only_active(1))[0], torch.tensor([0.0, 3.0, 0.0]), 1e-12
    )


def test_a_look_at_the_weights_is_no_step() -> None:
    """Breaks if an evaluation brings the end of the first phase nearer."""
    weighting = FrozenMean(TASKS, LogSum(TASKS), after="2 steps").eval()
    for _ in range(5):
        weighting.weigh(torch.ones(3))
    assert not weighting.is_frozen
    assert not weighting.mass.any()


def test_the_command_line_chooses_what_is_followed() -> None:
    """Breaks if the options of the followed weighting are not those of the config."""
    options = (
        *("weighting=frozen_mean", "weighting@weighting.of=gradnorm", "weighting.of.alpha=0.5"),
        *("data=toy_mixed", "trainer.device=cpu", "name=test", "trainer.epochs=20"),
    )
    with hydra.initialize_config_dir(str(conf_directory()), version_base="1.3"):
        weighting = build(hydra.compose("config", list(options))).learner.weighting
    assert isinstance(weighting, FrozenMean)
    assert isinstance(weighting.of, GradNorm)
    assert weighting.of.alpha == 0.5
    assert weighting.lr == weighting.of.lr == 0.025


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"of": "famo"},
            r"weighting\.of=famo names a weighting; choose it as weighting@weighting\.of=famo\.",
        ),
        ({"of": None}, r"weighting\.of needs a `_target_`"),
        (
            {"of": {"_target_": "torch.nn.ReLU"}},
            r"weighting\.of is a ReLU; it must be a weighting that sets no other axis",
        ),
        (
            {"after": "100%"},
            r"weighting\.after=100% is not before the end of the run of 40 steps, so that the weights would never be frozen",
        ),
        ({"after": "soon"}, r"weighting\.after='soon' is not a time"),
        (
            {"after": "10%", "length": None},
            r"weighting\.after='10%' needs the length of a run; in a loop of your own give a number of steps",
        ),
        ({"decay": 1}, r"weighting\.decay must lie in \[0, 1\); found 1\."),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    """Breaks if a typo trains something else without a word."""
    with pytest.raises(ConfigError, match=words):
        FrozenMean(TASKS, **{"of": Fixed(TASKS), "length": LENGTH, **options})
