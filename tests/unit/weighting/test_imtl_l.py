"""IMTL-L: where its scales end, and that it is uncertainty weighting with the sign turned."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.weighting import IMTLL, Uncertainty, Weighting
from tests.support.builders import (
    QUICK,
    SGD,
    Adam,
    assert_near,
    assert_same_bits,
    copy_state,
    losses_of,
    make_learner,
    make_linear,
    make_split,
    make_tasks,
    minimise,
    only_active,
    train,
)

pytestmark = pytest.mark.usefixtures("float64")

KINDS = {"a": "regression", "b": "classification", "c": "regression_l1"}
TASKS = make_tasks(**KINDS)
positive_losses = st.lists(
    st.floats(-4, 4).map(lambda exponent: 10.0**exponent), min_size=3, max_size=3
)


def scales(weighting: IMTLL) -> Tensor:
    """Return a copy of all log scales."""
    return torch.stack([s.detach().clone() for s in weighting.log_scale])


@QUICK
@given(losses=positive_losses)
def test_the_scale_ends_at_minus_the_logarithm_of_the_loss(losses: list[float]) -> None:
    """Breaks if the objective is not the published one, or depends on the kind of task."""
    values = torch.tensor(losses)
    weighting = IMTLL(
        TASKS, init={name: 1 - math.log(loss) for name, loss in zip(KINDS, losses, strict=True)}
    )
    minimise(weighting.parameters(), lambda: weighting(values))
    assert_near(scales(weighting), -values.log(), 1e-7)
    assert_near(
        weighting.weigh(values)[0] * values, torch.ones(3), 1e-7
    )  # every loss has the same size


def test_the_scales_of_a_trained_model_are_those_of_its_losses() -> None:
    """Breaks if scales and model, minimised together, settle on something else than s = -log L."""
    tasks = make_tasks(a="regression", b="regression")
    split = make_split(tasks)
    split.targets["a"] *= 30
    model, weighting = make_linear(tasks), IMTLL(tasks)
    minimise(
        [*model.parameters(), *weighting.parameters()],
        lambda: weighting(losses_of(model, tasks, split)),
    )
    assert_near(scales(weighting), -losses_of(model, tasks, split).detach().log(), 1e-7)


def test_the_default_learning_rate_arrives_within_a_few_hundred_steps() -> None:
    """Breaks if the scales' own learning rate leaves them unconverged, or they do not settle."""
    weighting, losses = IMTLL(TASKS), torch.tensor([2.0, 0.5, 9.0])
    optimizers = OwnOptimizers(weighting, SGD)
    for step in range(600):
        optimizers.begin_epoch(step / 600)
        weighting.weigh(losses)
        optimizers.step()
    assert_near(scales(weighting), -losses.log(), 2e-3)


@pytest.mark.parametrize("lr", [0.025, None])
@pytest.mark.parametrize("optimizer", [Adam, SGD])
def test_its_path_is_that_of_simplified_uncertainty_with_the_sign_turned(
    lr: float | None, optimizer: partial[torch.optim.Optimizer]
) -> None:
    """Breaks if two names of one method differ in objective, learning rate or its schedule."""
    split = make_split(TASKS)
    imtl, uncertainty = IMTLL(TASKS, lr=lr), Uncertainty(TASKS, form="simplified", init=0.0, lr=lr)
    learners = [
        make_learner(TASKS, split, weighting=w, optimizer=optimizer) for w in (imtl, uncertainty)
    ]
    for learner in learners:
        learner.own_optimizers.begin_epoch(0.85)  # both anneal: half of the rate is left
    histories = [train(learner, split, 50) for learner in learners]
    assert_near(histories[0].weights, histories[1].weights, 1e-13)
    assert_near(histories[0].objective, histories[1].objective, 1e-12)
    assert_near(scales(imtl), -torch.stack([s.detach() for s in uncertainty.log_variance]), 1e-13)
    assert_near(
        copy_state(learners[0].model.state_dict()),
        copy_state(learners[1].model.state_dict()),
        1e-13,
    )
    assert scales(imtl).abs().min() > 0.005


@QUICK
@given(losses=positive_losses, start=st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_torchjds_imtl_l_agrees(losses: list[float], start: list[float]) -> None:
    """Breaks if weights, objective or the scales' gradient differ from TorchJD's."""
    scalarization = pytest.importorskip("torchjd.scalarization")
    torchjd_imtl_l, weighting = (
        scalarization.IMTLL(3).double(),
        IMTLL(TASKS, init=dict(zip(KINDS, start, strict=True))),
    )
    with torch.no_grad():
        torchjd_imtl_l.log_scale.copy_(torch.tensor(start))
    values = torch.tensor(losses, requires_grad=True)
    expected = torchjd_imtl_l(values)
    expected_weights, gradient = torch.autograd.grad(expected, [values, torchjd_imtl_l.log_scale])
    weights, objective = weighting.weigh(values.detach())
    assert_near(weights / expected_weights, torch.ones(3), 1e-13)
    assert_near(objective, expected.detach(), 1e-9)
    assert_near(torch.stack([s.grad for s in weighting.log_scale]), gradient, 1e-9)


def test_the_weights_are_one_at_the_start() -> None:
    """Breaks if it does not begin as the plain sum."""
    assert_same_bits(IMTLL(TASKS).weigh(torch.tensor([1.0, 5.0, 0.1]))[0], torch.ones(3))


def test_init_is_the_log_scale_itself() -> None:
    """Breaks if `init` is read as something else than s, per task or for all."""
    assert_near(scales(IMTLL(TASKS, init={"b": -2})), torch.tensor([0.0, -2.0, 0.0]), 0)
    assert_near(scales(IMTLL(TASKS, init=1.5)), torch.full((3,), 1.5), 0)


def test_a_negative_loss_is_weighed_more_and_more() -> None:
    """Breaks the warning of negative losses: there is no optimum, s rises for ever."""
    weighting, weights = IMTLL(TASKS), []
    optimizers = OwnOptimizers(weighting, SGD)
    for _ in range(50):
        weights.append(weighting.weigh(torch.tensor([-1.0, 0.5, 4.0]))[0])
        optimizers.step()
    assert (torch.stack(weights)[:, 0].diff() > 0.02).all()


def test_an_idle_scale_has_no_gradient() -> None:
    """Breaks if a scale moves while its task does not take part."""
    weighting: Weighting = IMTLL(TASKS, init={"a": 0.3, "b": 9.0, "c": -1.0})
    weights, objective = weighting.weigh(torch.tensor([2.0, 1e6, 0.5]), active=only_active(0, 2))
    assert_near(weights, torch.tensor([math.exp(0.3), 0.0, math.exp(-1)]), 1e-15)
    assert objective.item() == pytest.approx(2 * math.exp(0.3) - 0.3 + 0.5 * math.exp(-1) + 1)
    assert [parameter.grad is None for parameter in weighting.parameters()] == [False, True, False]


def test_the_learning_rate_settles_only_if_asked_to() -> None:
    """Breaks if `anneal` is ignored."""
    rates = []
    for anneal in (True, False):
        optimizers = OwnOptimizers(IMTLL(TASKS, lr=0.5, anneal=anneal), SGD)
        optimizers.begin_epoch(0.85)
        rates.append(optimizers.optimizers[0].param_groups[0]["lr"])
    assert rates == [pytest.approx(0.25), 0.5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"init": {"y": 0.0}}, r"weighting\.init names the unknown task 'y'; allowed: a, b, c\."),
        (
            {"init": "log_loss"},
            r"weighting\.init must be a number or \{task: number\}; found 'log_loss'\.",
        ),
        ({"init": {"a": "x"}}, r"weighting\.init\.a must be a number; found 'x'\."),
        ({"lr": -0.1}, r"weighting\.lr must be positive or null; found -0\.1\."),
        ({"lr": True}, r"weighting\.lr must be positive or null; found True\."),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], words: str) -> None:
    """Breaks if a typo trains something else without a word."""
    with pytest.raises(ConfigError, match=words):
        IMTLL(TASKS, **options)  # type: ignore[arg-type]
