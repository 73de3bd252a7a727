"""The parameters of each task, the weight that all share last, and norms there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtl_runner.gradients.parameters import Parameters, last_shared_weight, leaves_of
from mtl_runner.likelihood import Standard
from tests.support.builders import assert_near, make_mlp, make_split, make_tasks


def ids(parameters: list[nn.Parameter]) -> list[int]:
    """Return the identities of parameters, which ``==`` would compare by value."""
    return [id(parameter) for parameter in parameters]


def test_reached_and_idle_parameters_are_all_parameters() -> None:
    """Breaks if a parameter is neither moved nor left alone, or both."""
    trunk, middle, head = (nn.Parameter(torch.ones(1)) for _ in range(3))
    owners = [frozenset({0, 1, 2}), frozenset({0, 1}), frozenset({2})]
    parameters = Parameters([trunk, middle, head], owners)
    assert ids(parameters.reached_by(frozenset({0}))) == ids([trunk, middle])
    assert ids(parameters.idle(frozenset({0}))) == ids([head])
    assert ids(parameters.reached_by(frozenset({1, 2}))) == ids([trunk, middle, head])
    assert parameters.idle(frozenset({1, 2})) == []
    assert ids(parameters.shared) == ids([trunk, middle])


class LateFirst(nn.Module):
    """Layers that are defined in another order than they are used in."""

    def __init__(self) -> None:
        super().__init__()
        self.late, self.early, self.pair = (nn.Linear(2, 2) for _ in range(3))
        self.head = nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Return the losses of three tasks, two of which share one more layer."""
        features = self.late(self.early(inputs).tanh())
        pair = self.pair(features)
        return [pair.sum(), self.head(pair).sum(), features.square().sum()]


def test_the_last_shared_weight_is_the_one_used_last_by_all_tasks() -> None:
    """Breaks if GradNorm measures at a bias, at the last definition, or where some tasks share."""
    model = LateFirst()
    parameters = Parameters.from_losses(model, model(torch.ones(1, 2)))
    assert parameters.last_shared is model.late.weight


def test_without_a_shared_weight_there_is_no_last_one() -> None:
    """Breaks if a private weight, or a shared bias, is taken for the last shared one."""
    bias, weight = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2, 2))
    losses = [bias.sum(), bias.sum() + weight.sum()]
    leaves = [leaves_of(loss) for loss in losses]
    owners = [frozenset({0, 1}), frozenset({1})]
    assert last_shared_weight([bias, weight], owners, leaves) is None
    assert_near(Parameters([bias, weight], owners).norms(losses, [0, 1]), torch.zeros(2), 0)


def test_the_norms_are_those_at_the_last_shared_weight() -> None:
    """Breaks if an idle task has a norm, the graph is freed, or the norm is of another weight."""
    tasks = make_tasks(a="regression", b="regression", c="regression")
    model, split = make_mlp(tasks), make_split(tasks)
    losses = Standard(tasks).losses(model(split.inputs), split.targets)
    norms = Parameters.from_losses(model, losses).norms(losses, [0, 2])
    for t, loss in enumerate(losses):
        (gradient,) = torch.autograd.grad(loss, model.trunk[0].weight, retain_graph=True)
        assert_near(norms[t], gradient.norm() if t != 1 else torch.tensor(0.0), 1e-6)


def test_a_loss_without_a_graph_reaches_nothing() -> None:
    """Breaks if a constant loss is an error of autograd."""
    assert leaves_of(torch.tensor(1.0)) == {}
