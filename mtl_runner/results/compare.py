"""The comparison of a sweep: report.html, runs.csv, comparison.csv, comparison.png and a table for the terminal, from files alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mtl_runner.errors.checks import choice
from mtl_runner.results.conclusions import Conclusions, conclude
from mtl_runner.results.groups import SPLITS, Group, group_runs, strategy_rows
from mtl_runner.results.overview import overview
from mtl_runner.results.read import Run, find_runs
from mtl_runner.results.roles import RunRole
from mtl_runner.results.strategies import Label, label


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        runs: One row per run.
        strategies: One row per strategy, with means and 95 % intervals.
        verdicts: One row per judged strategy; empty without equal weights to compare with.
        differences: Paired differences to equal weights per strategy, task and metric; likewise.
        groups: The runs by data set and strategy.
        conclusions: Everything that is said of them.
        broken: Runs that did not finish.
        total: The number of runs.
        at: The epoch that was compared, ``final`` or ``best``.
    """

    runs: pd.DataFrame
    strategies: pd.DataFrame
    verdicts: pd.DataFrame
    differences: pd.DataFrame
    groups: list[Group]
    rows: list[dict[str, Any]]
    conclusions: Conclusions
    broken: list[Run]
    total: int
    at: str

    @property
    def failed(self) -> int:
        """How many runs did not finish."""
        return len(self.broken)

    @property
    def best(self) -> list[Run]:
        """Each strategy's best finished run by the monitor at its best epoch."""
        return [
            min(s.runs, key=_monitor) for group in self.groups for s in group.strategies if s.runs
        ]

    def text(self, style: str = "text", output: Path | None = None) -> str:
        """What the terminal shows, as ``text``, ``md`` or ``csv``; ``output``: where the files are."""
        if style == "csv":
            return self.strategies.to_csv(index=False)
        where = "" if output is None else _relative(output, Path.cwd())
        return overview(
            self.groups, self.rows, self.broken, self.conclusions, where, self.at, style
        )

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        """What a notebook shows: the strategies' table, and the verdicts where there are some."""
        tables = [self.strategies] + (
            [self.verdicts[["data", "strategy", "verdict", "sentence"]]]
            if len(self.verdicts)
            else []
        )
        return "".join(table.to_html(index=False) for table in tables)


def compare(
    paths: str | Path | Sequence[str | Path],
    *,
    at: str = "final",
    margin: float | None = None,
    output: str | Path | None = None,
) -> Comparison:
    """Compare finished runs, as ``mtl-compare`` does, from their files alone.

    Args:
        paths: Run directories, or directories of sweeps.
        at: ``"final"`` (the last epoch) or ``"best"`` (the best epoch by the monitor).
        margin: The relative difference that is of no interest, as a fraction; by default the study's, else 0.02.
        output: Where tables, picture and report are written; None: nowhere.

    Returns:
        The tables as DataFrames: ``runs``, ``strategies``, ``verdicts`` and ``differences``.

    Raises:
        RunDirectoryError: If a path holds no run.
        ConfigError: If ``at`` is unknown.
    """
    choice(at, "at", ("final", "best"))
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if output is None:
        return comparison_of(given, at=at, margin=margin)
    return compare_directories(given, Path(output), at=at, margin=margin)


def comparison_of(
    paths: Sequence[Path],
    *,
    at: str = "final",
    margin: float | None = None,
    output: Path | None = None,
) -> Comparison:
    """Compare all runs at or below the paths; writes nothing.

    Of a study, only its final runs make the strategies' table; ``runs`` holds all, the tuning runs without their results on the
    test split.

    Args:
        paths: Run directories, or directories of sweeps.
        at: ``final`` (the last epoch) or ``best`` (the best epoch by the monitor).
        margin: The relative difference that is of no interest, as a fraction; by default the study's, else 0.02.
        output: The folder that the paths of the runs are shown relative to; None: the working directory.

    Raises:
        RunDirectoryError: If a path holds no run.
    """
    runs = find_runs(paths)
    labels = label(runs)
    conclusions = conclude(runs, labels, at, margin)
    groups = group_runs(*conclusions.shown)
    base = output or Path.cwd()
    run_table = pd.DataFrame(
        [_run_row(job, where, base) for job, where in zip(conclusions.jobs, labels, strict=True)]
    )
    rows = [
        row | conclusions.columns(row["data"], row["strategy"])
        for group in groups
        for row in strategy_rows(group, at)
    ]
    broken = [run for run in runs if not run.finished]
    verdicts, differences = conclusions.tables()
    return Comparison(
        run_table,
        pd.DataFrame(rows),
        verdicts,
        differences,
        groups,
        rows,
        conclusions,
        broken,
        len(runs),
        at,
    )


def compare_directories(
    paths: Sequence[Path],
    output: Path,
    at: str = "final",
    plots: bool = True,
    margin: float | None = None,
) -> Comparison:
    """Compare all runs at or below the paths, see :func:`comparison_of`, and write what was found into ``output``.

    Writes ``report.html``, ``runs.csv``, ``comparison.csv``, ``comparison.png``; where there are equal weights to compare with, also
    ``differences.csv`` (paired differences per strategy, task and metric) and ``verdicts.csv``.
    """
    from mtl_runner.results.report import report_runs

    found = comparison_of(paths, at=at, margin=margin, output=output)
    output.mkdir(parents=True, exist_ok=True)
    found.runs.to_csv(output / "runs.csv", index=False)
    found.strategies.to_csv(output / "comparison.csv", index=False)
    found.conclusions.write(output)
    finished = [group for group in found.groups if any(s.runs for s in group.strategies)]
    if plots and finished:
        from mtl_runner.results.comparison_plot import plot_comparison

        plot_comparison(output / "comparison.png", finished, at)
    report_runs(
        [job.run for job in found.conclusions.jobs], output / "report.html", at, found.conclusions
    )
    return found


def _monitor(run: Run) -> float:
    value = run.summary["monitor"]["best"]
    return math.inf if value is None else float(value)


def _run_row(job: RunRole, where: Label, output: Path) -> dict[str, Any]:
    """A run's row of ``runs.csv``; without the test split for runs that chose settings, so that nobody chooses by it."""
    run, summary = job.run, job.run.summary
    row: dict[str, Any] = {
        "run": _relative(run.directory, output),
        "status": run.status,
        "reason": run.reason,
        "data": job.data,
        "strategy": where.strategy,
        "seed": summary.get("seed"),
        "overrides": " ".join(f"{key}={value}" for key, value in run.overrides.items()),
    }
    if run.finished:
        best_epoch = summary["monitor"]["best_epoch"]
        row |= {
            "epochs": summary["epochs"],
            "best_epoch": best_epoch
            if isinstance(best_epoch, int)
            else " ".join(f"{k}:{v}" for k, v in best_epoch.items()),
            "monitor.best": summary["monitor"]["best"],
            "monitor.final": summary["monitor"]["final"],
            "seconds": summary["time"]["seconds"],
        }
        for task, values in summary["tasks"].items():
            row |= {f"{task}.weight": values["weight"], f"{task}.sigma": values["sigma"]}
            for at in ("final", "best"):
                for split in SPLITS if job.final else SPLITS[:1]:
                    row |= {
                        f"{at}.{split}.{task}.{name}": value
                        for name, value in values[at][split].items()
                    }
    return row


def _relative(path: Path, base: Path) -> str:
    try:
        return str(path.resolve().relative_to(base.resolve()))
    except ValueError:
        return str(path)
