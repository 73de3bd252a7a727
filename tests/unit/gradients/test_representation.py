"""The tensors between trunk and heads, found in the graphs of the losses."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.gradients.parameters import Parameters
from mtl_runner.gradients.representation import Representation, Returned, find_cut
from mtl_runner.models import MLP, PLE, CrossStitch, MLPTrunk, MMoE
from mtl_runner.tasks.task import Task

TASKS = [Task("a", size=1), Task("b", size=2)]


class Traced(nn.Module):
    """A model that keeps its features, and has two layers before them and behind them."""

    def __init__(self, skips: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 5)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 1)) for _ in range(3)
        )
        self.skips = skips

    def forward(self, inputs: Tensor) -> list[Tensor]:
        self.early = self.first(inputs).tanh()
        self.features = self.second(self.early).tanh()
        a, b, c = self.heads
        between = self.features + self.early if self.skips else self.features
        return [a(self.features).mean(), b(between).mean(), c(self.early).mean()]


def losses_of(model: nn.Module, *shape: int) -> list[Tensor]:
    """Return a scalar for each output of a model."""
    return [output.square().mean() for output in model(torch.randn(5, *shape)).values()]


def test_each_task_uses_the_tensors_that_its_own_part_begins_with() -> None:
    """Breaks if a tensor is missed because another task reaches it through the trunk only."""
    model = Traced()
    representation = Representation.of(model(torch.randn(2, 4)))
    nodes = [edge.node for edge in representation.edges]
    assert set(nodes) == {model.features.grad_fn, model.early.grad_fn}
    features, early = nodes.index(model.features.grad_fn), nodes.index(model.early.grad_fn)
    assert representation.of_tasks == [(features,), (features,), (early,)]


def test_only_what_lies_behind_the_trunk_is_visited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a step of a deep trunk walks through all of it in Python."""
    visited: list[Any] = []
    numbered = "mtl_runner.gradients.representation.sequence_number"
    monkeypatch.setattr(numbered, lambda node: (visited.append(node), node._sequence_nr())[1])
    model = MLP(TASKS, (4,), [6] * 50)
    Representation.of(losses_of(model, 4))
    assert len(visited) < 15


def test_models_of_experts_and_columns_have_several_tensors() -> None:
    """Breaks if the search rests on one trunk."""
    trunk = partial(MLPTrunk, hidden=[6])
    for kind in (MMoE, CrossStitch):
        model = kind(TASKS, (4,), trunk=trunk)
        losses = losses_of(model, 4)
        assert Parameters.from_losses(model, losses).cut.problem == ""
        assert Representation.of(losses).edges


def test_a_tensor_that_is_computed_from_another_one_of_the_same_task_is_a_problem() -> None:
    """Breaks if a gradient goes through the trunk on the way to the earlier tensor."""
    losses = Traced(skips=True)(torch.randn(2, 4))
    cut = find_cut(losses, {}, ["a", "b", "c"])
    sentence = "task 'b' uses a shared tensor and another one that is computed from it"
    assert cut.problem == sentence
    model = PLE(TASKS, (4,), trunk=partial(MLPTrunk, hidden=[6, 6]))
    assert "and another one that is computed from it" in (
        Parameters.from_losses(model, losses_of(model, 4)).cut.problem
    )


def test_a_shared_parameter_in_a_head_is_a_problem_by_name() -> None:
    """Breaks if a gradient of a shared parameter is lost behind the representation."""
    model = nn.ModuleDict({"trunk": nn.Linear(4, 4), "tied": nn.Linear(4, 1)})
    features = model["trunk"](torch.randn(3, 4))
    losses = [model["tied"](features.tanh()).mean(), model["tied"](features.exp()).mean()]
    problem = Parameters.from_losses(model, losses).cut.problem
    assert problem == (
        "the shared parameter 'tied.weight' is used by task '0' alone, behind what the tasks share"
    )


def test_a_task_without_a_graph_has_no_tensor() -> None:
    """Breaks if a batch without labels of a task ends in an error."""
    features = nn.Linear(2, 2)(torch.ones(1, 2))
    losses = [features.sum(), torch.zeros(()), features.square().sum()]
    assert Representation.of(losses).of_tasks == [(0,), (), (0,)]


def test_values_are_kept_of_the_latest_calls_with_a_graph_only() -> None:
    """Breaks if memory grows with the steps, or a copy of the model shares what is kept."""
    layer = nn.Linear(2, 2)
    returned = Returned([layer, layer], limit=2)
    with torch.no_grad():
        layer(torch.ones(1, 2))
    assert not returned.tensors
    outputs = [layer(torch.ones(1, 2)) for _ in range(3)]
    edges = [torch.autograd.graph.get_gradient_edge(output) for output in outputs]
    kept = returned.value(edges[2])
    assert kept is not None
    assert not kept.requires_grad
    assert torch.equal(kept, outputs[2])
    assert len(returned.tensors) == 2
    assert returned.value(edges[0]) is None
    copy.deepcopy(layer)
    returned.remove()
    layer(torch.ones(1, 2))
    assert not returned.tensors


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_a_compiled_script_takes_no_hooks() -> None:
    """Breaks if a model of TorchScript cannot be trained at all."""
    script = torch.jit.script(nn.Linear(2, 2))
    assert Returned(list(nn.Sequential(script, nn.ReLU()).modules())).handles
