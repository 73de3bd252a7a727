"""The generator of a weighting that draws random numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_runner.tasks.activity import Active
from mtl_runner.weighting.own_random_numbers import OwnRandomNumbers
from tests.support.builders import make_tasks


class Dice(OwnRandomNumbers):
    """Weighs all tasks by one uniform number."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(make_tasks(a="regression", b="regression"), seed, 1)

    def forward(self, losses: Tensor, active: Active | None = None) -> Tensor:
        return (self.numbers_of_step(losses) * losses).sum()

    def fill(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        return numbers.uniform_(generator=generator)


def rolled(dice: Dice) -> float:
    """Return the weight of a step."""
    return float(dice.weigh(torch.ones(2))[0][0])


def test_numbers_drawn_ahead_are_those_of_the_step() -> None:
    """Breaks if a stack, which draws before the step, draws other numbers than a single run."""
    dice, ahead = Dice(), Dice()
    ahead.draws_ahead = True
    for _ in range(3):
        ahead.draw()
        number = rolled(dice)
        assert rolled(ahead) == rolled(ahead) == number


def test_the_state_of_the_generator_is_saved_and_the_runs_is_left_alone() -> None:
    """Breaks if a resumed run repeats draws, or a weighting moves the run's random state."""
    state = torch.get_rng_state()
    dice = Dice(seed=3)
    numbers = [rolled(dice) for _ in range(3)]
    resumed = Dice(seed=3)
    resumed.load_state_dict(dice.state_dict())
    assert rolled(resumed) == rolled(dice)
    assert len({*numbers}) == 3
    assert torch.equal(torch.get_rng_state(), state)
