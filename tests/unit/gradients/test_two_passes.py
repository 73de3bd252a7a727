"""T passes through the heads and one through the trunk."""

from __future__ import annotations

import pytest
import torch

from mtl_runner.gradients.two_passes import TwoPasses
from mtl_runner.likelihood import Standard
from tests.support.builders import assert_near, losses_of, make_mlp, make_split, make_tasks

pytestmark = pytest.mark.usefixtures("float64")


def test_the_rows_and_both_kinds_of_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a weight is lost, a head is passed through another one, or the trunk twice."""
    tasks = make_tasks(a="regression", b="classification", c="multilabel")
    model, split = make_mlp(tasks, (8, 5)), make_split(tasks)
    parameters = list(model.parameters())
    weights = torch.tensor([2.0, 0.5, 3.0])
    outputs = model(split.inputs)
    expected = torch.autograd.grad(
        (weights[::2] * losses_of(model, tasks, split)[::2]).sum(), parameters
    )
    losses = Standard(tasks).losses(outputs, split.targets)
    calls: list[object] = []
    grad = torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *args, **k: (calls.append(args), grad(*args, **k))[1]
    )
    passes = TwoPasses(losses, weights, (0, 2))
    heads = [list(model.heads[t].parameters()) for t in (0, 2)]
    of_heads = passes.through_heads(heads)
    assert [tuple(row[0].shape) for row in passes.rows] == [(len(split), 5)] * 2
    trunk = list(model.trunk.parameters())
    of_trunk = passes.through_trunk([passes.rows[0][0] + passes.rows[1][0]], trunk)
    assert len(calls) == 3
    assert len(passes.edges) == 1
    by_parameter = dict(zip(parameters, expected, strict=True))
    for parameter, gradient in zip(trunk, of_trunk, strict=True):
        assert_near(gradient, by_parameter[parameter], 1e-13)
    for head, gradients in zip(heads, of_heads, strict=True):
        for parameter, gradient in zip(head, gradients, strict=True):
            assert_near(gradient, by_parameter[parameter], 1e-13)
