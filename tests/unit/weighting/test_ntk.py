"""NTK weighting: the traces of known kernels, and what a run does with them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.errors import ConfigError
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.experiment.kernel_traces import kernel_traces
from mtl_runner.likelihood import Standard
from mtl_runner.weighting import NTK
from tests.support.builders import (
    QUICK,
    SGD,
    assert_near,
    make_learner,
    make_linear,
    make_mlp,
    make_split,
    make_tasks,
    make_terms,
    only_active,
    train,
)

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1")
traces = st.lists(st.floats(0.05, 20), min_size=3, max_size=3)


@QUICK
@given(first=traces, second=traces, rate=st.floats(0.01, 1))
def test_the_weights_are_the_published_ratio(
    first: list[float], second: list[float], rate: float
) -> None:
    """Breaks if the ratio is inverted, or the weights do not move at the rate."""
    weighting = NTK(TASKS, rate=rate)
    expected = torch.ones(3)
    for measured in (torch.tensor(first), torch.tensor(second)):
        weighting.observe_traces(measured)
        expected = (1 - rate) * expected + rate * measured.sum() / measured
    assert_near(weighting.weigh(torch.ones(3))[0], expected, 1e-9)


def test_a_run_measures_before_the_first_step_and_then_every_few() -> None:
    """Breaks if a run measures at other steps, after the weights, or the moved parameters."""
    split, model = make_split(TASKS), make_mlp(TASKS)
    forward_pass = ForwardPass(model, Standard(TASKS))
    measured = kernel_traces(forward_pass, split, TASKS)
    learner = make_learner(TASKS, split, model=model, weighting=NTK(TASKS, every=2), optimizer=SGD)
    first, second = train(learner, split, 2).weights
    assert_near(first, measured.sum() / measured, 1e-9)
    assert_near(second, first, 0)
    measured = kernel_traces(forward_pass, split, TASKS)
    (third,) = train(learner, split, 1).weights
    assert_near(third, measured.sum() / measured, 1e-9)
    assert third[0] != first[0]


def test_a_linear_model_has_the_kernel_of_its_inputs() -> None:
    """Breaks if the trace of a kernel that is known in closed form comes out otherwise."""
    tasks = make_tasks(a="regression", b="regression_l1")
    split = make_split(tasks)
    traces = kernel_traces(ForwardPass(make_linear(tasks), Standard(tasks)), split, tasks)
    assert_near(traces, (1 + split.inputs.square().sum(1)).mean().expand(2), 1e-12)


def test_an_idle_task_keeps_its_weight_and_does_not_count() -> None:
    """Breaks if a trace of 0 makes a weight infinite, or a task's label is missed."""
    weighting = NTK(TASKS)
    weighting.observe_traces(torch.tensor([3.0, 0.0, 1.0]), only_active(0, 2))
    assert_near(weighting.weigh(torch.ones(3))[0], torch.tensor([4 / 3, 1.0, 4.0]), 1e-12)
    weighting.observe_traces(torch.tensor([3.0, 0.0, 1.0]))
    assert_near(weighting.weigh(torch.ones(3))[0], torch.tensor([4 / 3, 1.0, 4.0]), 1e-12)


def test_a_loss_term_is_refused() -> None:
    """Breaks if a term without outputs gets a weight that nobody measured."""
    words = r"The weighting NTK needs the outputs of every task, or residuals, and 'smooth' is a loss term that has neither; give its function an attribute `residuals`"
    with pytest.raises(ConfigError, match=words):
        NTK(make_terms(smooth=lambda p: p.sum()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 0}, r"weighting\.rate=0 would leave all weights at 1; give a number in \(0, 1\]"),
        ({"rate": -1}, r"weighting\.rate must lie in \[0, 1\]; found -1\."),
        ({"every": 0}, r"weighting\.every must be a whole number of at least 1; found 0\."),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    """Breaks if a typo trains something else without a word."""
    with pytest.raises(ConfigError, match=words):
        NTK(TASKS, **options)
