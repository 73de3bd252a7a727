"""The random states of an item."""

from __future__ import annotations

import random

import numpy as np
import torch

from mtl_runner.data.items.randomness import keep_random_states, seed_item, stable_seed


def draw() -> tuple[float, float, float]:
    """Draw from all three generators."""
    return float(torch.rand(())), float(np.random.rand()), random.random()


def test_an_item_has_the_same_randomness_whatever_came_before() -> None:
    """Breaks if an item depends on the worker that makes it."""
    with keep_random_states():
        seed_item("train 0", 2, 5)
        first = draw()
        draw()
        seed_item("train 0", 2, 5)
        assert draw() == first
        draws = set()
        for place in ((2, 6), (3, 5), (5, 2)):
            seed_item("train 0", *place)
            draws.add(draw())
        assert len(draws | {first}) == 4


def test_the_random_states_of_the_run_are_kept() -> None:
    """Breaks if making an item in the main process changes the dropout of the next step."""
    with keep_random_states():
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        with keep_random_states():
            seed_item("train 0", 0, 0)
            draw()
        drawn = draw()
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        assert draw() == drawn


def test_a_seed_is_the_same_in_every_process() -> None:
    """Breaks if a seed depends on Python's random hashes: a golden value of blake2b."""
    assert stable_seed("order", 0, 1) == stable_seed("order", 0, 1)
    assert stable_seed() == int.from_bytes(
        bytes.fromhex("e4a6a0577479b2b4"), "little"
    )  # blake2b of nothing, 8 bytes (RFC 7693's reference implementation)
