"""The comparison of a sweep: report.html, runs.csv, comparison.csv, comparison.png and a table for the terminal, from files alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mtl_runner.results.groups import SPLITS, group_runs, strategy_rows
from mtl_runner.results.read import Run, find_runs
from mtl_runner.results.strategies import Label, label

if TYPE_CHECKING:
    from mtl_runner.results.roles import Job


@dataclass(frozen=True)
class Comparison:
    """What a comparison found, and what it says on the terminal."""

    runs: pd.DataFrame
    strategies: pd.DataFrame
    text: str
    failed: int
    total: int
    best: list[Run]  # each strategy's best finished run by the monitor at its best epoch


def compare_directories(
    paths: Sequence[Path], output: Path, at: str = "final", plots: bool = True, style: str = "text", margin: float | None = None
) -> Comparison:
    """Compare all runs at or below the paths.

    Writes ``report.html``, ``runs.csv``, ``comparison.csv``, ``comparison.png`` into ``output``; where there are equal weights to compare with, also
    ``differences.csv`` (paired differences per strategy, task and metric) and ``verdicts.csv``. Of a study, only its final runs
    make the strategies' table; ``runs.csv`` holds all, the tuning runs without their results on the test split.

    Args:
        at: ``final`` (the last epoch) or ``best`` (the best epoch by the monitor).
        style: of the terminal's text: ``text``, ``md`` or ``csv``.
        margin: the relative difference that is of no interest, as a fraction; by default the study's, else 0.02.

    Raises ``RunDirectoryError`` if a path holds no run.
    """
    from mtl_runner.results.conclusions import conclude
    from mtl_runner.results.overview import overview
    from mtl_runner.results.report import report_runs

    runs = find_runs(paths)
    labels = label(runs)
    conclusions = conclude(runs, labels, at, margin)
    groups = group_runs(*conclusions.shown)
    run_table = pd.DataFrame([_run_row(job, where, output) for job, where in zip(conclusions.jobs, labels, strict=True)])
    rows = [row | conclusions.columns(row["data"], row["strategy"]) for group in groups for row in strategy_rows(group, at)]
    strategy_table = pd.DataFrame(rows)
    output.mkdir(parents=True, exist_ok=True)
    run_table.to_csv(output / "runs.csv", index=False)
    strategy_table.to_csv(output / "comparison.csv", index=False)
    conclusions.write(output)
    finished = [group for group in groups if any(s.runs for s in group.strategies)]
    if plots and finished:
        from mtl_runner.results.comparison_plot import plot_comparison

        plot_comparison(output / "comparison.png", finished, at)
    broken = [run for run in runs if not run.finished]
    where_to = _relative(output, Path.cwd())
    text = (
        strategy_table.to_csv(index=False)
        if style == "csv"
        else overview(groups, rows, broken, conclusions, where_to, at, style)
    )
    report_runs(runs, output / "report.html", at, conclusions)
    best = [min(s.runs, key=_monitor) for group in groups for s in group.strategies if s.runs]
    return Comparison(run_table, strategy_table, text, len(broken), len(runs), best)


def _monitor(run: Run) -> float:
    value = run.summary["monitor"]["best"]
    return math.inf if value is None else float(value)


def _run_row(job: Job, where: Label, output: Path) -> dict[str, Any]:
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
            "best_epoch": best_epoch if isinstance(best_epoch, int) else " ".join(f"{k}:{v}" for k, v in best_epoch.items()),
            "monitor.best": summary["monitor"]["best"],
            "monitor.final": summary["monitor"]["final"],
            "seconds": summary["time"]["seconds"],
        }
        for task, values in summary["tasks"].items():
            row |= {f"{task}.weight": values["weight"], f"{task}.sigma": values["sigma"]}
            for at in ("final", "best"):
                for split in SPLITS if job.final else SPLITS[:1]:
                    row |= {f"{at}.{split}.{task}.{name}": value for name, value in values[at][split].items()}
    return row


def _relative(path: Path, base: Path) -> str:
    try:
        return str(path.resolve().relative_to(base.resolve()))
    except ValueError:
        return str(path)
