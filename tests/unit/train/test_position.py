"""Positions: where the training of a run stops and goes on, in order and in words."""

from __future__ import annotations

from itertools import pairwise

from mtl_runner.train.position import START, Position


def test_positions_are_in_the_order_of_the_training() -> None:
    """Breaks if a stack puts a run back behind the others, or goes on from two places."""
    places = [START, Position(0, 3), Position(1), Position(1, 1), Position(1, 2), Position(2)]
    assert all(earlier < later for earlier, later in pairwise(places))
    assert Position(1, 0) == Position(1)


def test_a_position_is_said_as_one_counts() -> None:
    """Breaks if "resuming after ..." names an epoch that has not begun."""
    assert [str(place) for place in (START, Position(7), Position(0, 5), Position(7, 1))] == [
        *("epoch 0", "epoch 7", "step 5 of epoch 1", "step 1 of epoch 8")
    ]


def test_an_older_checkpoint_stands_at_the_end_of_its_epoch() -> None:
    """Breaks if runs cannot be resumed that were saved before steps were counted."""
    assert Position.of_state({"epoch": 4}) == Position(4)
    assert Position.of_state({"epoch": 4, "steps_in_epoch": 2}) == Position(4, 2)
