"""What the checks share: our own implementations, and the words of a finding."""

from __future__ import annotations

import math

import pytest
import torch

from mtl_runner.conform.case import Case, Reference, near, quiet_float64, small
from mtl_runner.conform.interfaces import FORMS, OfLosses
from mtl_runner.conform.session import random_rows, random_script
from mtl_runner.conform.subject import Subject
from mtl_runner.errors import ConfigError
from mtl_runner.update.aggregators import aggregate


def test_an_aggregator_of_ours_is_called_with_gradients() -> None:
    """Breaks if the reference is another direction than a run's."""
    with quiet_float64():
        rows = random_rows(1, 3).rows[0]
        made = Reference("mgda", {}, True).subject.make(3, torch.nn.Parameter(torch.zeros(5)))
        assert torch.equal(made(rows), aggregate("mgda", rows))


@pytest.mark.parametrize(
    ("reference", "options", "sentence"),
    [
        (Reference("FAMO"), {"gama": 1}, "--reference gama is not an option of FAMO; did you mean"),
        (Reference("FAMO"), {"gamma": -1}, "weighting.gamma must be a number of at least 0; found"),
        (Reference("mgda", {}, True), {"c": 1}, "update.aggregator=mgda refuses its options"),
    ],
)
def test_a_wrong_option_of_the_reference_is_refused_at_once(
    reference: Reference, options: dict[str, float], sentence: str
) -> None:
    """Breaks if a wrong option of ours is reported as a broken law of the other class."""
    with pytest.raises(ConfigError) as error:
        reference.with_options(options)
    assert str(error.value).startswith(sentence)


def test_two_sessions_of_a_random_class_draw_the_same_numbers() -> None:
    """Breaks if a law fails by chance."""
    subject = Subject(
        "here.random", lambda losses: (torch.rand_like(losses.detach()) * losses).sum()
    )
    case = Case(subject, OfLosses("", FORMS[0]))
    with quiet_float64():
        inputs = random_script(2, 3)
        first, second = (case.session().run(inputs)[-1].direction for _ in range(2))
    assert torch.equal(first, second)
    with pytest.raises(ConfigError, match="no implementation to compare with"):
        case.own_session()


def test_nan_is_near_nothing() -> None:
    """Breaks if a class that gives NaN passes."""
    assert not near(math.nan, 1.0, 10.0)
    assert small(math.nan, "difference").holds is False
