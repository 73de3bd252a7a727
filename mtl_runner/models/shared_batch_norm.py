"""Batch normalisation over the rows of all processes of a run."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl_runner.gradients.ranks import Ranks, differentiable_sum

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SharedBatchNorm(nn.SyncBatchNorm):
    """Normalises by the mean and variance over the rows of all processes.

    It is torch's ``SyncBatchNorm``, which refuses a CPU, with a training pass of its own: two sums
    over the processes, whose gradients are sums, too.

    Attributes:
        ranks: The processes; None: this one alone.
        counts: Whether the rows of this process count in a batch. They do not where one stands in
            for none.
    """

    ranks: Ranks | None = None
    counts: bool = True

    @classmethod
    def of(cls, layer: nn.Module, ranks: Ranks) -> SharedBatchNorm:
        """Return a layer that shares parameters and statistics with a plain one.

        Args:
            layer: A layer of torch's batch normalisation.
            ranks: The processes.
        """
        plain = nn.SyncBatchNorm.convert_sync_batchnorm(layer)  # type: ignore[no-untyped-call]
        shared = cls.__new__(cls)
        shared.__dict__.update(vars(plain))
        shared.ranks = ranks
        return shared

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the normalised inputs ``[N, C, ...]``."""
        if self.ranks is None or not (self.training or self.running_mean is None):
            return F.batch_norm(
                inputs,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                self.training or self.running_mean is None,
                self.momentum or 0.0,
                self.eps,
            )
        places = [d for d in range(inputs.dim()) if d != 1]
        shape = [-1 if d == 1 else 1 for d in range(inputs.dim())]
        counted = 1.0 if self.counts else 0.0
        entries = inputs.numel() / inputs.shape[1]
        count = self.ranks.sum(inputs.new_tensor(counted * entries))
        mean = differentiable_sum(inputs.sum(places) * counted, self.ranks) / count
        centred = inputs - mean.view(shape)
        squares = centred.square().sum(places) * counted
        variance = differentiable_sum(squares, self.ranks) / count
        self._keep(mean.detach(), variance.detach(), count)
        result = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        return result

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics, as torch's layer does."""
        if self.running_mean is None or not self.training:
            return
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum or 1.0 / self.num_batches_tracked
        unbiased = variance * count / (count - 1).clamp(min=1)
        self.running_mean.mul_(1 - momentum).add_(mean * momentum)
        self.running_var.mul_(1 - momentum).add_(unbiased * momentum)


def share_batch_norm(model: nn.Module, ranks: Ranks) -> None:
    """Let every batch normalisation of a model see the rows of all processes.

    Subclasses of torch's layers, which do more than these, stay as they are.

    Args:
        model: The model, which is changed; its parameters stay the same objects.
        ranks: The processes.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) in KINDS:
                setattr(module, name, SharedBatchNorm.of(child, ranks))


def shared_batch_norms(model: nn.Module) -> Iterator[SharedBatchNorm]:
    """Yield the layers of a model that see the rows of all processes."""
    return (module for module in model.modules() if isinstance(module, SharedBatchNorm))
