r"""Do weights and learning rates that are tuned on a narrow model hold for a wide one?

    python scripts/reproduce/transfer.py outputs/transfer > docs/tables/transfer.csv
    python scripts/reproduce/transfer.py outputs/transfer --no-train

It trains eight fixed weightings at four or five learning rates with four seeds, for every width of
a network of two hidden layers from 16 to 1024, on three problems, in stacks (about 30 minutes of
one core; a sweep that was stopped goes on). To fit into that time, the problems have 512 or 719
training rows in batches of 32, a run 128 or 138 steps, and there are only four seeds.

A row per problem and width. How its weightings, each at the rate that is best for it there, and its
rates at each weighting, are ranked there and at the largest width; with 95 % intervals by a
bootstrap over the seeds of both. Then what is lost at the largest width by a choice that was made
at this one, and the same for four times this width. All is chosen by validation; losses are of test.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from mtl_runner.experiment.dataset import build_data, trivial_losses
from mtl_runner.results.records.run import Run, find_runs
from mtl_runner.study.weights import fixed_candidates

Values = NDArray[np.float64]
WIDTHS = (16, 32, 64, 128, 256, 512, 1024)
RATES = (0.0005, 0.002, 0.008, 0.032, 0.128)
# Where the largest rate diverges, and the runs are expensive, it is left out.
WIDE, WIDE_RATES = 512, RATES[:-1]
COMPILED = 256
SEEDS = 4
POINTS = 7  # of fixed weights; with two tasks six of them are not equal weights
RESAMPLES = 1000
NARROW = 4  # study.narrow: how many times narrower the proxy of +study=transfer is
SHARED = (
    *("-m", "hydra/launcher=stacked", "weighting=fixed", f"seed=range(0,{SEEDS})"),
    *("trainer.judge=final", "trainer.evaluate_every=8", "data.batch_size=32"),
    *("record.plots=none", "record.checkpoints=none"),
)
# Per problem the options of its data, and its epochs.
PROBLEMS: Mapping[str, tuple[Mapping[str, Any], int]] = {
    "related": (
        {"dim": 20, "sines": 1, "scales": [0.1, 10], "n": 512, "n_val": 500, "n_test": 1000},
        8,
    ),
    "digits": ({"tasks": ["digit", "image"], "val": 0.3, "test": 0.3}, 6),
    "toy_mixed": ({"n": 512, "n_val": 1000, "n_test": 1000}, 8),
}
CLASSES = {
    "related": "mtl_runner.data.Related",
    "digits": "mtl_runner.data.Digits",
    "toy_mixed": "mtl_runner.data.ToyMixed",
}
COLUMNS = (
    "problem",
    "width",
    "weights: Spearman",
    "weights: Kendall",
    "two seeds against two",
    "loss of its weights (+%)",
    "loss at its rate too (+%)",
    "rate of the best weights",
    "mean best rate",
    "rates: Spearman",
    "rates: Kendall",
    "4 times as wide: Spearman",
    "4 times as wide: loss of its weights (+%)",
    "4 times as wide: loss at its rate too (+%)",
)


@dataclass(frozen=True)
class Grid:
    """The results of a problem at one width.

    Attributes:
        rates: The learning rates.
        monitors: ``trainer.monitor`` on validation ``[weightings, rates, seeds]``; infinite for a
            run that failed.
        test: The mean relative loss on test, alike.
    """

    rates: Sequence[float]
    monitors: Values
    test: Values

    def tuned(self, seeds: Sequence[int] | None = None) -> Values:
        """Return every weighting's monitor at its best rate, the mean over some seeds."""
        return self._means(seeds).min(axis=1)

    def chosen(self) -> tuple[int, float]:
        """Return the best weighting, and its best rate."""
        means = self._means(None)
        weighting, rate = np.unravel_index(int(means.argmin()), means.shape)
        return int(weighting), self.rates[int(rate)]

    def best_rate(self) -> float:
        """Return the geometric mean over weightings of the rate that is best for each."""
        best = self._means(None).argmin(axis=1)
        return math.exp(sum(math.log(self.rates[i]) for i in best) / len(best))

    def at(self, rates: Sequence[float], seeds: Sequence[int] | None = None) -> Values:
        """Return the mean monitors at some of the rates ``[weightings, rates]``."""
        return self._means(seeds)[:, [self.rates.index(rate) for rate in rates]]

    def loss_of(self, weighting: int, rate: float | None = None) -> float:
        """Return the loss on test of a weighting at a rate; without one at its best rate here.

        A rate that was not tried here, as it is too large, gives infinity.
        """
        if rate is not None and rate not in self.rates:
            return math.inf
        means = self._means(None)[weighting]
        index = int(means.argmin()) if rate is None else self.rates.index(rate)
        return float(self.test[weighting, index].mean())

    def _means(self, seeds: Sequence[int] | None) -> Values:
        chosen = self.monitors if seeds is None else self.monitors[:, :, list(seeds)]
        means: Values = chosen.mean(axis=2)
        return means


Statistic = Callable[[Values, Values], float]


def spearman(a: Values, b: Values) -> float:
    """Return Spearman's rank correlation."""
    return float(spearmanr(a, b).statistic)


def kendall(a: Values, b: Values) -> float:
    """Return Kendall's tau-b."""
    return float(kendalltau(a, b).statistic)


def of_weights(statistic: Statistic) -> Callable[..., float]:
    """Return the correlation of two widths' weightings, each at the rate that is best for it."""

    def correlation(
        narrow: Grid, wide: Grid, a: Sequence[int] | None = None, b: Sequence[int] | None = None
    ) -> float:
        return statistic(narrow.tuned(a), wide.tuned(b))

    return correlation


def of_rates(statistic: Statistic) -> Callable[..., float]:
    """Return the correlation of two widths' rates that both tried, the mean over weightings."""

    def correlation(
        narrow: Grid, wide: Grid, a: Sequence[int] | None = None, b: Sequence[int] | None = None
    ) -> float:
        rates = [rate for rate in narrow.rates if rate in wide.rates]
        pairs = zip(narrow.at(rates, a), wide.at(rates, b), strict=True)
        return float(np.mean([statistic(x, y) for x, y in pairs]))

    return correlation


def of_halves(narrow: Grid, wide: Grid) -> float:
    """Return Spearman's correlation of weightings, of half the seeds against the other half.

    It is the mean over all halves. At one width it is the noise ceiling: so much do different seeds
    agree on the order, and no other width can agree more but by chance.
    """
    seeds = range(narrow.monitors.shape[2])
    halves = list(itertools.combinations(seeds, len(seeds) // 2))
    remaining = [[seed for seed in seeds if seed not in half] for half in halves]
    of_pairs = [
        spearman(narrow.tuned(a), wide.tuned(b)) for a, b in zip(halves, remaining, strict=True)
    ]
    return sum(of_pairs) / len(of_pairs)


def bootstrap(
    correlation: Callable[..., float], narrow: Grid, wide: Grid, resamples: int
) -> tuple[float, float]:
    """Return the 95 % interval of a correlation, by resampling the seeds of both widths."""
    draw = np.random.default_rng(0)
    count = narrow.monitors.shape[2]
    values = [
        correlation(narrow, wide, *draw.integers(0, count, size=(2, count)).tolist())
        for _ in range(resamples)
    ]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def weightings(problem: str) -> list[dict[str, float]]:
    """Return the fixed weights of a problem: equal ones, then those of a study."""
    data = build_data({"_target_": CLASSES[problem], **PROBLEMS[problem][0]})
    losses = trivial_losses(data.tasks, data.splits["train"])
    trivial = {task.name: loss for task, loss in zip(data.tasks, losses, strict=True)}
    fixed = [
        {
            option.partition("=")[0].rpartition(".")[2]: float(option.partition("=")[2])
            for option in candidate.overrides[1:]
        }
        for candidate in fixed_candidates(list(trivial), trivial, POINTS)
    ]
    return [dict.fromkeys(trivial, 1.0), *fixed]


def options(problem: str, width: int, directory: Path) -> list[str]:
    """Return the options of a sweep."""
    folder = directory / problem / str(width)
    data, epochs = PROBLEMS[problem]
    rates = WIDE_RATES if width >= WIDE else RATES
    # A step of a wide model takes long enough that compiling it pays; stacks of these are short.
    compiled = ["trainer.compile=true"] if width >= COMPILED else []
    return [
        *(*SHARED, *compiled, f"data={problem}", f"trainer.epochs={epochs}"),
        *(f"data.{key}={str(value).replace(' ', '')}" for key, value in data.items()),
        f"model.hidden=[{width},{width}]",
        f"weighting.weights={','.join(map(_text_of, weightings(problem)))}",
        f"optimizer.lr={','.join(map(str, rates))}",
        f"hydra.sweep.dir={folder}",
        *(["resume=true"] if folder.exists() else []),
    ]


def _text_of(weights: Mapping[str, float]) -> str:
    return "{" + ",".join(f"{task}:{weight:.4g}" for task, weight in weights.items()) + "}"


def grid_of(runs: Sequence[Run]) -> Grid:
    """Return the results of a sweep, whose runs say their weights, rates and seeds."""
    weights = list(dict.fromkeys(run.overrides["weighting.weights"] for run in runs))
    rates = sorted({float(run.overrides["optimizer.lr"]) for run in runs})
    seeds = sorted({int(run.overrides["seed"]) for run in runs})
    monitors = np.full((len(weights), len(rates), len(seeds)), math.inf)
    test = monitors.copy()
    for run in runs:
        if not run.finished:
            continue
        place = (
            weights.index(run.overrides["weighting.weights"]),
            rates.index(float(run.overrides["optimizer.lr"])),
            seeds.index(int(run.overrides["seed"])),
        )
        summary = run.summary
        losses = [
            task.at("final", "test").get("relative_loss", math.inf)
            for task in summary.tasks.values()
        ]
        if math.isfinite(summary.monitor.final):
            monitors[place] = summary.monitor.final
            test[place] = sum(losses) / len(losses)
    return Grid(rates, monitors, test)


def rows(problem: str, grids: Mapping[int, Grid]) -> Iterator[list[str]]:
    """Yield a row per width; that of the largest one holds the noise ceiling."""
    full = grids[max(grids)]
    for width, grid in sorted(grids.items()):
        is_full, wider = grid is full, grids.get(NARROW * width)
        weights, rates = (
            [
                "" if is_full else _with_interval(of_what(statistic), grid, full)
                for statistic in (spearman, kendall)
            ]
            for of_what in (of_weights, of_rates)
        )
        yield [
            *(problem, str(width), *weights, f"{of_halves(grid, full):.2f}"),
            *losses_of_choice(grid, full),
            *(f"{grid.chosen()[1]:g}", f"{grid.best_rate():.2g}", *rates),
            "" if wider is None else _with_interval(of_weights(spearman), grid, wider),
            *(("", "") if wider is None else losses_of_choice(grid, wider)),
        ]


def losses_of_choice(narrow: Grid, wide: Grid) -> tuple[str, str]:
    """Return what the choice of a narrower width costs at a wider one, in percent of its own.

    Returns:
        The cost of the weights at their best rate of the wider one, and with the rate, too.
    """
    best = wide.loss_of(wide.chosen()[0])
    weighting, rate = narrow.chosen()
    of_weighting, of_both = (
        f"{100 * (loss / best - 1):.3g}" if math.isfinite(loss) else "diverged"
        for loss in (wide.loss_of(weighting), wide.loss_of(weighting, rate))
    )
    return of_weighting, of_both


def _with_interval(correlation: Callable[..., float], narrow: Grid, wide: Grid) -> str:
    low, high = bootstrap(correlation, narrow, wide, RESAMPLES)
    return f"{correlation(narrow, wide):.2f} ({low:.2f} to {high:.2f})"


def table(lines: Sequence[Sequence[str]]) -> str:
    """Return rows as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(lines)
    return text.getvalue()


def main(directory: Path, widths: Sequence[int], train: bool) -> None:
    """Make the sweeps, and print the table."""
    if train:
        for problem, width in itertools.product(PROBLEMS, widths):
            command = [sys.executable, "-m", "mtl_runner", *options(problem, width, directory)]
            # A run that diverges makes the exit status 1, and is the worst of its rates here.
            subprocess.run(command, check=False, stdout=sys.stderr)
    lines = [
        row
        for problem in PROBLEMS
        for row in rows(
            problem,
            {width: grid_of(find_runs([directory / problem / str(width)])) for width in widths},
        )
    ]
    print("# python scripts/reproduce/transfer.py outputs/transfer")
    print(table(lines), end="")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="of the sweeps")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="of hidden layers")
    parser.add_argument("--no-train", action="store_true", help="a table of what is there")
    arguments = parser.parse_args()
    main(arguments.directory, arguments.widths, not arguments.no_train)
