"""The answers of a study of transfer, in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mtl_runner.errors.words import counted, duration
from mtl_runner.results.records.evidence import DatasetEvidence
from mtl_runner.results.statistics.differences import percentage, relative_changes
from mtl_runner.results.statistics.paired import Paired, paired
from mtl_runner.results.verdict.verdict import FEWEST
from mtl_runner.results.verdict.wording import (
    against,
    interval_words,
    paired_words,
    percent,
    worth,
)


@dataclass(frozen=True)
class Cost:
    """The cost of tuning in a study of transfer, beside that of tuning the wide model alone.

    Attributes:
        narrow: The seconds of every tuning run on the narrow model; NaN where one did not finish.
        wide: The seconds of every tuning run on the wide model, alike.

    Example:
        >>> cost = Cost([1.0, 1.0, 1.0, 1.0], [10.0, 10.0])
        >>> cost.spent, cost.saved_from
        (24.0, 40.0)
    """

    narrow: Sequence[float]
    wide: Sequence[float]

    @property
    def spent(self) -> float:
        """The seconds of all tuning runs; one that failed is taken to cost what others do."""
        return _mean(self.narrow) * len(self.narrow) + _mean(self.wide) * len(self.wide)

    @property
    def saved_from(self) -> float:
        """The seconds of the narrow model's tuning runs, had they been made on the wide one."""
        return _mean(self.wide) * len(self.narrow)

    @property
    def sentence(self) -> str:
        """The cost in words."""
        runs = f"Tuning took {counted(len(self.narrow), 'narrow run')} and {counted(len(self.wide), 'wide run')}"
        if not (math.isfinite(self.spent) and self.saved_from > 0):
            return f"{runs}."
        share = self.spent / self.saved_from
        cost = (
            f"{percent(share)} of that"
            if share < 1
            else "more than that: narrow runs are hardly cheaper here"
        )
        return (
            f"{runs}, {duration(self.spent)} of training; as many trials of all weightings on the wide model would have taken about "
            f"{duration(self.saved_from)}, so the transfer cost {cost}."
        )


def weights_sentence(versus: Paired | None, weights: str, margin: float, replicate: str) -> str:
    """Return whether the narrow model's weights beat equal weights on the wide one.

    Args:
        versus: Their relative difference to equal weights, below 0 if they are better; None where
            it is unknown.
        weights: The weights, in words.
        margin: The relative difference that is of no interest.
        replicate: What a pair has in common, such as ``seed``.

    Example:
        >>> changes = paired([-0.11, -0.1, -0.09])
        >>> weights_sentence(changes, "fixed a=2", 0.02, "seed")  # doctest: +ELLIPSIS
        'The weights transfer: fixed a=2, the best of the narrow model, are 10 % better than equal ...
    """
    named = f"{weights}, the best of the narrow model,"
    if versus is None or versus.count < FEWEST or not versus.known:
        few = counted(0 if versus is None else versus.count, f"paired {replicate}")
        return f"Whether the weights transfer is undecided with {few}: {named} could not be compared with equal weights on the wide one."
    better, worse = versus.high < -margin, versus.low > margin
    within = -margin <= versus.low90 and versus.high90 <= margin
    same = within and not better and not worse
    words = (
        f"{named} are {against(versus, 'loss')} equal weights on the wide one, each at its best learning rate "
        f"({interval_words(versus, 'loss', narrow=same)}, {paired_words(versus.count, replicate)})"
    )
    if better:
        return f"The weights transfer: {words}."
    if worse:
        return f"The weights do not transfer: {words}."
    if same:
        return f"The weights gain nothing on the wide model: {words}."
    return f"Whether the weights gain anything on the wide model is undecided: {words}."


def rate_sentence(narrow: float, wide: float, versus: Paired | None, rates: int) -> str:
    """Return whether the narrow model's learning rate is the best one of the wide model, too.

    Args:
        narrow: The narrow model's rate for the chosen weights.
        wide: The wide model's.
        versus: The relative difference of the runs at the narrow model's rate to those at the wide
            one's; None where there are none.
        rates: The number of rates that were tried on the wide model.

    Example:
        >>> rate_sentence(0.01, 0.01, None, 3)
        'The learning rate transfers: of 3 around it, the 0.01 of the narrow model is the best of the wide one, too.'
    """
    if rates == 1:
        return f"Whether the learning rate transfers was not tried: the wide model took the {narrow:.3g} of the narrow one (study.rates=1)."
    if math.isclose(narrow, wide, rel_tol=1e-6):
        return f"The learning rate transfers: of {rates} around it, the {narrow:.3g} of the narrow model is the best of the wide one, too."
    words = f"{narrow:.3g} was best on the narrow model, {wide:.3g} on the wide one"
    if versus is None or not versus.known:
        return f"The learning rate moved: {words}."
    return (
        f"The learning rate moved: {words}; with the narrow model's the result is {worth(versus.mean, 'loss')} "
        f"({interval_words(versus, 'loss')})."
    )


def difference(data: DatasetEvidence, name: str, reference: str) -> Paired | None:
    """Return the relative difference of two strategies in pairs; None where one has no runs.

    Args:
        data: The numbers of the study.
        name: A strategy.
        reference: The one that it is compared with.
    """
    strategies: Mapping[str, object] = data.by_name
    if name not in strategies or reference not in strategies:
        return None
    changes = relative_changes(data, data.by_name[name], data.by_name[reference])
    return percentage(paired(changes.values(), tested=False)) if changes else None


def _mean(seconds: Sequence[float]) -> float:
    known = [value for value in seconds if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
