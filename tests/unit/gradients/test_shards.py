"""Parameters of which every process keeps a part, in a group of one process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.experiment.sharding import shard_model
from mtl_runner.gradients.door import BatchLosses, Lane, SumOverRanks, of
from mtl_runner.gradients.ranks import Ranks, joined
from mtl_runner.gradients.shards import (
    Shards,
    cut_like,
    cut_like_module,
    cut_like_optimizer,
    empty_like_shards,
    full_tensor,
    is_sharded,
    like_parameter,
    local_part,
)


@pytest.fixture
def ranks() -> Iterator[Ranks]:
    """Return a group of this process alone."""
    with joined(Ranks(0, 1)) as ranks:
        yield ranks


def sharded_layer(ranks: Ranks) -> nn.Linear:
    """Return a layer that is sharded."""
    layer = nn.Linear(2, 3)
    shard_model(layer, [], ranks, torch.device("cpu"))
    return layer


def test_a_tensor_is_cut_and_put_together(ranks: Ranks) -> None:
    """Breaks if a part has sharded_optimizer numbers than the whole."""
    layer, numbers = sharded_layer(ranks), torch.randn(3, 2)
    cut = cut_like(numbers, layer.weight)
    assert is_sharded(layer.weight)
    assert is_sharded(cut)
    assert torch.equal(full_tensor(cut), numbers)
    assert torch.equal(local_part(cut), numbers)
    assert cut_like(cut, layer.weight) is cut
    assert torch.equal(full_tensor(like_parameter(numbers, layer.weight)), numbers)
    empty = empty_like_shards(Shards(list(layer.parameters()), ranks), (5,), torch.float64)
    assert (is_sharded(empty), empty.shape, empty.dtype) == (True, (5,), torch.float64)


def test_gradients_of_lanes_leave_others_where_they_are(ranks: Ranks) -> None:
    """Breaks if a backward pass for one lane adds to what an update has put into ``.grad``."""
    layer = sharded_layer(ranks)
    shards = Shards(list(layer.parameters()), ranks)
    layer.bias.grad = before = cut_like(torch.full((3,), 7.0), layer.bias)
    owners = {parameter: frozenset({0, 1}) for parameter in layer.parameters()}
    outputs = layer(torch.ones(1, 2)).sum()
    losses = BatchLosses(
        lambda: torch.ones(2),
        lambda: [[outputs, 2 * outputs]],
        tasks=2,
        keeps_graphs=True,
        over_ranks=SumOverRanks(ranks, owners, shards),
    )
    lanes = [Lane((0,), [layer.weight]), Lane((1,), [layer.bias], torch.tensor([1.0, 3.0]))]
    (weight,), (bias,) = of(losses, lanes)
    assert weight is not None
    assert bias is not None
    assert torch.equal(full_tensor(weight), torch.ones(3, 2))
    assert torch.equal(full_tensor(bias), torch.full((3,), 6.0))
    assert layer.bias.grad is before
    assert layer.weight.grad is None


def test_a_whole_state_fits_a_sharded_model_and_its_optimizer(ranks: Ranks) -> None:
    """Breaks if a run that one process has trained cannot go on in several."""

    def trained(layer: nn.Linear) -> torch.optim.Adam:
        optimizer = torch.optim.Adam(layer.parameters())
        layer(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        return optimizer

    plain, layer = nn.Linear(2, 3), sharded_layer(ranks)
    optimizer, sharded_optimizer = trained(plain), torch.optim.Adam(layer.parameters())
    layer.load_state_dict(cut_like_module(plain.state_dict(), layer))
    sharded_optimizer.load_state_dict(cut_like_optimizer(optimizer.state_dict(), sharded_optimizer))
    for a, b in zip(plain.parameters(), layer.parameters(), strict=True):
        assert torch.equal(a, full_tensor(b))
        moment: Tensor = sharded_optimizer.state[b]["exp_avg"]
        assert is_sharded(moment)
        assert torch.equal(full_tensor(moment), optimizer.state[a]["exp_avg"])
