"""The parameters of each task, the weight that all share last, and norms there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_runner.gradients.parameters import Parameters, last_shared_weights, leaves_of
from mtl_runner.likelihood import Standard
from tests.support.builders import assert_near, make_mlp, make_split, make_tasks


def ids(parameters: Sequence[nn.Parameter]) -> list[int]:
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
    assert ids(parameters.last_shared) == ids([model.late.weight])


def test_without_a_shared_weight_there_is_no_last_one() -> None:
    """Breaks if a private weight, or a shared bias, is taken for the last shared one."""
    bias, weight = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2, 2))
    losses = [bias.sum(), bias.sum() + weight.sum()]
    owners = [frozenset({0, 1}), frozenset({1})]
    assert last_shared_weights([bias, weight], owners, losses) == []
    assert_near(Parameters([bias, weight], owners).norms(losses, [0, 1]), torch.zeros(2), 0)


def test_layers_side_by_side_are_last_together() -> None:
    """Breaks if GradNorm looks at one expert of many, or at a layer that another one follows.

    Each expert has two layers and one bypass; the second level stands on the first.
    """

    def expert() -> nn.ModuleList:
        return nn.ModuleList([nn.Linear(3, 4), nn.Linear(4, 3, bias=False)])

    first, second = ([expert(), expert()] for _ in range(2))
    heads = [nn.Linear(3, 1), nn.Linear(3, 1)]
    model = nn.ModuleList([*second, *first, *heads])
    features = torch.ones(2, 3)
    for level in (first, second):
        outputs = [features + layers[1](layers[0](features).relu()) for layers in level]
        features = torch.stack(outputs).mean(0)
    losses = [head(features).square().mean() for head in heads]
    parameters = Parameters.from_losses(model, losses)
    last_layers = [layers[1].weight for layers in second]
    assert ids(parameters.last_shared) == ids(last_layers)
    for t, norm in enumerate(parameters.norms(losses, [0, 1])):
        gradients = torch.autograd.grad(losses[t], last_layers, retain_graph=True)
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        assert_near(norm, flat.norm(), 1e-6)


def test_a_layer_that_is_used_twice_counts_where_it_is_used_last() -> None:
    """Breaks the autoencoder of data=collapse, whose encoder reads what its decoders made."""
    early, late = nn.Linear(2, 2), nn.Linear(2, 2)
    features = early(late(early(torch.ones(1, 2))))
    losses = [features.sum(), features.square().sum()]
    parameters = Parameters.from_losses(nn.ModuleList([early, late]), losses)
    assert ids(parameters.last_shared) == ids([early.weight])


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
