"""A user's losses and Lightning module, for loops without the runner."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mtl_runner.data.dataset import Split


def task_losses(model: nn.Module, split: Split) -> list[Tensor]:
    """Return the losses of tasks a, b and c, computed without a likelihood."""
    outputs, functional = model(split.inputs), torch.nn.functional
    return [
        functional.mse_loss(outputs["a"], split.targets["a"]),
        functional.cross_entropy(outputs["b"], split.targets["b"]),
        functional.binary_cross_entropy_with_logits(outputs["c"], split.targets["c"]),
    ]


class LightningModule(nn.Module):
    """A stand-in for the part of `lightning.LightningModule` that its trainer uses."""

    automatic_optimization = True

    def training_step(self, batch: Split, batch_idx: int) -> Tensor | None:
        raise NotImplementedError

    def configure_optimizers(self) -> torch.optim.Optimizer | None:
        return None


def fit(module: LightningModule, batches: Iterable[Split]) -> None:
    """Train as `lightning.Trainer.fit` does."""
    optimizer = module.configure_optimizers()
    module.train()
    for index, batch in enumerate(batches):
        loss = module.training_step(batch, index)
        if module.automatic_optimization:
            assert optimizer is not None
            assert loss is not None
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
