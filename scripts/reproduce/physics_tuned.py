"""Equations with known solutions: strategies that are tuned alike, three rates and three seeds.

    python scripts/reproduce/physics_tuned.py outputs/physics > docs/tables/physics_tuned.csv
    python scripts/reproduce/physics_tuned.py outputs/physics --only helmholtz

It makes a sweep per problem, in stacks where the strategies stack (about an hour of one core each;
a sweep that was stopped goes on), and prints a row per problem and strategy: the learning rate that
is best on validation over the seeds, and the relative L2 error of every output on the test grid.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from mtl_runner.results.records.run import Run, find_runs

STRATEGIES = ("fixed", "relobralo", "lra", "gradnorm", "adatask", "config", "uncertainty")
RATES = ("0.001", "0.003", "0.01")
SEEDS = 3
PROBLEMS = {
    "helmholtz": ("trainer.epochs=200",),
    "burgers": ("trainer.epochs=200", "data.n_interior=6000"),
    "kovasznay": ("trainer.epochs=50", "data.n_interior=3000"),
}
COLUMNS = (
    "problem",
    "weighting",
    "learning rate",
    "seeds",
    "relative L2 (test), %",
    "best seed, %",
    "s per run",
)


def options(problem: str, directory: Path) -> list[str]:
    """Return the options of a problem's sweep."""
    folder = directory / problem
    return [
        *("-m", "hydra/launcher=stacked", f"data={problem}", f"weighting={','.join(STRATEGIES)}"),
        *(f"optimizer.lr={','.join(RATES)}", f"seed=range(0,{SEEDS})", "record.plots=none"),
        *(*PROBLEMS[problem], f"hydra.sweep.dir={folder}"),
        *(["resume=true"] if folder.exists() else []),
    ]


def errors_of(run: Run) -> dict[str, float]:
    """Return the relative L2 error of every output on the test grid, at the best evaluation."""
    tasks = json.loads((run.directory / "summary.json").read_text())["tasks"]
    return {
        name: task["best"]["test"]["relative_l2"]
        for name, task in tasks.items()
        if "relative_l2" in task["best"]["test"]
    }


def rows(problem: str, runs: Iterable[Run]) -> list[list[str]]:
    """Return a row per strategy, at the learning rate whose runs are best on validation."""
    trials: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if run.finished:
            trials[run.choices["weighting"]][run.overrides["optimizer.lr"]].append(run)
    table = []
    for strategy in STRATEGIES:
        # A rate at which a seed failed is none to choose, unless there is no other.
        complete = {lr: r for lr, r in trials[strategy].items() if len(r) == SEEDS}
        usable = complete or trials[strategy]
        if not usable:
            table.append([problem, strategy, "", "0", "failed", "", ""])
            continue
        rate, best = min(usable.items(), key=lambda item: _monitor(item[1]))
        seconds = statistics.mean(run.summary.seconds for run in best)
        table.append([problem, strategy, rate, str(len(best)), *_cells(best), f"{seconds:.0f}"])
    return table


def _monitor(runs: Sequence[Run]) -> float:
    values = [run.summary.monitor.best for run in runs]
    return sum(values) / len(values) if all(map(math.isfinite, values)) else math.inf


def _cells(runs: Sequence[Run]) -> tuple[str, str]:
    """Return mean and standard deviation over seeds, and the least, of every output."""
    errors = [errors_of(run) for run in runs]
    means, least = [], []
    for name in errors[0]:
        values = [100 * error[name] for error in errors]
        label = f"{name} " if len(errors[0]) > 1 else ""
        spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
        means.append(f"{label}{statistics.mean(values):.3g}{spread}")
        least.append(f"{label}{min(values):.3g}")
    return ", ".join(means), ", ".join(least)


def table_of(table: Sequence[Sequence[str]]) -> str:
    """Return rows as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(table)
    return text.getvalue()


def main(directory: Path, only: str | None, train: bool) -> None:
    """Make the sweeps, and print the table."""
    table = []
    for problem in [only] if only else PROBLEMS:
        if train:
            command = [sys.executable, "-m", "mtl_runner", *options(problem, directory)]
            subprocess.run(command, check=True, stdout=sys.stderr)
        table += rows(problem, find_runs([directory / problem]))
    print("# python scripts/reproduce/physics_tuned.py outputs/physics")
    print(table_of(table), end="")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="of the sweeps")
    parser.add_argument("--only", choices=sorted(PROBLEMS), help="one problem")
    parser.add_argument("--no-train", action="store_true", help="a table of what is there")
    arguments = parser.parse_args()
    main(arguments.directory, arguments.only, not arguments.no_train)
