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

#: The model's outputs by task.
Outputs = dict[str, Tensor]


@dataclass(slots=True)
class ForwardResult:
    """Outputs and losses of one batch.

    Attributes:
        outputs: The model's outputs, by task.
        losses: The losses to train: one differentiable scalar per task, each with a graph of its
            own.
        values: The losses ``[T]`` without a graph.
        standard: The unweighted standard losses ``[T]``, by which runs with different likelihoods
            compare.
        nll: The exact negative log-likelihoods ``[T]``; None without a noise scale.
        recompute: Recomputes the losses of the same batch, with the parameters as they are then;
            None unless asked for.
    """

    outputs: Outputs
    losses: list[Tensor]
    values: Tensor
    standard: Tensor
    nll: Tensor | None = None
    recompute: Callable[[], list[Tensor]] | None = None


class ForwardPass(nn.Module):
    """Runs model and likelihood, for every way of running.

    Training, evaluation, prediction, stacks of replicas and the search for parameters all call it.

    Args:
        model: From inputs to ``{task: output}``.
        likelihood: From outputs and targets to losses.

    Example:
        >>> from mtl_runner.likelihood import Standard
        >>> from mtl_runner.models import MLP
        >>> from mtl_runner.tasks.task import Task
        >>> tasks = [Task("a", size=1), Task("b", size=1)]
        >>> forward_pass = ForwardPass(MLP(tasks, (3,), hidden=(4,)), Standard(tasks))
        >>> targets = {"a": torch.zeros(2, 1), "b": torch.zeros(2, 1)}
        >>> result = forward_pass(torch.zeros(2, 3), targets)
        >>> sorted(result.outputs), result.values.shape
        (['a', 'b'], torch.Size([2]))
    """

    def __init__(self, model: nn.Module, likelihood: Likelihood) -> None:
        super().__init__()
        self.model, self.likelihood = model, likelihood

    def outputs(self, inputs: Inputs) -> Outputs:
        """Return the model's outputs by task."""
        outputs: Outputs = self.model(inputs)
        return outputs

    def forward(self, inputs: Inputs, targets: Mapping[str, Tensor]) -> ForwardResult:
        """Return outputs and losses of a batch, with everything that is recorded of them."""
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
        """Return the result of a training step's batch.

        Args:
            batch: Inputs and targets.
            recompute: Whether the losses can be recomputed afterwards.
        """
        # Made before the pass, which moves the random states on.
        recompute_losses = self._make_recompute(batch) if recompute else None
        result = self.forward(batch.inputs, batch.targets)
        result.recompute = recompute_losses
        return result

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Put the model in eval mode and switch gradients off, within a ``with`` block."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.model.train(training)

    def pure(self) -> Callable[[Any, Any, Any, Any], tuple[Tensor, dict[str, Tensor]]]:
        """Return this pass as a function of tensors, for ``torch.func``.

        Returns:
            A function of (the model's tensors by name, the likelihood's, inputs, targets) that
            returns the losses ``[T]`` and what is recorded beside them, by name.
        """

        def call(
            model: Any, likelihood: Any, inputs: Any, targets: Any
        ) -> tuple[Tensor, dict[str, Tensor]]:
            state = {f"model.{name}": tensor for name, tensor in model.items()} | {
                f"likelihood.{name}": tensor for name, tensor in likelihood.items()
            }
            result: ForwardResult = functional_call(self, state, (inputs, targets))
            measured = {"standard": result.standard} | (
                {} if result.nll is None else {"nll": result.nll}
            )
            return torch.stack(result.losses), measured

        return call

    def _make_recompute(self, batch: Split) -> Callable[[], list[Tensor]]:
        """Return a function that recomputes the batch's losses.

        It uses the same random state, and copies of the buffers (BatchNorm).
        """
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
    """Return the outputs for a whole split, in eval mode.

    Args:
        model: The forward pass.
        split: The rows.
        rows: Number of rows at a time.

    Returns:
        ``{task: outputs [N, ...]}``.
    """
    with model.evaluating():
        parts = [model.outputs(batch.inputs) for batch in split.batches(rows)]
    return {
        name: torch.cat([part[name] for part in parts]) if len(parts) > 1 else parts[0][name]
        for name in parts[0]
    }
