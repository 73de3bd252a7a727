"""Any of our weightings in a loop that asks for one loss and steps one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.weighting import Weighting
from mtl_runner.weighting.protocols import (
    KeepsLosses,
    ObservesGradients,
    ObservesLosses,
    ObservesNorms,
    ObservesTraces,
)


class LoopWeighting:
    """Calls a weighting as our own training step does.

    Args:
        weighting: The weighting.
        lr: The learning rate of its parameters where it has none of its own.

    Raises:
        ConfigError: If the weighting needs more than losses and their gradients.

    Example:
        >>> from mtl_runner import Task
        >>> from mtl_runner.weighting import Fixed
        >>> loop = LoopWeighting(Fixed([Task("a"), Task("b")], {"a": 2.0}))
        >>> losses = [torch.tensor(1.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)]
        >>> loop.loss(nn.Linear(1, 1), losses)
        tensor(5., grad_fn=<AddBackward0>)
        >>> loop.weights
        tensor([2., 1.])
    """

    def __init__(self, weighting: Weighting, lr: float = 1e-3) -> None:
        if isinstance(weighting, ObservesTraces):
            raise ConfigError(
                f"The weighting {type(weighting).__name__} needs the outputs of the model, which the loop of another library does not give; choose another weighting, such as LRAnnealing."
            )
        self.weighting = weighting
        self.optimizers = OwnOptimizers(weighting, partial(torch.optim.Adam, lr=lr))
        self.weights = torch.ones(len(weighting.tasks))
        self.losses = torch.zeros(len(weighting.tasks))
        self.parameters: Parameters | None = None

    def loss(self, model: nn.Module, losses: Sequence[Tensor]) -> Tensor:
        """Return the loss to call ``backward`` on; its value is the weighting's objective.

        Args:
            model: The model, in which the shared parameters lie.
            losses: One differentiable scalar per task.
        """
        weighting = self.weighting
        self.losses = torch.stack([loss.detach() for loss in losses])
        norms = None
        measures = not weighting.is_frozen
        if measures and isinstance(weighting, ObservesNorms | ObservesGradients):
            self.parameters = self.parameters or Parameters.from_losses(model, losses)
        if measures and isinstance(weighting, ObservesGradients) and weighting.measures_now():
            assert self.parameters is not None
            weighting.observe_gradients(*self.parameters.sizes(losses, range(len(losses))))
        if measures and isinstance(weighting, ObservesNorms):
            assert self.parameters is not None
            norms = self.parameters.norms(losses, range(len(losses)))
            if weighting.norms_come_first:
                weighting.observe_norms(norms, self.losses)
        self.weights, objective = weighting.weigh(self.losses)
        if (
            norms is not None
            and isinstance(weighting, ObservesNorms)
            and not weighting.norms_come_first
        ):
            weighting.observe_norms(norms, self.losses)
        weighted = (self.weights * torch.stack(list(losses))).sum()
        return weighted + (objective - weighted.detach())

    def begin_epoch(self, done: float) -> None:
        """Begin an epoch.

        Args:
            done: The share of the run, 0 to 1, that is over.
        """
        self.optimizers.begin_epoch(min(1.0, done))
        if isinstance(self.weighting, KeepsLosses):
            self.weighting.begin_epoch()

    def after_update(self, recompute: Callable[[], Sequence[Tensor]]) -> None:
        """Let the weighting learn, once the model's parameters have moved.

        Args:
            recompute: Returns the losses of the same batch again.
        """
        if isinstance(self.weighting, ObservesLosses) and not self.weighting.is_frozen:
            with torch.no_grad():
                self.weighting.observe_losses(self.losses, torch.stack(list(recompute())))
        self.optimizers.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the weighting and of its optimizer."""
        return {
            "weighting": self.weighting.state_dict(),
            "optimizers": self.optimizers.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`state_dict`."""
        self.weighting.load_state_dict(state["weighting"])
        self.optimizers.load_state_dict(state["optimizers"])
