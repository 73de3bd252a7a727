"""A dataset with one task of every kind, and a model whose only shared parameter is one weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from mtl_runner.data import ToyMixed
from mtl_runner.data.dataset import Split
from mtl_runner.models import MLP
from mtl_runner.tasks.task import Task


class FourKinds(ToyMixed):
    """The mixed toy with two more tasks, a multilabel task and an L1 regression.

    The targets of its regression are scaled down by 2, those of the L1 regression by 5.
    """

    def __init__(
        self,
        n: int,
        n_val: int,
        n_test: int,
        dim: int,
        classes: int,
        sigma: float,
        temperature: float,
        seed: int,
    ) -> None:
        super().__init__(n, n_val, n_test, dim, classes, sigma, temperature, seed)
        value, label = self.tasks
        self.tasks = [
            replace(value, scale=2.0),
            label,
            Task("tags", "multilabel", size=2),
            Task("price", "regression_l1", size=1, offset=10.0, scale=5.0),
        ]
        random = torch.Generator().manual_seed(seed)
        for name, split in self.splits.items():
            x = split.inputs
            noise = torch.randn(len(split), 3, generator=random)
            tags = (x[:, :2] + noise[:, :2] > 0).to(x.dtype)
            price = x[:, 0] - x[:, 1] + 0.5 * noise[:, 2]
            self.splits[name] = Split(
                x,
                {
                    "value": split.targets["value"] / 2,
                    "label": split.targets["label"],
                    "tags": tags,
                    "price": price,
                },
            )


class OneNumber(MLP):
    """An MLP of which the tasks share a single number.

    So the norm of its gradient is its largest and its mean entry.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Sequence[int],
        hidden: Sequence[int],
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__(tasks, input_shape, (1, *hidden), activation, dropout)
        for parameter in self.trunk.parameters():
            parameter.requires_grad_(False)
        number = nn.Linear(1, 1, bias=False)
        self.trunk[0] = nn.Sequential(nn.Linear(input_shape[0], 1).requires_grad_(False), number)


class OneWeight(MLP):
    """An MLP whose trunk has no bias.

    So the gradient of all shared parameters is the gradient of the last shared weight.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Sequence[int],
        hidden: Sequence[int],
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__(tasks, input_shape, hidden, activation, dropout)
        self.trunk[0] = nn.Linear(input_shape[0], hidden[0], bias=False)
