"""A batch of which every process of a run has some rows, with the losses of the whole batch."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from mtl_runner.data.dataset import Split, StandIn
from mtl_runner.experiment.forward import ForwardPass, ForwardResult, RandomState
from mtl_runner.gradients.door import BatchLosses, SumOverRanks
from mtl_runner.gradients.loss_scale import LossScale
from mtl_runner.likelihood.base import mass_of, shares_of


def forward_of_shared_batch(
    forward_pass: ForwardPass,
    rows: Split,
    over_ranks: SumOverRanks,
    *,
    recompute: bool = False,
    scale: LossScale | None = None,
) -> ForwardResult:
    """Return the result of a training step's batch, from the rows of it that this process has.

    A loss of the batch is the sum of the processes' losses, each times its share: what its mean
    divides by (labelled entries, class weights, rows), over the same number of the batch. Losses
    and numbers of all tasks travel in one message; then gradients simply add up, at the door.

    Args:
        forward_pass: The forward pass.
        rows: Inputs and targets of this process.
        over_ranks: Adds up over the processes.
        recompute: Whether the losses can be recomputed afterwards.
        scale: The scale of half precision; None: none.

    Returns:
        The losses, with the graphs of this process's shares; the numbers are those of the batch,
        and the same in all processes.
    """
    likelihood = forward_pass.likelihood
    # Taken before the pass, which moves the random states on.
    random = RandomState(forward_pass.device) if recompute else None
    result: ForwardResult = forward_pass.of_rows(rows)
    result.batch = rows
    losses = result.losses
    assert isinstance(losses, list)
    counts = likelihood.loss_counts(rows.targets, len(rows))
    if isinstance(rows, StandIn):
        counts.zero_()
    mass = mass_of(counts)
    measured = [(result.values, mass), (result.standard, counts[:, 0])]
    if result.nll is not None:
        measured.append((result.nll, mass))
    # The loss of a row that counts nothing may be infinite.
    terms = [torch.where(m > 0, value.double() * m, 0.0) for value, m in measured]
    sums = over_ranks.ranks.sum(torch.stack([*counts.unbind(1), *terms]))
    total = sums[:3].T
    shares = shares_of(mass, mass_of(total)).to(losses[0].dtype)
    masses = [mass_of(total), total[:, 0], mass_of(total)]
    means = [
        shares_of(value, divisor).to(losses[0].dtype)
        for value, divisor in zip(sums[3:], masses, strict=False)
    ]

    def shared(losses: list[Tensor], values: Tensor | None = None) -> BatchLosses:
        """Return losses of this process as its shares of those of the batch."""
        parts = [loss * share for loss, share in zip(losses, shares.unbind(), strict=True)]

        def summed() -> Tensor:
            return over_ranks.ranks.sum(torch.stack([part.detach() for part in parts]))

        return BatchLosses(
            summed if values is None else lambda: values,
            lambda: [parts],
            len(parts),
            scale,
            keeps_graphs=True,
            over_ranks=over_ranks,
        )

    result.losses = shared(losses, means[0])
    result.values, result.standard = means[0], means[1]
    result.nll = means[2] if result.nll is not None else None
    if random is not None:
        again = partial(forward_pass.losses_again, rows, random)
        result.recompute = lambda: shared(again())
    return result
