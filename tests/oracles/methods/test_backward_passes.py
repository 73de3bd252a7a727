"""The number of backward passes of a method in summary.json, against the calls of autograd."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.oracles.methods.runs import FEW_ROWS, SMALL, prepare, start

# Of two tasks.
PASSES = {
    "uncertainty": 1,
    "per_task_adam": 2,
    "adatask": 2,
    "upgrad": 2,
    "gradnorm": 3,
    "norm_balance": 3,
    "single_task": 1,
    "modo": 4,
    "sdmgrad": 6,
}


@pytest.mark.parametrize("method", PASSES)
def test_the_cost_of_a_method_is_what_autograd_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Breaks if a comparison calls a method cheaper than it is."""
    trainer = start(
        prepare(
            tmp_path / "run",
            f"weighting={method}",
            "data=toy_mixed",
            *FEW_ROWS,
            "data.batch_size=90",
            *SMALL,
        )
    )
    calls: list[bool] = []
    grad, backward = torch.autograd.grad, torch.autograd.backward

    def through_the_model(roots: object) -> bool:
        first = roots[0] if isinstance(roots, list | tuple) else roots
        names = [str(node) for node in _nodes_of_graph(first)]
        return any("Addmm" in name or "Mm" in name for name in names)

    def counting_grad(outputs: object, *args: object, **kwargs: object) -> object:
        calls.append(through_the_model(outputs))
        return grad(outputs, *args, **kwargs)

    def counting_backward(tensors: object, *args: object, **kwargs: object) -> object:
        calls.append(through_the_model(tensors))
        return backward(tensors, *args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", counting_grad)
    monkeypatch.setattr(torch.autograd, "backward", counting_backward)
    batch, active = next(iter(trainer.batches.epoch(0)))
    trainer.learner.step(batch, active)
    assert sum(calls) == trainer.learner.backward_passes == PASSES[method]


def _nodes_of_graph(tensor: torch.Tensor) -> set[object]:
    nodes: set[object] = set()
    stack = [tensor.grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            stack += [following for following, _ in node.next_functions]
    return nodes
