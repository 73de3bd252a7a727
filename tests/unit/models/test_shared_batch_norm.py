"""Batch normalisation over processes; here a group of one, beside torch's own layers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from mtl_runner.gradients.ranks import Ranks, joined
from mtl_runner.models.shared_batch_norm import (
    SharedBatchNorm,
    share_batch_norm,
    shared_batch_norms,
)
from tests.support.builders import assert_near

pytestmark = pytest.mark.usefixtures("float64")

LAYERS = {
    "rows": (nn.BatchNorm1d(3), (7, 3)),
    "series": (nn.BatchNorm1d(3), (7, 3, 5)),
    "images": (nn.BatchNorm2d(3), (4, 3, 2, 2)),
    "plain": (nn.BatchNorm1d(3, affine=False, momentum=None), (7, 3)),
    "no_memory": (nn.BatchNorm1d(3, track_running_stats=False), (7, 3)),
}


@pytest.fixture
def alone() -> Iterator[Ranks]:
    """Return a group of one process."""
    with joined(Ranks(0, 1)) as ranks:
        yield ranks


@pytest.mark.parametrize("name", LAYERS)
def test_one_process_computes_what_torch_does(alone: Ranks, name: str) -> None:
    """Breaks if outputs, gradients or running statistics are others than torch's."""
    layer, shape = LAYERS[name]
    results = []
    for shares in (False, True):
        model = nn.Sequential(type(layer)(**_options(layer)))
        if shares:
            share_batch_norm(model, alone)
            assert isinstance(model[0], SharedBatchNorm)
        random = torch.Generator().manual_seed(0)
        outputs = []
        inputs = torch.randn(shape, generator=random).requires_grad_()
        for _ in range(2):
            output = model(inputs + 1)
            output.pow(3).sum().backward()
            outputs.append(output.detach())
        model.eval()
        outputs += [model(inputs).detach(), inputs.grad]
        results.append([*outputs, *model.state_dict().values()])
    for actual, expected in zip(results[1], results[0], strict=True):
        assert_near(actual, expected, 1e-12)


def _options(layer: nn.Module) -> dict[str, object]:
    names = ("num_features", "affine", "momentum", "track_running_stats")
    return {name: getattr(layer, name) for name in names}


def test_parameters_stay_the_same_objects(alone: Ranks) -> None:
    """Breaks if an optimizer trains a layer that is not there any more."""
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.BatchNorm1d(3)))
    before = list(model.parameters())
    names = list(model.state_dict())
    share_batch_norm(model, alone)
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))
    assert list(model.state_dict()) == names
    assert len(list(shared_batch_norms(model))) == 1


def test_a_class_of_its_own_stays_as_it_is(alone: Ranks) -> None:
    """Breaks if a layer that does more than torch's loses what it does more."""

    class WithActivation(nn.BatchNorm1d):
        pass

    model = nn.Sequential(WithActivation(3))
    share_batch_norm(model, alone)
    assert type(model[0]) is WithActivation
