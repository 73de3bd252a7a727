"""Methods as somebody else may write them, right and wrong in one place each."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn


class UncertaintyByArguments(nn.Module):
    """Uncertainty weighting with sigmas, called with one argument per loss."""

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        self.sigma = nn.Parameter(torch.ones(num_tasks))

    def forward(self, *losses: Tensor) -> Tensor:
        stacked = torch.stack(losses)
        return (stacked / (2 * self.sigma**2) + self.sigma.abs().log()).sum()


class UncertaintyClamped(nn.Module):
    """Uncertainty weighting whose log-variances cannot become negative."""

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.zeros(num_tasks))

    def forward(self, losses: list[Tensor]) -> Tensor:
        s = self.s.clamp(min=0)
        return sum(torch.exp(-s[i]) * loss + s[i] for i, loss in enumerate(losses))  # type: ignore[return-value]


class UncertaintyFrozen(nn.Module):
    """Uncertainty weighting whose log-variances are no parameters."""

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        self.s = torch.zeros(num_tasks)

    def forward(self, losses: Tensor) -> Tensor:
        return (torch.exp(-self.s) * losses + self.s).sum()


class LogSumWithoutFloor(nn.Module):
    """The sum of the logarithms, which is infinite for a solved task."""

    def forward(self, losses: Tensor) -> Tensor:
        return losses.log().sum()


class GradNorm(nn.Module):
    """GradNorm that trains its weights itself, by the sign of its gradient.

    Args:
        num_losses: Number of tasks.
        grad_norm_parameters: The shared parameter.
        alpha: The exponent of the relative inverse training rate.
    """

    def __init__(
        self, num_losses: int, grad_norm_parameters: nn.Parameter, alpha: float = 1.5
    ) -> None:
        super().__init__()
        self.shared, self.alpha = [grad_norm_parameters], alpha
        self.register_buffer("weights", torch.ones(num_losses))
        self.register_buffer("first", torch.zeros(num_losses))

    def backward(self, losses: Tensor) -> None:
        (self.weights.clone() * losses).sum().backward(retain_graph=True)
        norms = torch.stack(
            [
                torch.autograd.grad(loss, self.shared[0], retain_graph=True)[0].norm()
                for loss in losses
            ]
        )
        if not self.first.any():
            self.first.copy_(losses.detach())
        rates = losses.detach() / self.first
        products = self.weights * norms
        targets = products.mean() * (rates / rates.mean()) ** self.alpha
        moved = (self.weights - 0.01 * torch.sign(products - targets) * norms).clamp(min=0.01)
        self.weights.copy_(moved * len(moved) / moved.sum())


class GradNormTurned(GradNorm):
    """GradNorm with the sign of the exponent turned."""

    def __init__(self, num_losses: int, grad_norm_parameters: nn.Parameter) -> None:
        super().__init__(num_losses, grad_norm_parameters, alpha=-1.5)


class DWA:
    """DWA whose means of epochs are in no state."""

    def __init__(self) -> None:
        self.sums: list[Tensor] = []
        self.means: list[Tensor] = []

    def __call__(self, losses: Tensor) -> Tensor:
        self.sums.append(losses.detach())
        if len(self.means) < 2:
            return losses.sum()
        weights = torch.softmax(self.means[-1] / self.means[-2] / 2.0, 0)
        return (len(losses) * weights * losses).sum()

    def step(self) -> None:
        self.means.append(torch.stack(self.sums).mean(0))
        self.sums = []

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class FAMO(nn.Module):
    """FAMO whose steps on the logits are those of a plain Adam of its own.

    Args:
        n_tasks: Number of tasks.
    """

    def __init__(self, n_tasks: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_tasks))
        self.before: Tensor | None = None

    def forward(self, losses: Tensor) -> Tensor:
        self.note(losses.detach())
        z = torch.softmax(self.logits.detach(), 0)
        c = 1 / (z / losses.detach().clamp(min=1e-12)).sum()
        return c * (z * losses.clamp(min=1e-12).log()).sum()

    def note(self, losses: Tensor) -> None:
        """Keep the losses before the step."""
        self.before = losses

    def update(self, after: Tensor) -> None:
        """Move the logits by the progress on the batch."""
        assert self.before is not None
        self.move(self.before, after)

    def move(self, before: Tensor, after: Tensor) -> None:
        """Move the logits by the decrease of the logarithms."""
        fallen = before.clamp(min=1e-12).log() - after.clamp(min=1e-12).log()
        z = torch.softmax(self.logits.detach(), 0)
        with torch.no_grad():
            self.logits -= z * (fallen - (z * fallen).sum())


class FAMOOfBatches(FAMO):
    """FAMO that compares a batch with the one before it."""

    def note(self, losses: Tensor) -> None:
        if self.before is not None:
            self.move(self.before, losses)
        self.before = losses

    def update(self, after: Tensor) -> None:
        pass


class Shortest:
    """MGDA by trying every set of tasks that may have a weight, times a factor."""

    factor = 1.0

    def __call__(self, rows: Tensor) -> Tensor:
        best = rows[rows.norm(dim=1).argmin()]
        for size in range(2, len(rows) + 1):
            for chosen in itertools.combinations(range(len(rows)), size):
                some = rows[list(chosen)]
                # The weights of the shortest vector whose weights sum to 1, of any sign.
                system = torch.ones(size + 1, size + 1)
                system[:size, :size], system[size, size] = some @ some.T, 0.0
                right = torch.zeros(size + 1, 1)
                right[size] = 1.0
                weights = (torch.linalg.pinv(system) @ right)[:size, 0]
                vector = weights @ some
                if (weights >= 0).all() and vector.norm() < best.norm():
                    best = vector
        return self.factor * best


class ShortestTwice(Shortest):
    """MGDA whose direction is twice as long."""

    factor = 2.0


def last_loss_only(losses: Tensor) -> Tensor:
    """Return the last loss: a function, and no weighting that treats tasks alike."""
    return losses[-1]


def mean_row(rows: Tensor) -> Tensor:
    """Return the mean of gradients."""
    return rows.mean(0)


def takes_nothing() -> None:
    """Take nothing."""


NOT_CALLABLE = 3
