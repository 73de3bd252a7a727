"""The global random states: seeded, saved and restored."""

from __future__ import annotations

import random

import numpy as np
import torch

from mtl_runner.experiment.seeding import (
    random_state,
    seed_everything,
    seed_of_rank,
    set_random_state,
)
from mtl_runner.gradients.ranks import Ranks
from tests.unit.update.learners import through_a_file

CPU = torch.device("cpu")


def draws() -> list[float]:
    """Return numbers from every global generator, normal ones among them, which keep a spare."""
    return [
        torch.rand(1).item(),
        torch.randn(1).item(),
        np.random.rand(),
        np.random.randn(),
        random.random(),
        random.gauss(0, 1),
    ]


def test_every_process_draws_by_itself() -> None:
    """Breaks if all processes leave out the same units, or the first one draws as none would."""
    seeds = [seed_of_rank(7, Ranks(rank, 3)) for rank in range(3)]
    assert seeds[0] == seed_of_rank(7, None) == 7
    assert len(set(seeds)) == 3
    assert seeds == [seed_of_rank(7, Ranks(rank, 3)) for rank in range(3)]


def test_a_seed_determines_every_generator() -> None:
    """Breaks if a user's dataset that draws from numpy or Python differs from run to run."""
    numbers = []
    for seed in (1, 2, 1):
        seed_everything(seed)
        numbers.append(draws())
    assert numbers[0] == numbers[2]
    assert all(first != second for first, second in zip(*numbers[:2], strict=True))
    seed_everything(2**40)  # numpy takes seeds below 2**32


def test_a_checkpoint_holds_every_generator() -> None:
    """Breaks if a resumed run draws other numbers than one that was not stopped."""
    seed_everything(1)
    draws()
    state = through_a_file(random_state(CPU))
    expected = draws()
    draws()
    set_random_state(state, CPU)
    assert draws() == expected
