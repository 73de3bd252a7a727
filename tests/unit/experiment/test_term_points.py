"""The points of loss terms: functions of seed, term and epoch, dealt out over its steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.experiment.term_points import TermPoints, points_for_evaluation
from mtl_runner.tasks.points import PointSet
from mtl_runner.tasks.task import Task

CPU = torch.device("cpu")


def uniform(n: int, generator: torch.Generator) -> Tensor:
    """Return points of two coordinates."""
    return torch.rand(n, 2, generator=generator)


def tasks_with(**points: PointSet) -> list[Task]:
    """Return a task for each set of points, and one without."""

    def term(points_of_term: PointSet) -> Any:
        def residual(model: Any, batch: Any) -> Tensor:
            return torch.tensor(0.0)

        residual.points = points_of_term  # type: ignore[attr-defined]
        return residual

    return [
        Task("u"),
        *(Task(name, "term", loss_term=term(chosen)) for name, chosen in points.items()),
    ]


def epoch_of(points: TermPoints, number: int, term: str = "pde") -> Tensor:
    """Return all points of an epoch."""
    steps = range(number * points.steps, (number + 1) * points.steps)
    return torch.cat([points.of_step(step)[term] for step in steps])  # type: ignore[misc]


def test_an_epoch_is_one_pass_over_the_points() -> None:
    """Breaks if points are left out, or taken twice, or steps are far from equal."""
    points = TermPoints(tasks_with(pde=PointSet(uniform, 10)), 0, 4, CPU)
    sizes = [len(points.of_step(step)["pde"]) for step in range(4)]
    assert sizes == [2, 3, 2, 3]
    assert len(epoch_of(points, 0).unique(dim=0)) == 10


def test_points_depend_on_seed_term_and_epoch_alone() -> None:
    """Breaks if a resumed run draws others, or two terms or epochs have the same."""
    tasks = tasks_with(pde=PointSet(uniform, 6), edge=PointSet(uniform, 6))
    first = TermPoints(tasks, 3, 2, CPU)
    epochs = [epoch_of(first, number) for number in range(3)]
    later = TermPoints(tasks, 3, 2, CPU)
    assert torch.equal(epoch_of(later, 2), epochs[2])
    assert torch.equal(epoch_of(later, 1), epochs[1])
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epoch_of(first, 0, "edge"), epochs[0])
    assert not torch.equal(epoch_of(TermPoints(tasks, 4, 2, CPU), 0), epochs[0])


def test_points_that_are_not_resampled_stay() -> None:
    """Breaks if L-BFGS minimises another function in every epoch."""
    tasks = tasks_with(pde=PointSet(uniform, 6, resample=False))
    points = TermPoints(tasks, 3, 2, CPU)
    assert torch.equal(epoch_of(points, 0), epoch_of(points, 7))
    assert torch.equal(epoch_of(TermPoints(tasks, 3, 2, CPU), 7), epoch_of(points, 0))


def test_the_global_random_state_is_left_alone() -> None:
    """Breaks if the points of a term change the batches or the dropout of a run."""
    before = torch.get_rng_state()
    TermPoints(tasks_with(pde=PointSet(uniform, 6)), 0, 2, CPU).of_step(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluations_of_all_runs_see_the_same_points() -> None:
    """Breaks if the validation losses of two seeds are measured at different places."""
    tasks = tasks_with(pde=PointSet(uniform, 5))
    first, again = (points_for_evaluation(tasks, CPU)["pde"] for _ in range(2))
    assert torch.equal(first, again)  # type: ignore[arg-type]
    trained = TermPoints(tasks, 0, 1, CPU).of_step(0)["pde"]
    assert not torch.equal(first, trained)  # type: ignore[arg-type]


def test_several_inputs_are_dealt_out_together() -> None:
    """Breaks if a model of named inputs gets points of one of them only."""

    def named(n: int, generator: torch.Generator) -> dict[str, Tensor]:
        place = uniform(n, generator)
        return {"place": place, "square": place.square()}

    points = TermPoints(tasks_with(pde=PointSet(named, 6)), 0, 3, CPU).of_step(1)["pde"]
    assert isinstance(points, dict)
    assert torch.equal(points["place"].square(), points["square"])
    assert len(points["place"]) == 2


@pytest.mark.parametrize(
    ("points", "steps", "sentence"),
    [
        (
            PointSet(uniform, 3),
            4,
            "The loss term 'pde' has 3 points for the 4 steps of an epoch; give it at least one per step, or make data.batch_size larger.",
        ),
        (
            PointSet(lambda n, generator: torch.zeros(n), 3),
            1,
            "The `draw` of a PointSet must return 3 points as a tensor [3, ...], like the inputs of the model; found (3,).",
        ),
        (
            PointSet(lambda n, generator: torch.zeros(n + 1, 2), 3),
            1,
            "The `draw` of a PointSet must return 3 points as a tensor [3, ...], like the inputs of the model; found (4, 2).",
        ),
    ],
)
def test_wrong_points_are_one_sentence(points: PointSet, steps: int, sentence: str) -> None:
    """Breaks if wrong points end in a traceback in the middle of a run."""
    with pytest.raises(ConfigError) as error:
        TermPoints(tasks_with(pde=points), 0, steps, CPU).of_step(0)
    assert str(error.value) == sentence
