"""How the tests of this room compare splits."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mtl_runner.data import Split


def same_split(a: Split, b: Split, tasks: Sequence[str] | None = None) -> bool:
    """Return whether inputs and targets are the same, with the same gaps.

    Args:
        a: A split with a single tensor of inputs.
        b: Another one.
        tasks: The tasks whose targets are compared; None: all of the first split.
    """
    names = a.targets if tasks is None else tasks
    pairs = [(a.inputs, b.inputs), *((a.targets[name], b.targets[name]) for name in names)]
    return all(
        torch.equal(x.isnan(), y.isnan()) and torch.equal(x.nan_to_num(), y.nan_to_num())
        for x, y in pairs
    )
