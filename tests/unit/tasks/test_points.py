"""The points of a loss term's own: what they may be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.tasks.points import PointSet
from mtl_runner.tasks.task import Task


def draw(n: int, generator: torch.Generator) -> Tensor:
    """Return points of two coordinates."""
    return torch.rand(n, 2, generator=generator)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"draw": 3, "n": 2},
            "The `draw` of a PointSet must be a function of (n, generator) that returns points; found 3.",
        ),
        (
            {"draw": draw, "n": 0},
            "The `n` of a PointSet must be a whole number of at least 1; found 0.",
        ),
        (
            {"draw": draw, "n": 2, "resample": "yes"},
            "The `resample` of a PointSet must be true or false; found 'yes'.",
        ),
    ],
)
def test_an_impossible_set_is_one_sentence(arguments: dict[str, Any], sentence: str) -> None:
    """Breaks if a wrong set of points trains something, or ends in a traceback."""
    with pytest.raises(ConfigError) as error:
        PointSet(**arguments)
    assert str(error.value) == sentence


def test_only_a_term_that_sees_the_model_has_points() -> None:
    """Breaks if points are drawn that nobody looks at."""

    def agree(outputs: Any, targets: Any) -> Tensor:
        return torch.tensor(0.0)

    def residual(model: Any, batch: Any) -> Tensor:
        return torch.tensor(0.0)

    for term, points in ((agree, PointSet(draw, 3)), (residual, [1.0])):
        term.points = points  # type: ignore[attr-defined]
        with pytest.raises(ConfigError) as error:
            Task("pde", "term", loss_term=term)
        assert (
            str(error.value)
            == f"Task 'pde': the `points` of a loss term must be a PointSet, and the term a function of (model, batch); found {points!r}."
        )


def test_the_name_of_the_first_argument_decides() -> None:
    """Breaks if a term of outputs is given the model, or the other way round."""

    class Callable:
        def __call__(self, model: Any, batch: Any) -> Tensor:
            return torch.tensor(1.0)

    assert Task("a", "term", loss_term=Callable()).sees_model
    assert not Task("a", "term", loss_term=lambda outputs, targets: outputs["a"]).sees_model
    assert Task("a", "term", loss_term=lambda model, batch: model).sees_model
    with pytest.raises(ConfigError) as error:
        Task("a", "term", loss_term=Callable()).loss({}, {})
    assert (
        str(error.value)
        == "The loss term 'a' is a function of (model, batch), which only a run of mtl-run calls; give your own loop its value as a loss."
    )
