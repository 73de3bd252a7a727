"""The data of a stack: one split for all replicas, or one each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.data.dataset import Split
from mtl_runner.data.inputs import Inputs, InputTensors


class StackedSplit:
    """A split of every replica; held once where all have the same.

    Attributes:
        inputs, targets: ``[N, ...]`` where the split is ``shared``, else ``[S, N, ...]``.
    """

    def __init__(self, splits: Sequence[Split]) -> None:
        first = splits[0]
        self.rows = len(first)
        self.shared = all(_same(split, first) for split in splits[1:])
        inputs = InputTensors(first.inputs)
        self.replicas = torch.arange(len(splits), device=inputs.device).unsqueeze(1)
        if self.shared:
            self.inputs, self.targets = first.inputs, first.targets
            return
        each = [InputTensors(split.inputs).tensors for split in splits]
        self.inputs = inputs.with_tensors(
            {name: torch.stack([tensors[name] for tensors in each]) for name in inputs.tensors}
        )
        self.targets = {
            name: torch.stack([split.targets[name] for split in splits]) for name in first.targets
        }

    @property
    def row_bytes(self) -> int:
        """Of one row of one replica."""
        tensors = [*InputTensors(self.inputs).tensors.values(), *self.targets.values()]
        return sum(
            t.element_size() * t[0].numel() // (1 if self.shared else self.rows) for t in tensors
        )

    def gather(self, rows: Tensor) -> tuple[Inputs, dict[str, Tensor]]:
        """Inputs and targets ``[S, n, ...]`` of each replica's rows ``[S, n]``."""
        index = rows if self.shared else (self.replicas, rows)
        inputs = InputTensors(self.inputs).map(lambda tensor: tensor[index])
        return inputs, {name: target[index] for name, target in self.targets.items()}


def cut(inputs: Inputs, rows: slice) -> Inputs:
    """Some rows of stacked inputs ``[S, n, ...]``."""
    return InputTensors(inputs).map(lambda tensor: tensor[:, rows])


def _same(split: Split, other: Split) -> bool:
    mine, theirs = (
        {**InputTensors(s.inputs).tensors, **{f"/{n}": t for n, t in s.targets.items()}}
        for s in (split, other)
    )
    return all(
        tensor is theirs[name] or tensor.equal(theirs[name]) for name, tensor in mine.items()
    )
