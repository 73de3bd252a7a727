"""Classes of other packages that need a trainer around them, for mtl-conform.

Each runs the package's own code; what is here stands for the model and the loop. From this folder:
``mtl-conform foreign.LibMTLGradNorm --as gradnorm``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn


def _libmtl(name: str, **options: Any) -> type[nn.Module]:
    """Return a weighting of LibMTL with what its trainer and its architecture would hold."""

    class Weighting(getattr(_weighting_of_libmtl(), name)):  # type: ignore[misc]
        def __init__(self, num_tasks: int, shared_parameter: nn.Parameter) -> None:
            super().__init__()
            self.task_num, self.device, self.rep_grad = num_tasks, "cpu", False
            self.shared, self.epoch, self.sums = [shared_parameter], 0, []
            # The mean losses of every epoch; a trainer keeps them outside its checkpoint, too.
            self.train_loss_buffer = torch.zeros(num_tasks, 2000).numpy()
            self.init_param()

        def get_share_params(self) -> list[nn.Parameter]:
            return self.shared

        def zero_grad_share_params(self) -> None:
            # To zeros, as in the releases of PyTorch that this release of LibMTL was made for.
            for parameter in self.shared:
                parameter.grad = torch.zeros_like(parameter)

        def backward(self, losses: Tensor) -> Any:
            self.sums.append(losses.detach().clone())
            return super().backward(losses, **options)

        def step(self) -> None:
            """Close an epoch, as the trainer does."""
            self.train_loss_buffer[:, self.epoch] = torch.stack(self.sums).mean(0).numpy()
            self.epoch, self.sums = self.epoch + 1, []

    Weighting.__name__ = Weighting.__qualname__ = f"LibMTL{name}"
    return Weighting


def _weighting_of_libmtl() -> ModuleType:
    """Return ``LibMTL.weighting`` without its architectures, which need torchvision."""
    if "LibMTL" not in sys.modules:
        spec = find_spec("LibMTL")
        if spec is None:
            raise ImportError("LibMTL is not installed; install it with: pip install LibMTL")
        sys.modules["LibMTL"] = module = ModuleType("LibMTL")
        module.__path__ = list(spec.submodule_search_locations or ())
    return import_module("LibMTL.weighting")


class RechubUncertainty(nn.Module):
    """The ``uwl`` of torch-rechub's ``MTLTrainer``, which trains on one batch per call.

    The model predicts the square roots of the losses, whose squared error to 0 they then are.
    """

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        trainer = import_module("torch_rechub.trainers").MTLTrainer
        self.model = _Predicts()
        self.trainer = [
            trainer(
                self.model,
                task_types=["regression"] * num_tasks,
                optimizer_params={"lr": 0.0},
                adaptive_params={"method": "uwl"},
            )
        ]
        self.targets = torch.zeros(1, num_tasks)

    def backward(self, losses: Tensor) -> None:
        """Have the trainer train on a batch with these losses."""
        # The root of 0 has no slope.
        self.model.outputs = losses.clamp(min=1e-30).sqrt()[None]
        self.trainer[0].train_one_epoch([({}, self.targets)])


class RechubGradNorm(nn.Module):
    """``gradnorm`` of torch-rechub, with the weights that its ``MTLTrainer`` holds for it."""

    def __init__(self, num_tasks: int, shared_parameter: nn.Parameter, alpha: float = 1.5) -> None:
        super().__init__()
        self.loss_weight = nn.ParameterList(nn.Parameter(torch.ones(1)) for _ in range(num_tasks))
        self.shared, self.alpha, self.first = [shared_parameter], alpha, []

    def backward(self, losses: Tensor) -> None:
        """Call ``gradnorm`` with the losses of a batch."""
        if not self.first:
            self.first = losses.tolist()
        gradnorm = import_module("torch_rechub.utils.mtl").gradnorm
        gradnorm(list(losses), self.loss_weight, self.shared[0], self.first, self.alpha)

    def step(self) -> None:
        """Scale the weights to sum to T, as the trainer does after every step."""
        total = sum(weight.item() for weight in self.loss_weight)
        for weight in self.loss_weight:
            weight.data *= len(self.loss_weight) / total


class SoftAdaptX:
    """SoftAdapt of softadaptx, told the last two losses of every task.

    Args:
        num_tasks: Number of tasks.
    """

    def __init__(self, num_tasks: int) -> None:
        self.adapt = import_module("softadaptx").SoftAdapt(beta=0.1, accuracy_order=1)
        self.tasks, self.history = num_tasks, []

    def __call__(self, losses: Tensor) -> Tensor:
        """Return the weights of the losses ``[T]``; equal ones at the first step."""
        self.history = [*self.history[-1:], losses.tolist()]
        if len(self.history) < 2:
            return torch.full((self.tasks,), 1 / self.tasks)
        points = zip(*self.history, strict=True)
        weights = self.adapt.get_component_weights(*map(list, points), verbose=False)
        return torch.as_tensor(weights)


class _Predicts(nn.Module):
    """A model that returns what it is told to."""

    outputs: Tensor

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        del inputs
        return self.outputs


_LIBMTL = {
    "EW": {},
    "UW": {},
    "DWA": {"T": 2.0},
    "GLS": {},
    "GradNorm": {"alpha": 1.5},
    "MGDA": {"mgda_gn": "none"},
    "PCGrad": {},
    "CAGrad": {"calpha": 0.5, "rescale": 0},
    "GradVac": {"beta": 0.5},
    "IMTL": {},
    "GradDrop": {"leak": 0.0},
}


def __getattr__(name: str) -> Any:
    """Return the class of LibMTL of this name, as ``LibMTLUW``."""
    method = name.removeprefix("LibMTL")
    if method == name or method not in _LIBMTL:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _libmtl(method, **_LIBMTL[method])
