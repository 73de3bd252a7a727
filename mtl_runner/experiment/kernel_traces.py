"""The diagonals of the tasks' neural tangent kernels over a batch, exact and row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap

from mtl_runner.data.dataset import Split, StandIn
from mtl_runner.errors import ConfigError
from mtl_runner.errors.messages import out_of_memory
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.experiment.functional import pure
from mtl_runner.gradients.ranks import Ranks
from mtl_runner.tasks.task import Task

# How many numbers of gradients are in memory at once.
LARGEST = 2**24


def kernel_traces(
    forward_pass: ForwardPass,
    batch: Split,
    tasks: Sequence[Task],
    ranks: Ranks | None = None,
) -> Tensor:
    """Return the mean of the diagonal of each task's neural tangent kernel.

    An entry of the diagonal is the squared length of the gradient of one output for one labelled
    row, with respect to all trained parameters of the model; of a loss term with residuals, that of
    the residual at one of its points. The model is in evaluation mode.

    Args:
        forward_pass: The forward pass.
        batch: The rows and points of the batch, of this process.
        tasks: The tasks; those without a labelled row have 0.
        ranks: The processes that share the batch; None: this one has all of it.

    Returns:
        The means ``[T]``.

    Raises:
        ConfigError: If ``torch.func`` cannot take the model row by row.

    Example:
        >>> from mtl_runner.likelihood import Standard
        >>> tasks = [Task("a", size=1)]
        >>> class Line(torch.nn.Linear):
        ...     def forward(self, inputs):
        ...         return {"a": super().forward(inputs)}
        >>> batch = Split(torch.tensor([[2.0], [4.0]]), {"a": torch.zeros(2, 1)})
        >>> kernel_traces(ForwardPass(Line(1, 1), Standard(tasks)), batch, tasks)  # 1 + x²
        tensor([11.])
    """
    training = forward_pass.model.training
    forward_pass.model.eval()
    try:
        squares = _squares_of_outputs(forward_pass, batch, tasks)
        squares |= {
            task.name: _squares_of_residuals(forward_pass, batch, task)
            for task in tasks
            if task.residuals is not None
        }
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")
        raise ConfigError(
            f"The weighting NTK takes the Jacobian of a model row by row, which torch.func cannot do with this one ({reason}); choose another weighting."
        ) from error
    finally:
        forward_pass.model.train(training)
    sums = []
    for task in tasks:
        of_task = squares[task.name]
        labelled = (
            torch.ones(len(of_task), dtype=torch.bool, device=of_task.device)
            if task.residuals is not None
            else task.labelled(batch.targets[task.name])
        )
        if isinstance(batch, StandIn):
            labelled = torch.zeros_like(labelled)
        total = torch.where(labelled[:, None], of_task, 0.0).sum(dtype=torch.float64)
        sums += [total, labelled.sum() * of_task.shape[1]]
    table = torch.stack([number.double() for number in sums])
    if ranks is not None:
        table = ranks.sum(table)
    totals, counts = table.view(-1, 2).T
    like = next(iter(squares.values()))
    means: Tensor = (totals / counts.clamp(min=1)).to(like.dtype)
    return means


def _squares_of_outputs(
    forward_pass: ForwardPass, batch: Split, tasks: Sequence[Task]
) -> dict[str, Tensor]:
    """Return the squared lengths of the gradients of all outputs, ``[N, outputs]`` by task."""
    names = [task.name for task in tasks if task.residuals is None]
    if not names:
        return {}
    sizes: list[int] = []

    def outputs(of: ForwardPass, row: Split) -> Tensor:
        answers = of.outputs(row.inputs)
        sizes[:] = [answers[name].numel() for name in names]
        return torch.cat([answers[name].flatten() for name in names])

    lengths = _squared_lengths(forward_pass, Split(batch.inputs, {}), outputs)
    return dict(zip(names, torch.split(lengths, sizes, 1), strict=True))


def _squares_of_residuals(forward_pass: ForwardPass, batch: Split, task: Task) -> Tensor:
    """Return the squared lengths of the gradients of a term's residuals, ``[N, residuals]``."""
    name = task.name
    if task.points is None:
        rows = Split(batch.inputs, batch.targets)
    else:
        rows = Split(batch.points[name], {}, points={name: batch.points[name]})
    return _squared_lengths(forward_pass, rows, lambda of, row: of.residuals(task, row).flatten())


def _squared_lengths(
    forward_pass: ForwardPass, rows: Split, numbers_of: Callable[[ForwardPass, Split], Tensor]
) -> Tensor:
    """Return the squared lengths of the gradients of some numbers of every row, ``[N, k]``.

    Args:
        forward_pass: The forward pass.
        rows: The rows.
        numbers_of: From the forward pass and one row to its numbers ``[k]``.
    """
    model = forward_pass.model
    trained = {
        f"model.{name}": p.detach() for name, p in model.named_parameters() if p.requires_grad
    }
    constants: dict[str, Tensor] = {
        f"model.{name}": tensor.detach()
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if f"model.{name}" not in trained
    }
    with torch.no_grad():
        first = numbers_of(forward_pass, rows.apply(lambda tensor: tensor[:1]))
    parameters = sum(parameter.numel() for parameter in trained.values())
    # Rows at once, and numbers of a row at once.
    at_once = max(1, LARGEST // max(1, parameters * len(first)))
    chunk = max(1, min(len(first), LARGEST // max(1, parameters)))
    basis = torch.eye(len(first), dtype=first.dtype, device=first.device)
    of_parameters = pure(forward_pass, numbers_of)

    def of_row(inputs: Any, targets: Any, points: Any) -> Tensor:
        row = Split(inputs, targets, points=points).apply(lambda tensor: tensor[None])

        def numbers(moved: Mapping[str, Tensor]) -> Tensor:
            of_row: Tensor = of_parameters({**moved, **constants}, row)
            return of_row

        _, backward = vjp(numbers, trained)  # type: ignore[misc]

        def squared_length(direction: Tensor) -> Tensor:
            (gradients,) = backward(direction)
            return torch.stack([g.square().sum() for g in gradients.values()]).sum()

        squared: Tensor = vmap(squared_length, chunk_size=chunk)(basis)
        return squared

    lengths: Tensor = vmap(of_row, chunk_size=at_once)(
        rows.inputs, dict(rows.targets), dict(rows.points)
    )
    return lengths
