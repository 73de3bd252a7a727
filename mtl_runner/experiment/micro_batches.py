"""A batch that goes through the model part by part, with the result of the whole batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mtl_runner.data.dataset import Split, StandIn
from mtl_runner.experiment.forward import ForwardPass, ForwardResult, RandomState
from mtl_runner.gradients.door import BatchLosses, SumOverRanks
from mtl_runner.gradients.loss_scale import LossScale
from mtl_runner.likelihood.base import mass_of, shares_of


class MicroBatches:
    """The losses of a batch of which only some rows fit through the model at once.

    A loss of the batch is the sum of the parts' losses, each times its share: what the part's mean
    divides by (labelled entries, class weights, rows), over the same number of the batch. Gradients
    add up in the same way, so they come part by part, and the graph of one part lives at a time.
    The first pass over the parts is without graphs if somebody asks for the values before; every
    later one draws the same random numbers and leaves BatchNorm's statistics alone.

    It has the attributes of a :class:`~mtl_runner.experiment.forward.ForwardResult`, which are
    computed when they are asked for.

    Args:
        forward_pass: The forward pass.
        batch: The whole batch.
        rows: Rows of a part; the last one may be smaller.
        scale: The scale of half precision; None: none.
        over_ranks: Adds up over the processes of a run, each of which has some rows of the batch;
            None: this one has them all.

    Attributes:
        losses: The losses of the batch, for the door of gradients.
        batch: The whole batch.

    Example:
        >>> from mtl_runner.likelihood import Standard
        >>> from mtl_runner.models import MLP
        >>> from mtl_runner.tasks.task import Task
        >>> tasks = [Task("a", size=1)]
        >>> batch = Split(torch.ones(5, 3), {"a": torch.zeros(5, 1)})
        >>> forward_pass = ForwardPass(MLP(tasks, (3,), hidden=(4,)), Standard(tasks))
        >>> parts = MicroBatches(forward_pass, batch, rows=2)
        >>> torch.allclose(parts.values, forward_pass(batch.inputs, batch.targets).values)
        True
    """

    def __init__(
        self,
        forward_pass: ForwardPass,
        batch: Split,
        rows: int,
        scale: LossScale | None = None,
        over_ranks: SumOverRanks | None = None,
    ) -> None:
        self.forward_pass, self.parts = forward_pass, list(batch.batches(rows))
        self.batch = batch
        self.over_ranks = over_ranks
        likelihood = forward_pass.likelihood
        # What the means of each part divide by, [parts, T, 3].
        counts = torch.stack(
            [likelihood.loss_counts(part.targets, len(part)) for part in self.parts]
        )
        if isinstance(batch, StandIn):
            counts.zero_()
        total = counts.sum(0)
        if over_ranks is not None:
            over_ranks.ranks.sum(total)
        self.shares = shares_of(mass_of(counts), mass_of(total))
        self.standard_shares = shares_of(counts[..., 0], total[..., 0])
        self.losses = BatchLosses(
            lambda: self.values,
            self._passes,
            tasks=len(likelihood.tasks),
            scale=scale,
            over_ranks=over_ranks,
        )
        # Of the first pass over the parts: the random state before each, and what it measured.
        self._random: list[RandomState] = []
        self._measured: dict[str, Tensor] = {}
        self._is_summed = over_ranks is None

    @property
    def values(self) -> Tensor:
        """The losses ``[T]`` of the whole batch, without a graph."""
        return self._of_first_pass()["values"]

    @property
    def standard(self) -> Tensor:
        """The unweighted standard losses ``[T]`` of the whole batch."""
        return self._of_first_pass()["standard"]

    @property
    def nll(self) -> Tensor | None:
        """The exact negative log-likelihoods ``[T]``; None without a noise scale."""
        return self._of_first_pass().get("nll")

    def recompute(self) -> BatchLosses:
        """Return the losses of the same batch, with the parameters as they are now."""
        return BatchLosses(
            self._values_again, self._passes, tasks=len(self.losses), over_ranks=self.over_ranks
        )

    def _of_first_pass(self) -> dict[str, Tensor]:
        """Return what the first pass measured; it is made now if nobody made it before."""
        if not self._random:
            with torch.no_grad():
                for _ in self._passes():
                    pass
        if not self._is_summed:
            assert self.over_ranks is not None
            sums = self.over_ranks.ranks.sum_together(list(self._measured.values()))
            self._measured = dict(zip(self._measured, sums, strict=True))
            self._is_summed = True
        return self._measured

    def _values_again(self) -> Tensor:
        with torch.no_grad():
            values = torch.stack([torch.stack(part) for part in self._passes()]).sum(0)
            return values if self.over_ranks is None else self.over_ranks.ranks.sum(values)

    def _passes(self) -> Iterator[list[Tensor]]:
        """Yield each part's share of every loss, with a graph unless gradients are switched off."""
        is_first = not self._random
        for i, part in enumerate(self.parts):
            if is_first:
                self._random.append(RandomState(self.forward_pass.device))
                result = self.forward_pass.of_rows(part)
                self._add(i, result)
                losses = result.losses
                del result
            else:
                losses = self.forward_pass.losses_again(part, self._random[i])
            shares = self.shares[i].to(losses[0].dtype)
            yield [loss * share for loss, share in zip(losses, shares, strict=True)]
            del losses  # or its graph would live while the next part is computed

    @torch.no_grad()
    def _add(self, i: int, result: ForwardResult) -> None:
        """Add what a part measured to the numbers of the batch."""
        measured = {
            "values": result.values * self.shares[i].to(result.values.dtype),
            "standard": result.standard * self.standard_shares[i].to(result.standard.dtype),
        }
        if result.nll is not None:
            measured["nll"] = result.nll * self.shares[i].to(result.nll.dtype)
        for name, value in measured.items():
            self._measured[name] = self._measured[name] + value if i else value


#: The losses of a batch that went through the model as a whole, or part by part.
Forward = ForwardResult | MicroBatches
