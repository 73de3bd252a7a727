"""The forward pass: from a batch to outputs and losses. The only place that calls the model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mtl_runner.data.dataset import Split
from mtl_runner.data.inputs import Inputs, InputTensors
from mtl_runner.data.prepare import AnySplit
from mtl_runner.gradients.door import BatchLosses, Losses
from mtl_runner.gradients.loss_scale import LossScale
from mtl_runner.likelihood import Likelihood
from mtl_runner.tasks.task import Task, term_key

#: The model's outputs by task.
Outputs = dict[str, Tensor]

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(slots=True)
class ForwardResult:
    """Outputs and losses of one batch.

    Attributes:
        outputs: The model's outputs, by task.
        losses: The losses to train: one differentiable scalar per task, each with a graph of its
            own; in half precision what the door of gradients takes instead.
        values: The losses ``[T]`` without a graph.
        standard: The unweighted standard losses ``[T]``, by which runs with different likelihoods
            compare.
        nll: The exact negative log-likelihoods ``[T]``; None without a noise scale.
        recompute: Recomputes the losses of the same batch, with the parameters as they are then;
            None unless asked for.
        batch: Inputs and targets, as far as this process has them; None outside of a step.
    """

    outputs: Outputs
    losses: Losses
    values: Tensor
    standard: Tensor
    nll: Tensor | None = None
    recompute: Callable[[], Losses] | None = None
    batch: Split | None = None


class ForwardPass(nn.Module):
    """Runs model and likelihood, for every way of running.

    Training, evaluation, prediction, stacks of replicas and the search for parameters all call it.

    Args:
        model: From inputs to ``{task: output}``.
        likelihood: From outputs and targets to losses.
        precision: ``trainer.precision``. In half precision the model alone computes in it; outputs
            and losses are float32.

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

    def __init__(
        self, model: nn.Module, likelihood: Likelihood, precision: str = "float32"
    ) -> None:
        super().__init__()
        self.model, self.likelihood, self.precision = model, likelihood, precision

    def outputs(self, inputs: Inputs, buffers: Mapping[str, Tensor] | None = None) -> Outputs:
        """Return the model's outputs by task.

        Args:
            inputs: The inputs.
            buffers: Buffers that are used, and changed, instead of the model's own; None: those.
        """
        if self.precision in HALF:
            with torch.autocast(self.device.type, HALF[self.precision]):
                outputs = self._call_model(inputs, buffers)
            return {name: output.float() for name, output in outputs.items()}
        if self.precision == "float64":
            inputs = InputTensors(inputs).map(doubled)
        return self._call_model(inputs, buffers)

    def _call_model(self, inputs: Inputs, buffers: Mapping[str, Tensor] | None) -> Outputs:
        outputs: Outputs = (
            self.model(inputs)
            if buffers is None
            else functional_call(self.model, dict(buffers), (inputs,))
        )
        return outputs

    def term_losses(self, batch: Split) -> Outputs:
        """Return the losses of the loss terms that see the model, as they stand among the outputs.

        Args:
            batch: Inputs, targets, and the points of the terms that have some.
        """
        return {
            term_key(task.name): self._term_value(task.loss_term, task, batch)
            for task in self.model_terms
        }

    def term_values(self, task: Task, batch: Split) -> Outputs:
        """Return the loss and the metrics of a loss term that sees the model, by name.

        Args:
            task: The loss term's task.
            batch: As in :meth:`term_losses`.
        """
        functions = {"loss": task.loss_term, **task.term_metrics}
        return {name: self._term_value(f, task, batch) for name, f in functions.items()}

    def residuals(self, task: Task, batch: Split) -> Tensor:
        """Return the residuals of a loss term that sees the model, on its own points or rows.

        Args:
            task: The loss term's task, which has residuals.
            batch: As in :meth:`term_losses`.
        """
        return self._term_value(task.residuals, task, batch)

    def _term_value(
        self, function: Callable[[Any, Any], Tensor] | None, task: Task, batch: Split
    ) -> Tensor:
        """Return the value of a loss term, or of one of its metrics, on its own points or rows."""
        assert function is not None
        if task.points is not None:
            batch = Split(batch.points[task.name], {})
        # An equation's second derivatives are no sums that half precision would do for.
        return function(self.model, batch.apply(doubled) if self.precision == "float64" else batch)

    @cached_property
    def model_terms(self) -> list[Task]:
        """The tasks whose loss is a function of (model, batch)."""
        return [task for task in self.likelihood.tasks if task.sees_model]

    def with_terms(self, batch: Split, buffers: Mapping[str, Tensor] | None = None) -> Outputs:
        """Return the outputs of a batch, and the losses of the terms that see the model.

        Args:
            batch: Inputs, targets and points.
            buffers: As in :meth:`outputs`; the terms move those of the model.
        """
        outputs = self.outputs(batch.inputs, buffers)
        return outputs | self.term_losses(batch) if self.model_terms else outputs

    def forward(
        self,
        inputs: Inputs,
        targets: Mapping[str, Tensor],
        points: Mapping[str, Inputs] | None = None,
    ) -> ForwardResult:
        """Return outputs and losses of a batch, with everything that is recorded of them.

        Args:
            inputs: The inputs.
            targets: The targets by task.
            points: The points of the loss terms that have some of their own, by term.
        """
        likelihood = self.likelihood
        outputs = self.with_terms(Split(inputs, dict(targets), points=dict(points or {})))
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

    def of_rows(self, batch: Split) -> ForwardResult:
        """Return outputs and losses of some rows, with the points of their batch."""
        return self.forward(batch.inputs, batch.targets, batch.points)

    def of_batch(
        self, batch: Split, *, recompute: bool = False, scale: LossScale | None = None
    ) -> ForwardResult:
        """Return the result of a training step's batch.

        Args:
            batch: Inputs and targets.
            recompute: Whether the losses can be recomputed afterwards.
            scale: The scale of half precision; None: none.
        """
        # Taken before the pass, which moves the random states on.
        random = RandomState(self.device) if recompute else None
        result = self.of_rows(batch)
        result.batch = batch
        if random is not None:
            result.recompute = partial(self.losses_again, batch, random)
        if scale is not None:
            values, losses = result.values, result.losses
            assert isinstance(losses, list)
            result.losses = BatchLosses(
                lambda: values, lambda: [losses], len(losses), scale, keeps_graphs=True
            )
        return result

    def losses_again(self, batch: Split, random: RandomState) -> list[Tensor]:
        """Return the losses of a batch once more, with the parameters as they are now.

        Args:
            batch: The batch.
            random: The random state before its first pass, which is used again. The statistics of
                BatchNorm do not move.
        """
        with random.again():
            buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
            return self.likelihood.losses(self.with_terms(batch, buffers), batch.targets)

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.model.parameters()).device

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

    def pure(self) -> Callable[[Any, Any, Any], tuple[Tensor, dict[str, Tensor]]]:
        """Return this pass as a function of tensors, for ``torch.func``.

        Returns:
            A function of (the model's tensors by name, the likelihood's, and a batch as
            (inputs, targets, points)) that returns the losses ``[T]`` and what is recorded beside
            them, by name.
        """

        def call(model: Any, likelihood: Any, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
            state = {f"model.{name}": tensor for name, tensor in model.items()} | {
                f"likelihood.{name}": tensor for name, tensor in likelihood.items()
            }
            result: ForwardResult = functional_call(self, state, batch)
            measured = {"standard": result.standard} | (
                {} if result.nll is None else {"nll": result.nll}
            )
            assert isinstance(result.losses, list)
            return torch.stack(result.losses), measured

        return call


class RandomState:
    """The random state of torch at one moment, from which a forward pass can be repeated.

    Args:
        device: The device of the model; the state of its GPU is included.

    Example:
        >>> state = RandomState(torch.device("cpu"))
        >>> first = torch.rand(2)
        >>> with state.again():
        ...     second = torch.rand(2)
        >>> torch.equal(first, second)
        True
    """

    def __init__(self, device: torch.device) -> None:
        self.devices = [device] if device.type == "cuda" else []
        self.cpu = torch.get_rng_state()
        self.cuda = [torch.cuda.get_rng_state(d) for d in self.devices]

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """Draw from this state within a ``with`` block; afterwards all is as it was before."""
        with torch.random.fork_rng(devices=self.devices):
            torch.set_rng_state(self.cpu)
            for d, state in zip(self.devices, self.cuda, strict=True):
                torch.cuda.set_rng_state(state, d)
            yield


def doubled(tensor: Tensor) -> Tensor:
    """Return a tensor of floats in double precision, and any other as it is.

    Example:
        >>> doubled(torch.ones(1)), doubled(torch.tensor([1]))
        (tensor([1.], dtype=torch.float64), tensor([1]))
    """
    return tensor.double() if tensor.is_floating_point() else tensor


def split_outputs(model: ForwardPass, split: AnySplit, rows: int) -> Outputs:
    """Return the outputs for a whole split, in eval mode.

    Args:
        model: The forward pass.
        split: The rows.
        rows: Number of rows at a time.

    Returns:
        ``{task: outputs [N, ...]}``.
    """
    return split_outputs_and_targets(model, split, rows)[0]


def split_outputs_and_targets(
    model: ForwardPass, split: AnySplit, rows: int
) -> tuple[Outputs, dict[str, Tensor]]:
    """Return the outputs for a whole split, in eval mode, and its targets.

    Args:
        model: The forward pass.
        split: The rows.
        rows: Number of rows at a time.

    Returns:
        ``{task: outputs [N, ...]}`` and ``{task: target [N, ...]}``.
    """
    outputs: list[Outputs] = []
    targets: list[dict[str, Tensor]] = []
    with model.evaluating():
        for batch in split.batches(rows):
            outputs.append(model.outputs(batch.inputs))
            targets.append(batch.targets)
    return joined(outputs), joined(targets)


def joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tensors of all parts one after another, by name.

    Args:
        parts: At least one part.

    Example:
        >>> joined([{"a": torch.zeros(2)}, {"a": torch.ones(1)}])
        {'a': tensor([0., 0., 1.])}
    """
    return {
        name: torch.cat([part[name] for part in parts]) if len(parts) > 1 else parts[0][name]
        for name in parts[0]
    }
