"""The forward pass: from a batch to outputs and losses. The only place that calls the model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mtl_runner.data.dataset import Split
from mtl_runner.data.inputs import Inputs
from mtl_runner.likelihood import Likelihood

Outputs = dict[str, Tensor]


@dataclass(slots=True)
class ForwardResult:
    """What one pass says of a batch.

    Attributes:
        outputs: The model's, by task.
        losses: What is trained: one differentiable scalar per task, each with a graph of its own.
        values: The losses ``[T]`` without a graph.
        standard: The unweighted standard losses ``[T]``, by which runs with different likelihoods compare.
        nll: The exact negative log-likelihoods ``[T]``; None without a noise scale.
        recompute: Recomputes the losses of the same batch, with the parameters as they are then; None unless asked for.
    """

    outputs: Outputs
    losses: list[Tensor]
    values: Tensor
    standard: Tensor
    nll: Tensor | None = None
    recompute: Callable[[], list[Tensor]] | None = None


class ForwardPass(nn.Module):
    """Runs model and likelihood; every way of running asks it: training, evaluation, prediction, stacks, the search for parameters.

    Args:
        model: From inputs to ``{task: output}``.
        likelihood: From outputs and targets to losses.
    """

    def __init__(self, model: nn.Module, likelihood: Likelihood) -> None:
        super().__init__()
        self.model, self.likelihood = model, likelihood

    def outputs(self, inputs: Inputs) -> Outputs:
        """The model's outputs."""
        found: Outputs = self.model(inputs)
        return found

    def forward(self, inputs: Inputs, targets: Mapping[str, Tensor]) -> ForwardResult:
        """Outputs and losses of a batch, with everything that is recorded of them."""
        likelihood = self.likelihood
        outputs = self.outputs(inputs)
        losses = likelihood.losses(outputs, targets)
        values = torch.stack([loss.detach() for loss in losses])
        if not likelihood.has_noise:
            return ForwardResult(outputs, losses, values, values)
        nll = (
            values
            if likelihood.trains_nll
            else likelihood.negative_log_likelihoods(outputs, targets)
        )
        return ForwardResult(
            outputs, losses, values, likelihood.standard_losses(outputs, targets), nll
        )

    def of_batch(self, batch: Split, *, recompute: bool = False) -> ForwardResult:
        """The pass of a training step; ``recompute``: whether its losses can be recomputed afterwards."""
        again = (
            self._recomputing(batch) if recompute else None
        )  # before the pass, which moves the random states on
        found = self.forward(batch.inputs, batch.targets)
        found.recompute = again
        return found

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Eval mode and no gradients, for a while."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.model.train(training)

    def pure(self) -> Callable[[Any, Any, Any, Any], tuple[Tensor, dict[str, Tensor]]]:
        """This very pass as a function of tensors: ``(model's, likelihood's, inputs, targets)`` to losses ``[T]`` and what is recorded beside them."""

        def call(
            model: Any, likelihood: Any, inputs: Any, targets: Any
        ) -> tuple[Tensor, dict[str, Tensor]]:
            state = {f"model.{k}": v for k, v in model.items()} | {
                f"likelihood.{k}": v for k, v in likelihood.items()
            }
            found: ForwardResult = functional_call(self, state, (inputs, targets))
            measured = {"standard": found.standard} | (
                {} if found.nll is None else {"nll": found.nll}
            )
            return torch.stack(found.losses), measured

        return call

    def _recomputing(self, batch: Split) -> Callable[[], list[Tensor]]:
        """A function that recomputes the batch's losses with the same random state, on copies of the buffers (BatchNorm)."""
        device = next(self.model.parameters()).device
        cuda = [device] if device.type == "cuda" else []
        random = torch.get_rng_state()
        cuda_random = [torch.cuda.get_rng_state(d) for d in cuda]

        def recompute() -> list[Tensor]:
            with torch.random.fork_rng(devices=cuda):
                torch.set_rng_state(random)
                for d, state in zip(cuda, cuda_random, strict=True):
                    torch.cuda.set_rng_state(state, d)
                buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
                outputs = functional_call(self.model, buffers, (batch.inputs,))
                return self.likelihood.losses(outputs, batch.targets)

        return recompute


def split_outputs(model: ForwardPass, split: Split, rows: int) -> Outputs:
    """Outputs for all rows of a split, in eval mode, ``rows`` at a time."""
    with model.evaluating():
        parts = [model.outputs(batch.inputs) for batch in split.batches(rows)]
    return {
        name: torch.cat([part[name] for part in parts]) if len(parts) > 1 else parts[0][name]
        for name in parts[0]
    }
