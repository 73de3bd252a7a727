"""Batches that several processes share; here a group of one, which has all rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mtl_runner.data.dataset import as_stand_in
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.experiment.shared_batch import forward_of_shared_batch
from mtl_runner.gradients.door import Lane, SumOverRanks, of, values_of
from mtl_runner.gradients.ranks import Ranks, joined
from mtl_runner.likelihood import Homoscedastic
from tests.support.builders import assert_near, make_mlp, make_split, make_tasks

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def alone() -> Iterator[Ranks]:
    """Return a group of one process."""
    with joined(Ranks(0, 1)) as ranks:
        yield ranks


def test_a_process_that_has_all_rows_has_the_plain_losses_and_gradients(alone: Ranks) -> None:
    """Breaks if shares, masses or owners change anything where there is nothing to share."""
    tasks = make_tasks(a="regression", b="classification")
    split, likelihood = make_split(tasks), Homoscedastic(tasks)
    model = make_mlp(tasks)
    forward_pass = ForwardPass(model, likelihood)
    parameters = find_parameters(model, likelihood, split)
    over_ranks = SumOverRanks(alone, parameters.all_owners)
    result = forward_of_shared_batch(forward_pass, split, over_ranks, recompute=True)
    plain = forward_pass(split.inputs, split.targets)
    for name in ("values", "standard", "nll"):
        assert_near(getattr(result, name), getattr(plain, name), 1e-14)
    inputs = [*parameters.tensors, *likelihood.parameters()]
    lanes = [Lane((t,), inputs) for t in range(2)]
    for shared, expected in zip(of(result.losses, lanes), of(plain.losses, lanes), strict=True):
        assert [g is None for g in shared] == [g is None for g in expected]
        for gradient, wanted in zip(shared, expected, strict=True):
            if gradient is not None:
                assert_near(gradient, wanted, 1e-14)
    assert result.recompute is not None
    assert_near(values_of(result.recompute()), plain.values, 1e-14)


def test_a_row_that_stands_in_counts_nothing(alone: Ranks) -> None:
    """Breaks if a process without rows adds a loss of its own, even one that is not finite."""
    tasks = make_tasks(a="regression", b="classification")
    split, likelihood = make_split(tasks), Homoscedastic(tasks)
    split.targets["a"][0] = 1e300
    model = make_mlp(tasks)
    parameters = find_parameters(model, likelihood, split)
    over_ranks = SumOverRanks(alone, parameters.all_owners)
    row = as_stand_in(split.rows(slice(0, 1)))
    result = forward_of_shared_batch(ForwardPass(model, likelihood), row, over_ranks)
    assert result.values.tolist() == [0.0, 0.0]
    assert torch.equal(result.standard, torch.zeros(2))
