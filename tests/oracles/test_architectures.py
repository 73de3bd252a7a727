"""Models with an architecture of their own can be trained."""

from __future__ import annotations

import torch

from mtl_runner.models import UNet
from mtl_runner.tasks.task import Task


def dense(name: str, size: int, height: int, width: int, kind: str = "regression") -> Task:
    """Return a task that is predicted for every pixel."""
    return Task(name, kind, size=size, places=(height, width))


def test_unet_learns_maps_of_its_input() -> None:
    """Breaks if a U-Net cannot be fitted to three tasks of the same image in a few steps."""
    torch.manual_seed(0)
    tasks = [
        dense("copy", 1, 8, 8),
        dense("bright", 2, 8, 8, "classification"),
        Task("mean", "regression", size=1),
    ]
    model = UNet(tasks, (1, 8, 8), width=8, depth=1)
    inputs = torch.rand(16, 1, 8, 8)
    targets = {
        "copy": 1 - inputs,
        "bright": (inputs[:, 0] > 0.5).long(),
        "mean": inputs.mean((2, 3)),
    }
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        loss = torch.stack([task.loss(model(inputs), targets) for task in tasks]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]
