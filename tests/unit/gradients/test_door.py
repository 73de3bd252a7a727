"""The door for gradients: plain losses, losses in parts, and the scale of half precision."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.gradients import door
from mtl_runner.gradients.door import (
    BatchLosses,
    Gradients,
    Lane,
    Losses,
    SumOverRanks,
    into,
    scaled,
    values_of,
)
from mtl_runner.gradients.loss_scale import GradientOverflowError, LossScale
from mtl_runner.gradients.ranks import Ranks, joined
from tests.support.builders import assert_near, assert_same_bits

pytestmark = pytest.mark.usefixtures("float64")

ROWS = torch.arange(12.0, dtype=torch.float64).view(4, 3) / 7


def of(losses: Losses, lanes: list[Lane], keep: bool = False) -> list[Gradients]:
    """Return the gradients of all lanes at once."""
    return list(door.of(losses, lanes, keep))


def losses_of(point: Tensor, rows: Tensor) -> list[Tensor]:
    """Return two losses that are sums over rows, and one that no point reaches."""
    values = torch.sin(rows @ point)
    return [values.square().sum(), values.sum() * point[0], rows.sum()]


def in_parts(point: Tensor, scale: LossScale | None = None) -> BatchLosses:
    """Return the same losses, row by row."""

    def parts() -> Iterator[list[Tensor]]:
        for row in ROWS.split(1):
            yield losses_of(point, row)

    return BatchLosses(
        lambda: torch.stack(losses_of(point, ROWS)).detach(), parts, tasks=3, scale=scale
    )


def make_point() -> Tensor:
    """Return a point with a gradient."""
    return torch.tensor([0.3, -0.2, 0.5], requires_grad=True)


def test_a_frozen_input_has_no_gradient() -> None:
    """Breaks if a parameter that is frozen for a time is an error, or shifts the others."""
    point, frozen, factor = make_point(), torch.ones(2), make_point()
    losses = [(point * factor).sum() + frozen.sum(), 2 * point.sum()]
    first, second = of(losses, [Lane((0,), [point, frozen, factor]), Lane((1,), [frozen])])
    assert first[1] is None
    assert_near([first[0], first[2]], [factor.detach(), point.detach()], 0)
    assert list(second) == [None]


def test_a_gradient_over_processes_exists_where_a_task_owns_it() -> None:
    """Breaks if what a process happens to find shifts the message of all gradients."""
    point, elsewhere, idle = make_point(), make_point(), make_point()
    owners = {point: frozenset({0}), elsewhere: frozenset({0}), idle: frozenset({1})}
    with joined(Ranks(0, 1)) as ranks:
        losses = BatchLosses(
            lambda: torch.zeros(2),
            lambda: [[point.square().sum(), idle.sum()]],
            tasks=2,
            over_ranks=SumOverRanks(ranks, owners),
        )
        # `elsewhere` is reached on another process only, and `idle` by another task.
        (gradients,) = of(losses, [Lane((0,), [point, elsewhere, idle])])
        into(losses, torch.ones(2), (0,), [point, elsewhere, idle])
    assert gradients[0] is not None
    assert_near(gradients[0], 2 * point.detach(), 0)
    assert_near(gradients[1], torch.zeros(3), 0)
    assert gradients[2] is None
    assert_near(point.grad, 2 * point.detach(), 0)
    assert_near(elsewhere.grad, torch.zeros(3), 0)
    assert idle.grad is None


def test_gradients_of_parts_add_up_to_those_of_the_batch() -> None:
    """Breaks if trainer.accumulate trains on something else than the batch."""
    point, second_point = make_point(), make_point()
    weights = torch.tensor([2.0, 0.5, 1.0])
    lanes = [Lane((0,), [point]), Lane((0, 1), [point, second_point], weights), Lane((2,), [point])]
    full_batch, parts = of(losses_of(point, ROWS), lanes), of(in_parts(point), lanes)
    assert_near(parts[0][0], full_batch[0][0], 1e-14)
    assert_near(parts[1][0], full_batch[1][0], 1e-14)
    assert parts[1][1] is full_batch[1][1] is None
    assert list(parts[2]) == list(full_batch[2]) == [None]
    into(in_parts(point), weights, (0, 1), [point])
    assert_near(point.grad, full_batch[1][0], 1e-14)
    assert_near(values_of(in_parts(point)), values_of(losses_of(point, ROWS)), 1e-14)


def test_a_graph_is_kept_only_if_somebody_asks_again() -> None:
    """Breaks if a step needs the memory of two graphs, or GradNorm uses up the update's."""
    point = make_point()
    losses = losses_of(point, ROWS)
    first = of(losses, [Lane((0,), [point])], keep=True)
    assert_same_bits(of(losses, [Lane((0,), [point])])[0][0], first[0][0])
    with pytest.raises(RuntimeError, match="second time"):
        of(losses, [Lane((0,), [point])])


def test_one_graph_of_many_parts_lives_at_a_time() -> None:
    """Breaks if trainer.accumulate saves no memory."""
    point, alive, most = make_point(), 0, 0

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(_: object, x: Tensor) -> Tensor:
            nonlocal alive, most
            alive, most = alive + 1, max(most, alive + 1)
            return x.clone()

        @staticmethod
        def backward(_: object, gradient: Tensor) -> Tensor:
            nonlocal alive
            alive -= 1
            return gradient

    def parts() -> Iterator[list[Tensor]]:
        for row in ROWS.split(1):
            yield [Counted.apply(row @ point).sum()]

    into(BatchLosses(lambda: ROWS, parts, tasks=1), torch.ones(1), (0,), [point])
    assert (alive, most) == (0, 1)


def test_the_scale_of_half_precision_changes_no_digit() -> None:
    """Breaks if fp16 trains with other gradients than its scaled ones, divided again."""
    point, weights = make_point(), torch.tensor([2.0, 0.5, 1.0])
    lanes = [Lane((0, 1), [point], weights), Lane((1,), [point])]
    plain = of(losses_of(point, ROWS), lanes)
    for losses in (in_parts(point, LossScale()), whole_with_scale(point)):
        for gradients, expected in zip(of(losses, lanes, keep=True), plain, strict=True):
            assert_near(gradients[0], expected[0], 1e-14)
        point.grad = None
        into(losses, weights, (0, 1), [point])
        assert_near(point.grad, plain[0][0], 1e-14)


def whole_with_scale(point: Tensor) -> BatchLosses:
    """Return the losses of the batch with a scale, as half precision makes them."""
    losses = losses_of(point, ROWS)
    values = torch.stack(losses).detach()
    return BatchLosses(lambda: values, lambda: [losses], 3, LossScale(), keeps_graphs=True)


def test_an_overflow_in_any_lane_is_an_error() -> None:
    """Breaks if one task steps with infinite gradients while another is left out."""
    point = make_point()
    losses = in_parts(point, LossScale())
    factors = torch.tensor([1.0, 1e305, 1.0])
    with pytest.raises(GradientOverflowError):
        of(losses, [Lane((0,), [point], factors), Lane((1,), [point], factors)])
    with pytest.raises(GradientOverflowError):
        into(losses, factors, (0, 1), [point])


def test_single_losses_of_a_batch_in_parts_are_refused() -> None:
    """Breaks if an update of a user's own trains on losses without a graph."""
    losses = in_parts(make_point())
    assert len(losses) == 3
    with pytest.raises(ConfigError) as error:
        losses[0]
    assert str(error.value) == (
        "With trainer.accumulate, trainer.devices or trainer.precision=fp16 the losses of a batch have no graph of their own; "
        "take gradients by `into` and `of` of mtl_runner.gradients.door."
    )


def test_a_scaled_lane_has_factors() -> None:
    """Breaks if a lane without factors, as GradNorm's, is not scaled."""
    lane = scaled(Lane((0,), [make_point()]), 4.0, tasks=2)
    assert lane.factors is not None
    assert lane.factors.tolist() == [4.0, 4.0]
