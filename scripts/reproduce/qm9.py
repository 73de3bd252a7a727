"""Properties of molecules: do equal weights lose as much as the papers say?

    python scripts/reproduce/qm9.py outputs/qm9 > docs/tables/qm9.csv
    python scripts/reproduce/qm9.py outputs/qm9 --no-train

It needs `pip install 'mtl-runner[qm9]'`, and trains strategies on 10 000 molecules at four learning
rates with three seeds, the Coulomb matrices in stacks, then three of them with the message-passing
network at its default rate (about two hours of one core; a sweep that was stopped goes on). A row
per strategy: the learning rate that is best on validation, and on test the mean change of the MAE
against single-task training and against equal weights, each the mean over tasks and seeds.
"""

from __future__ import annotations

import argparse
import csv
import io
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mtl_runner.results.records.dataset import Records
from mtl_runner.results.records.evidence import DatasetEvidence, StrategyEvidence, gather

DATA = ("data=qm9", "data.molecules=10000", "record.plots=none")
SWEEPS = {
    "mlp": (
        "hydra/launcher=stacked",
        "weighting=fixed,uncertainty,famo,nash_mtl,norm_balance,single_task",
        "optimizer.lr=0.0003,0.001,0.003,0.01",
        "trainer.epochs=60",
    ),
    "mpnn": (
        "weighting=fixed,uncertainty,famo",
        "model=mpnn",
        "data.features=graph",
        "trainer.epochs=12",
    ),
}
# Delta-m of 110 831 molecules and the network of Gilmer et al. (Navon et al. 2022; Liu et al. 2023).
PUBLISHED = {"fixed": "178", "uncertainty": "108", "famo": "58.5", "nash_mtl": "62"}
COLUMNS = (
    "model",
    "weighting",
    "learning rate",
    "seeds",
    "delta-m %",
    "to equal weights %",
    "published delta-m %",
)


def options(name: str, directory: Path) -> list[str]:
    """Return the options of a sweep."""
    folder = directory / name
    return [
        *("-m", *DATA, *SWEEPS[name], "seed=range(0,3)", f"hydra.sweep.dir={folder}"),
        *(["resume=true"] if folder.exists() else []),
    ]


def rows(name: str, data: DatasetEvidence) -> list[list[str]]:
    """Return a row per strategy, at its best learning rate on validation."""
    best: dict[str, StrategyEvidence] = {}
    for strategy in data.of_role("equal", "strategy"):
        weighting = strategy.name.split(", ")[0]
        known = best.get(weighting)
        if strategy.values and (known is None or strategy.mean_monitor < known.mean_monitor):
            best[weighting] = strategy
    alone = data.single_task_runs
    table = []
    for weighting, strategy in sorted(best.items(), key=lambda item: item[1].role != "equal"):
        rate = dict(strategy.settings).get("optimizer.lr", "default")
        table.append(
            [
                *(name, weighting, rate, str(len(strategy.values))),
                "" if alone is None else _text(changes(data, strategy, alone)),
                _text(changes(data, strategy, best["fixed"])) if weighting != "fixed" else "",
                PUBLISHED.get(weighting, ""),
            ]
        )
    return table


def changes(
    data: DatasetEvidence, strategy: StrategyEvidence, reference: StrategyEvidence
) -> list[float]:
    """Return the mean change of the main metrics over tasks in percent, of every seed."""
    return [
        statistics.mean(
            100 * (values[task][metric] / reference.values[r][task][metric] - 1)
            for task, metric in ((task, data.main_metric(task)) for task in data.tasks)
        )
        for r, values in strategy.values.items()
        if r in reference.values
    ]


def _text(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):+.1f}{spread}" if values else ""


def table_of(table: Sequence[Sequence[str]]) -> str:
    """Return rows as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(table)
    return text.getvalue()


def main(directory: Path, train: bool) -> None:
    """Make the sweeps, and print the table."""
    table = []
    for name in SWEEPS:
        if train:
            command = [sys.executable, "-m", "mtl_runner", *options(name, directory)]
            subprocess.run(command, check=True, stdout=sys.stderr)
        # More rates of a strategy may lie in a sweep of their own, as in mlp2.
        folders = [path for path in sorted(directory.glob(f"{name}*")) if path.is_dir()]
        (data,) = gather(Records.read(folders), at="best", split="test").datasets
        table += rows(name, data)
    print("# python scripts/reproduce/qm9.py outputs/qm9")
    print(table_of(table), end="")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="of the sweeps")
    parser.add_argument("--no-train", action="store_true", help="a table of what is there")
    arguments = parser.parse_args()
    main(arguments.directory, not arguments.no_train)
