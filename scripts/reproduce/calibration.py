"""How often is a verdict false? Simulated studies whose truth is known, judged by the real rules.

    python scripts/reproduce/calibration.py --studies 2000 --jobs 2 --csv docs/tables

It prints a row per cell: its truth, and the share of studies with a false verdict of each kind on
any strategy, in percent, with its Monte Carlo standard error; empty where there can be none.
``found`` is the share of studies in which a method that is better beyond the margin is said to be
better, ``one interval`` the share in which its 95 % interval alone would say so. A folder given by
``--csv`` gets the tables of the page on calibration.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, TextIO

from calibration_cells import CURVES, design
from false_verdicts import FOUND, KINDS, UNCORRECTED, count_events, possible_kinds
from simulated_studies import Cell

STUDIES = 2000
COMMAND = "python scripts/reproduce/calibration.py --studies {studies} --csv docs/tables"


@dataclass(frozen=True)
class Result:
    """The simulated studies of a cell.

    Attributes:
        cell: The cell.
        studies: Their number.
        counts: ``{kind of event: number of studies with it}``, of those that can happen.
    """

    cell: Cell
    studies: int
    counts: Mapping[str, int]

    def percent(self, kind: str) -> float:
        """Return the share of studies with an event, in percent."""
        return 100 * self.counts[kind] / self.studies

    def error(self, kind: str) -> float:
        """Return the Monte Carlo standard error of the share, in percent."""
        share = self.counts[kind] / self.studies
        return 100 * math.sqrt(share * (1 - share) / self.studies)


def simulate(cell: Cell, studies: int) -> Result:
    """Return the counts of a cell."""
    counts = count_events(cell, studies)
    return Result(cell, studies, {kind: counts[kind] for kind in possible_kinds(cell)})


def factors(cell: Cell) -> dict[str, Any]:
    """Return the truth of a cell as columns."""
    curve = next(name for name, curve in CURVES.items() if curve == cell.tuning)
    return {
        "seeds": cell.seeds,
        "correlation": cell.correlation,
        "CV %": f"{100 * cell.variation:g}",
        "shape": cell.shape,
        "divergence %": f"{100 * cell.divergence:g}",
        "methods": len(cell.methods),
        "their change %": _changes(cell.methods),
        "change of fixed weights %": _changes(cell.fixed),
        "change of twins %": f"{100 * (cell.twin or 0.0):.3g}" if cell.twins else "",
        "tuning": curve,
    }


def row(result: Result) -> dict[str, Any]:
    """Return the row of a cell."""
    columns: dict[str, Any] = {"cell": result.cell.name, **factors(result.cell)}
    for kind in (*KINDS, FOUND, UNCORRECTED):
        known = kind in result.counts
        columns[f"{kind} %"] = f"{result.percent(kind):.2f}" if known else ""
        columns[f"{kind} se"] = f"{result.error(kind):.2f}" if known else ""
    return columns


def worst_table(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return the rows of the table of false verdicts: per kind the mean and the worst cell."""
    rows = []
    for kind, meaning in KINDS.items():
        able = [result for result in results if kind in result.counts and is_alike(result)]
        if able:
            worst = max(able, key=lambda result: result.counts[kind])
            mean = sum(result.percent(kind) for result in able) / len(able)
            rows.append(
                {
                    "verdict": kind,
                    "what is said": meaning,
                    "cells": len(able),
                    "mean %": f"{mean:.1f}",
                    "worst %": f"{worst.percent(kind):.1f} ± {worst.error(kind):.1f}",
                    "worst cell": describe(worst.cell),
                }
            )
    return rows


def unequal_table(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return the rows of the table of methods that scatter more than all else."""
    return [
        {
            "seeds": result.cell.seeds,
            "correlation": result.cell.correlation,
            "shape": result.cell.shape,
            "methods": len(result.cell.methods),
            "of them noisier": result.cell.noisy,
            "times the noise": f"{result.cell.noise:g}",
            **{
                f"{kind} %": f"{result.percent(kind):.1f} ± {result.error(kind):.1f}"
                for kind in ("hurts", "better", "fixed better")
            },
        }
        for result in results
        if not is_alike(result)
    ]


def is_alike(result: Result) -> bool:
    """Return whether all strategies of a cell scatter alike."""
    return not result.cell.noisy


def power_table(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return the rows of the table of power."""
    return [
        {
            "correlation": result.cell.correlation,
            "methods": len(result.cell.methods),
            "found %": f"{result.percent(FOUND):.1f} ± {result.error(FOUND):.1f}",
            "before %": f"{result.percent(UNCORRECTED):.1f}",
        }
        for result in results
        if result.cell.name.startswith("power")
    ]


def describe(cell: Cell) -> str:
    """Return the truth of a cell in a few words."""
    parts = [
        f"{cell.name}: {cell.seeds} seeds",
        f"correlation {cell.correlation:g}",
        f"CV {100 * cell.variation:g} %",
        cell.shape,
        *([f"{100 * cell.divergence:g} % diverge"] if cell.divergence else []),
        f"{len(cell.methods)} methods",
        *([] if cell.tuning is None else [f"tuning {factors(cell)['tuning']}"]),
    ]
    return ", ".join(parts)


def chosen(names: Sequence[str]) -> list[Cell]:
    """Return the cells with these names or first words of names; all without any."""
    return [c for c in design() if not names or c.name in names or c.name.split()[0] in names]


def results_of(cells: Sequence[Cell], studies: int, jobs: int) -> Iterator[Result]:
    """Yield the results of cells in their order."""
    if jobs == 1:
        yield from map(partial(simulate, studies=studies), cells)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(simulate, cells, repeat(studies))


def write_table(path: Path, command: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table with the command that makes it in its first line."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# {command}\n")
        _write(file, rows)


def main(options: argparse.Namespace) -> None:
    """Print a row per cell, and write the tables."""
    results = []
    writer: csv.DictWriter[str] | None = None
    for result in results_of(chosen(options.cells), options.studies, options.jobs):
        results.append(result)
        columns = row(result)
        if writer is None:
            writer = csv.DictWriter(sys.stdout, list(columns), lineterminator="\n")
            writer.writeheader()
        writer.writerow(columns)
        sys.stdout.flush()
    if options.csv is not None:
        command = COMMAND.format(studies=options.studies)
        write_table(options.csv / "calibration.csv", command, worst_table(results))
        write_table(options.csv / "calibration_power.csv", command, power_table(results))
        write_table(options.csv / "calibration_unequal.csv", command, unequal_table(results))
        write_table(
            options.csv / "calibration_cells.csv",
            command,
            list(map(row, filter(is_alike, results))),
        )


def _write(file: TextIO, rows: Sequence[Mapping[str, Any]]) -> None:
    writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _changes(changes: Sequence[float]) -> str:
    """Return changes in percent: one number if all are the same, else the first and the others."""
    kinds = list(dict.fromkeys(changes))
    return ", others ".join(f"{100 * change:.3g}" for change in kinds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=STUDIES, help="simulated studies per cell")
    parser.add_argument("--cells", nargs="*", default=[], help="names, or groups such as equal")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--csv", type=Path, help="the folder of the tables")
    return parser


if __name__ == "__main__":
    main(_parser().parse_args())
