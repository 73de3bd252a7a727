"""A random stream that is lent to foreign code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mtl_runner.update.random_stream import RandomStream
from tests.support.builders import assert_same_bits
from tests.unit.update.learners import through_a_file

CPU = torch.device("cpu")


def draw(stream: RandomStream) -> Tensor:
    """Return three numbers of the stream."""
    with stream.on(CPU):
        return torch.rand(3)


def fail(stream: RandomStream) -> None:
    """Raise an error after a draw from the stream."""
    with stream.on(CPU):
        torch.rand(3)
        raise ZeroDivisionError


def test_the_numbers_follow_from_the_seed_alone() -> None:
    """Breaks if the stream repeats itself, or depends on the global random state."""
    stream = RandomStream(1)
    first, second = draw(stream), draw(stream)
    torch.manual_seed(99)
    again = RandomStream(1)
    assert_same_bits(torch.stack([draw(again), draw(again)]), torch.stack([first, second]))
    assert (first != second).any()
    assert (draw(RandomStream(2)) != first).any()


def test_the_global_state_is_restored_also_after_an_error() -> None:
    """Breaks if batch order and dropout depend on an aggregator that draws, or fails."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    stream = RandomStream(1)
    with pytest.raises(ZeroDivisionError):
        fail(stream)
    assert_same_bits(torch.get_rng_state(), before)
    assert (draw(stream) != draw(RandomStream(1))).any()


def test_a_resumed_stream_goes_on_where_it_was() -> None:
    """Breaks if a resumed run draws other numbers."""
    stream = RandomStream(1)
    draw(stream)
    state = through_a_file(stream.state_dict())
    expected = draw(stream)
    resumed = RandomStream(2)
    resumed.load_state_dict(state)
    assert_same_bits(draw(resumed), expected)
