"""DSelect-k: the smooth-step function, selectors by bits, and gates that choose k experts."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch

from mtl_runner.errors import ConfigError
from mtl_runner.models import DSelectK, MLPTrunk
from mtl_runner.models.dselect_k import DSelectKGate, smooth_step
from mtl_runner.tasks.task import Task
from tests.unit.models.architectures import (
    INPUTS,
    SHAPES,
    TASKS,
    batch,
    last_shared,
    owners,
    set_linear,
    shapes,
)


def constant_gate(experts: int, z: list[list[float]], alpha: list[float]) -> DSelectKGate:
    """Return a gate that is the same for all rows, with given logits."""
    gate = DSelectKGate(None, experts, k=len(z))
    with torch.no_grad():
        gate.z.copy_(torch.tensor(z))
        gate.alpha.copy_(torch.tensor(alpha))
    return gate


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
@pytest.mark.usefixtures("float64")
def test_the_smooth_step_is_the_cubic_of_the_paper(gamma: float) -> None:
    """Breaks eq. 3: value and slope at the ends, the middle, and a quarter of the way.

    At -gamma/4 the cubic is 2/64 - 3/8 + 1/2 = 5/32.
    """
    x = torch.tensor([-9, -0.5, -0.25, 0, 0.25, 0.5, 9]) * gamma
    x.requires_grad_()
    values = smooth_step(x, gamma)
    expected = torch.tensor([0, 0, 5 / 32, 0.5, 27 / 32, 1, 1])
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-15)
    assert values[[0, 1, 5, 6]].tolist() == [0, 0, 1, 1], "exactly"
    (slopes,) = torch.autograd.grad(values.sum(), x)
    assert slopes[[0, 6]].tolist() == [0, 0]
    assert slopes[3].item() == pytest.approx(1.5 / gamma)


def test_selectors_read_bits_as_computed_by_hand() -> None:
    """Breaks eq. 4: with S = 5/32 and 27/32 the four experts get products of them.

    Expert 2 is 10 in bits, so it takes S of the first logit and 1 - S of the second.
    """
    gate = constant_gate(4, [[-0.25, 0.25]], [0.0])
    low, high = 5 / 32, 27 / 32
    expected = torch.tensor([[high * low, high * high, low * low, low * high]])
    torch.testing.assert_close(gate(torch.zeros(1, 3)), expected)


def test_saturated_selectors_choose_exactly_k_experts() -> None:
    """Breaks the sparsity that the method is for: all other experts have a weight of exactly 0.

    Three selectors on experts 5, 0 and 3 of 8, with the softmax of 0, log 2 and log 5.
    """
    bits = {5: [1, -1, 1], 0: [-1, -1, -1], 3: [-1, 1, 1]}
    z = [[float(bit) for bit in bits[expert]] for expert in (5, 0, 3)]
    weights = constant_gate(8, z, [0.0, math.log(2), math.log(5)])(torch.zeros(2, 3))
    expected = torch.tensor([2 / 8, 0, 0, 5 / 8, 0, 1 / 8, 0, 0])
    torch.testing.assert_close(weights, expected.expand(2, 8), rtol=1e-6, atol=0)
    assert (weights != 0).sum(1).tolist() == [3, 3]


def test_selectors_may_agree_so_k_is_the_most() -> None:
    """Breaks the promise of the constraint: at most k experts."""
    weights = constant_gate(4, [[1.0, 1.0], [1.0, 1.0]], [0.0, 1.0])(torch.zeros(1, 3))
    torch.testing.assert_close(weights, torch.tensor([[0.0, 0.0, 0.0, 1.0]]))


def test_training_ends_in_exactly_k_experts() -> None:
    """Breaks selection by gradients: the gate must find two of four experts that explain all.

    The target is .3 of expert 0 and .7 of expert 3; at convergence the others are exactly unused.
    """
    torch.manual_seed(0)
    gate, inputs = DSelectKGate(None, 4, k=2), torch.zeros(1, 3)
    target = torch.tensor([[0.3, 0.0, 0.0, 0.7]])
    optimizer = torch.optim.Adam(gate.parameters(), lr=0.02)
    assert (gate(inputs) > 0.2).all(), "it starts with nearly equal weights"
    for _ in range(1500):
        optimizer.zero_grad()
        (gate(inputs) - target).square().sum().backward()
        optimizer.step()
    weights = gate(inputs)
    torch.testing.assert_close(weights, target, rtol=0, atol=1e-3)
    assert (weights != 0).tolist() == [[True, False, False, True]]


def test_rows_choose_by_their_inputs() -> None:
    """Breaks `gates: inputs`: for x = 1 the first expert of two, for x = -1 the second."""
    gate = DSelectKGate(1, 2, k=1)
    set_linear(gate.z_layer, [[-1.0]], [0.0])
    weights = gate(torch.tensor([[1.0], [-1.0], [0.0]]))
    torch.testing.assert_close(weights, torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]))


def test_the_model_mixes_experts_by_these_gates_as_computed_by_hand() -> None:
    """Breaks the model around the gates: the experts give 2 and 10 for x = 2."""
    tasks = [Task("a", size=1), Task("b", size=1)]
    trunk = partial(MLPTrunk, hidden=[1])
    model = DSelectK(tasks, (1,), trunk=trunk, experts=2, k=1, gates="constant")
    set_linear(model.experts[0][0], [[1.0]], [0.0])
    set_linear(model.experts[1][0], [[4.0]], [2.0])
    with torch.no_grad():
        model.gates[0].z.fill_(-0.25)
        model.gates[1].z.fill_(1.0)
    for tower in model.towers:
        set_linear(tower, [[1.0]], [0.0])
    outputs = model(torch.tensor([[2.0]]))
    assert outputs["a"].item() == pytest.approx(2 * 27 / 32 + 10 * 5 / 32)
    assert outputs["b"].item() == pytest.approx(10)


@pytest.mark.parametrize("gates", ["inputs", "constant"])
def test_experts_are_shared_and_gates_and_towers_are_not(gates: str) -> None:
    """Breaks every strategy that looks at shared parameters; the graph alone says who shares."""
    trunk = partial(MLPTrunk, hidden=[5, 4])
    model = DSelectK(TASKS, (INPUTS,), trunk=trunk, experts=4, k=3, gates=gates)
    tasks = [task for task in TASKS if task.has_target]
    assert shapes(model) == SHAPES
    for name, served in owners(model, tasks, batch()).items():
        kind, number = name.split(".")[:2]
        expected = {"a.b", "label"} if kind == "experts" else {["a.b", "label"][int(number)]}
        assert served == expected, name
    assert last_shared(model, tasks, batch()) == [f"experts.{i}.2.weight" for i in range(4)]
    torch.testing.assert_close(model.gates[0](batch().inputs).sum(1), torch.ones(3))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"experts": 1}, "model.experts must be a whole number of at least 2; found 1."),
        (
            {"experts": 6},
            "model.experts must be a power of two for model=dselect_k, whose gates number the experts in bits; found 6.",
        ),
        ({"k": 0}, "model.k must be a whole number of at least 1; found 0."),
        ({"k": 5}, "model.k=5 is more than model.experts=4; lower it."),
        ({"gates": "rows"}, "model.gates='rows' is unknown; allowed: inputs, constant."),
        ({"gamma": 0}, "model.gamma must be a positive number; found 0."),
    ],
)
def test_impossible_options_get_their_sentence(options: dict[str, Any], sentence: str) -> None:
    """Breaks if a wrong option is an error of PyTorch's."""
    with pytest.raises(ConfigError) as raised:
        DSelectK(TASKS, (INPUTS,), **options)
    assert str(raised.value) == sentence
