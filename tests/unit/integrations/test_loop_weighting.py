"""Our weightings do in a foreign loop what they do in ours."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mtl_runner import Task
from mtl_runner.errors import ConfigError
from mtl_runner.integrations.loop_weighting import LoopWeighting
from mtl_runner.weighting import (
    DWA,
    FAMO,
    NTK,
    FrozenMean,
    GradNorm,
    LRAnnealing,
    NormBalance,
    Uncertainty,
    Weighting,
)

TASKS = [Task("a"), Task("b")]


class Model(nn.Module):
    """A layer that two tasks share, and a head for each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(4, 1)

    def losses(self) -> list[torch.Tensor]:
        """Return the losses of a fixed batch."""
        features = self.trunk(torch.linspace(-1, 1, 12).reshape(4, 3)).tanh()
        return [(self.a(features) - 1).square().mean(), (self.b(features) - 9).square().mean()]


def trained(weighting: Weighting, steps: int = 40) -> tuple[list[float], LoopWeighting]:
    """Return the losses at the start and the end of a few steps, and the loop."""
    model, loop = Model(), LoopWeighting(weighting)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    totals = [sum(loss.item() for loss in model.losses())]
    for step in range(steps):
        if step % 10 == 0:
            loop.begin_epoch(step / steps)
        optimizer.zero_grad()
        loop.loss(model, model.losses()).backward()
        optimizer.step()
        loop.after_update(model.losses)
    return [*totals, sum(loss.item() for loss in model.losses())], loop


@pytest.mark.parametrize("make", [Uncertainty, DWA, FAMO, GradNorm, NormBalance, LRAnnealing])
def test_weightings_of_every_protocol_learn(make: type[Weighting]) -> None:
    """Breaks if a weighting that needs more than losses stands still in a foreign loop."""
    (before, after), loop = trained(make(TASKS))
    assert after < before
    assert not loop.weights.equal(loop.weights[:1].expand(2))


def test_the_loss_is_the_objective_and_its_gradient_the_weighted_sum_of_gradients() -> None:
    """Breaks if another loss is logged or trained than the weighting says."""
    weighting, model = Uncertainty(TASKS, init=0.5), Model()
    loop = LoopWeighting(weighting)
    loss = loop.loss(model, model.losses())
    values = torch.stack(model.losses())
    assert loss.item() == pytest.approx(weighting(values).item())
    loss.backward()
    gradient = model.trunk.weight.grad
    assert gradient is not None
    expected = torch.autograd.grad(weighting(torch.stack(model.losses())), model.trunk.weight)[0]
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("make", [GradNorm, LRAnnealing, FAMO])
def test_nothing_is_measured_for_frozen_weights(
    make: type[Weighting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if frozen weights still cost backward passes or another look at the losses."""
    model, loop = Model(), LoopWeighting(FrozenMean(TASKS, make(TASKS), after="1 step"))
    weights = []
    for step in range(3):
        if step:
            monkeypatch.setattr(torch.autograd, "grad", None)
        loss = loop.loss(model, model.losses())
        weights.append(loop.weights.clone())
        loss.backward()
        # A frozen weighting does not ask for the losses.
        loop.after_update(model.losses if not step else list)
    assert weights[1].equal(weights[2])


def test_a_weighting_that_needs_outputs_is_refused() -> None:
    """Breaks if NTK trains with equal weights in a loop that shows no outputs."""
    words = r"The weighting NTK needs the outputs of the model, which the loop of another library does not give"
    with pytest.raises(ConfigError, match=words):
        LoopWeighting(NTK(TASKS))


def test_the_state_goes_on() -> None:
    """Breaks if a weighting starts from scratch after a checkpoint."""
    _, loop = trained(Uncertainty(TASKS, init=0.0))
    again = LoopWeighting(Uncertainty(TASKS, init=0.0))
    again.load_state_dict(copy.deepcopy(loop.state_dict()))
    model = Model()
    for adapter in (loop, again):
        adapter.loss(model, model.losses())
        adapter.after_update(model.losses)
    assert again.weighting.state_dict().keys() == loop.weighting.state_dict().keys()
    pairs = zip(again.weighting.parameters(), loop.weighting.parameters(), strict=True)
    for resumed, original in pairs:
        torch.testing.assert_close(resumed, original)
