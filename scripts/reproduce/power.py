"""How many seeds does a comparison need? Counted in simulated studies, by the rules of the verdict.

    python scripts/reproduce/power.py > docs/tables/power.csv

It prints, for a method that is better than everything else by so much, the least number of final
seeds with which 80 % of studies say so (*helps*, *static weights suffice* or *better than equal
weights*). There are four more methods, and the best fixed weights as a study's tuning chose them,
all as good as equal weights; the logarithm of a loss is normal over seeds. It takes two minutes.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from false_verdicts import FAVOURABLE
from simulated_studies import Cell, studies

from mtl_runner.results.verdict.judge import MARGIN, verdicts
from mtl_runner.results.verdict.verdict import FEWEST
from mtl_runner.study.extent import POWER, detectable

COMMAND = "python scripts/reproduce/power.py"
STUDIES = 500
MOST = 100  # seeds; more are not simulated
OTHERS = 4  # methods that do nothing
VARIATIONS = (0.01, 0.02, 0.05, 0.1, 0.2)  # standard deviation of a loss over seeds, relative to it
CORRELATIONS = (0.0, 0.5)  # of the losses of two strategies with the same seed
# Effects and margins: an effect that is no larger than the margin is never said to be one.
EFFECTS = ((0.02, MARGIN), (0.02, MARGIN / 2), (0.05, MARGIN), (0.1, MARGIN))


@dataclass(frozen=True)
class Question:
    """A method whose advantage a study shall find.

    Attributes:
        effect: By how much it is better, as a fraction of the loss.
        margin: The relative difference that is of no interest.
        variation: The standard deviation of a loss over seeds, relative to the loss.
        correlation: Of the losses of two strategies with the same seed.
    """

    effect: float
    margin: float
    variation: float
    correlation: float

    @property
    def is_answerable(self) -> bool:
        """Whether the effect lies beyond the margin."""
        return self.effect > self.margin

    def found(self, seeds: int, count: int) -> float:
        """Return the share of simulated studies that say that the method is better.

        Args:
            seeds: The number of final seeds.
            count: The number of studies.
        """
        cell = Cell(
            "power",
            seeds=seeds,
            correlation=self.correlation,
            variation=self.variation,
            methods=(-self.effect, *(0.0,) * OTHERS),
            fixed=(0.0,),
        )
        (method, *_) = (c.name for c in cell.candidates if c.role == "strategy")
        said = sum(
            verdict.strategy == method and verdict.kind in FAVOURABLE
            for evidence in studies(cell, count)
            for verdict in verdicts(evidence, self.margin)
        )
        return said / count

    def arithmetic(self) -> int | None:
        """Return the number of seeds by the rule of ``study.seeds=auto``; None above ``MOST``.

        That is for one strategy alone, so the correction for several costs some more.
        """
        beyond = math.log1p(-self.margin) - math.log1p(-self.effect)
        noise = self.variation * math.sqrt(2 * (1 - self.correlation))
        enough = (n for n in range(FEWEST, MOST + 1) if detectable(n) * noise <= beyond)
        return next(enough, None)

    def seeds(self, count: int) -> int | None:
        """Return the least number of seeds that is enough; None if ``MOST`` are not.

        Args:
            count: The number of studies that are simulated at each number of seeds.
        """
        enough, too_few = self.arithmetic(), FEWEST - 1
        if enough is None:
            return None
        while self.found(enough, count) < POWER:
            if enough == MOST:
                return None
            too_few, enough = enough, min(math.ceil(1.2 * enough), MOST)
        while enough - too_few > 1:
            between = (too_few + enough) // 2
            if self.found(between, count) < POWER:
                too_few = between
            else:
                enough = between
        return enough


def row(effect: float, margin: float, correlation: float, count: int) -> list[str]:
    """Return a row of the table.

    Args:
        effect: By how much the method is better.
        margin: The relative difference that is of no interest.
        correlation: Of the losses of two strategies with the same seed.
        count: The number of studies that are simulated at each number of seeds.
    """
    cells = []
    for variation in VARIATIONS:
        question = Question(effect, margin, variation, correlation)
        seeds = question.seeds(count) if question.is_answerable else None
        beyond = f"> {MOST}" if question.is_answerable else "never"
        cells.append(beyond if seeds is None else str(seeds))
    return [f"{100 * effect:g}", f"{100 * margin:g}", f"{correlation:g}", *cells]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return the table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ["better by %", "margin %", "correlation"]
    writer.writerow([*columns, *(f"CV {100 * variation:g} %" for variation in VARIATIONS)])
    writer.writerows(rows)
    return text.getvalue()


def main(count: int) -> None:
    """Print the table."""
    rows = [
        row(effect, margin, correlation, count)
        for (effect, margin), correlation in itertools.product(EFFECTS, CORRELATIONS)
    ]
    print(f"# {COMMAND}")
    print(table(rows), end="")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=STUDIES, help="simulated at each number")
    main(parser.parse_args().studies)
