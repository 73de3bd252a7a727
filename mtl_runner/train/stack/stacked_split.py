"""The data of a stack: one split that all replicas share, or one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_runner.data.dataset import Split
from mtl_runner.data.inputs import Inputs, InputTensors


class StackedSplit:
    """The same split of every replica, in memory only once where all replicas have the same data.

    Args:
        splits: The split of each replica; their tensors have equal shapes.

    Attributes:
        rows: Number of rows N.
        shared: Whether all replicas have the same data.
        inputs: Inputs ``[N, ...]`` where the data is shared, else ``[S, N, ...]``.
        targets: Targets by task, of the same shapes.

    Example:
        >>> splits = [Split(torch.tensor([[x], [x]]), {}) for x in (1.0, 2.0)]
        >>> stacked = StackedSplit(splits)
        >>> stacked.shared, tuple(stacked.inputs.shape)
        (False, (2, 2, 1))
    """

    def __init__(self, splits: Sequence[Split]) -> None:
        first = splits[0]
        self.rows = len(first)
        self.shared = all(_have_equal_tensors(split, first) for split in splits[1:])
        inputs = InputTensors(first.inputs)
        self.replicas = torch.arange(len(splits), device=inputs.device).unsqueeze(1)
        if self.shared:
            self.inputs, self.targets = first.inputs, first.targets
            return
        input_tensors = [InputTensors(split.inputs).tensors for split in splits]
        self.inputs = inputs.with_tensors(
            {
                name: torch.stack([tensors[name] for tensors in input_tensors])
                for name in inputs.tensors
            }
        )
        self.targets = {
            name: torch.stack([split.targets[name] for split in splits]) for name in first.targets
        }

    @property
    def row_bytes(self) -> int:
        """The size of one row of one replica in bytes."""
        tensors = [*InputTensors(self.inputs).tensors.values(), *self.targets.values()]
        return sum(
            t.element_size() * t[0].numel() // (1 if self.shared else self.rows) for t in tensors
        )

    def gather(self, rows: Tensor) -> tuple[Inputs, dict[str, Tensor]]:
        """Return inputs and targets ``[S, n, ...]`` of some rows of each replica.

        Args:
            rows: Indices of the rows, ``[S, n]``.
        """
        index = rows if self.shared else (self.replicas, rows)
        inputs = InputTensors(self.inputs).map(lambda tensor: tensor[index])
        return inputs, {name: target[index] for name, target in self.targets.items()}


def slice_rows(inputs: Inputs, rows: slice) -> Inputs:
    """Return some rows of stacked inputs ``[S, n, ...]``.

    Example:
        >>> slice_rows(torch.arange(6).reshape(2, 3), slice(0, 2))
        tensor([[0, 1],
                [3, 4]])
    """
    return InputTensors(inputs).map(lambda tensor: tensor[:, rows])


def stacked_points(replicas: Sequence[Mapping[str, Inputs]]) -> dict[str, Inputs]:
    """Return the points of loss terms of all replicas as one stack, by term.

    Args:
        replicas: The points of each replica, by term, ``[n, ...]`` each.

    Example:
        >>> stacked_points([{"pde": torch.zeros(3, 2)}, {"pde": torch.ones(3, 2)}])["pde"].shape
        torch.Size([2, 3, 2])
    """
    stacked = {}
    for term, first in replicas[0].items():
        inputs = InputTensors(first)
        of_term = [InputTensors(points[term]).tensors for points in replicas]
        stacked[term] = inputs.with_tensors(
            {name: torch.stack([tensors[name] for tensors in of_term]) for name in inputs.tensors}
        )
    return stacked


def _have_equal_tensors(first: Split, second: Split) -> bool:
    """Return whether two splits hold equal inputs and targets."""
    first_tensors, second_tensors = (
        {**InputTensors(split.inputs).tensors, **{f"/{n}": t for n, t in split.targets.items()}}
        for split in (first, second)
    )
    return all(
        tensor is second_tensors[name] or tensor.equal(second_tensors[name])
        for name, tensor in first_tensors.items()
    )
