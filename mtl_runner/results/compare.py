"""The comparison of a sweep: report, tables and picture, made from files alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mtl_runner.errors.checks import choice
from mtl_runner.files import write_atomic
from mtl_runner.results.earlier import keep_earlier
from mtl_runner.results.latex import latex
from mtl_runner.results.overview import overview
from mtl_runner.results.records.dataset import Records
from mtl_runner.results.records.evidence import evidence_of
from mtl_runner.results.records.run import Run
from mtl_runner.results.records.summary import EPOCHS
from mtl_runner.results.runs_table import relative, run_row
from mtl_runner.results.selection import Selection
from mtl_runner.results.strategies_table import selected_rows, strategy_rows
from mtl_runner.results.table import StrategyTable, table_of
from mtl_runner.results.text import csv_bytes
from mtl_runner.results.verdict.conclusions import Conclusions, conclude

log = logging.getLogger("mtl_runner")
DEFAULT = Selection()


@dataclass(frozen=True)
class Comparison:
    """A comparison of runs.

    Attributes:
        runs: One row per run.
        strategies: One row per strategy, with means and 95 % intervals.
        verdicts: One row per judged strategy; empty without equal weights to compare with.
        differences: Paired differences to equal weights per strategy, task and metric; likewise.
        conclusions: The verdicts, with the runs by data set and strategy.
    """

    runs: pd.DataFrame
    strategies: pd.DataFrame
    verdicts: pd.DataFrame
    differences: pd.DataFrame
    conclusions: Conclusions

    @property
    def records(self) -> Records:
        """The runs by data set and strategy."""
        return self.conclusions.records

    @property
    def at(self) -> str:
        """The epoch that is compared, ``final`` or ``best``."""
        return self.conclusions.evidence.at

    @property
    def total(self) -> int:
        """The number of runs."""
        return len(self.records.runs)

    @property
    def failed(self) -> int:
        """The number of runs that did not finish, and do not go on by themselves."""
        return len(self.records.stopped)

    @property
    def interrupted(self) -> int:
        """The number of those that were stopped, as by Ctrl-C, and can go on."""
        return sum(run.status == "interrupted" for run in self.records.stopped)

    @property
    def best(self) -> list[Run]:
        """Each strategy's best finished run by the monitor at its best epoch."""
        return [
            min(strategy.finished, key=_best_monitor)
            for data in self.records.datasets
            for strategy in data.strategies
            if strategy.finished
        ]

    def text(
        self,
        style: str = "text",
        output: Path | None = None,
        selection: Selection = DEFAULT,
        error: str = "half",
    ) -> str:
        """Return the comparison as the terminal shows it.

        Args:
            style: ``text``, ``md`` (Markdown), ``csv`` or ``latex``.
            output: Where the files are; None if none were written.
            selection: What is shown; ``csv`` leaves nothing out that the selection does not.
            error: What stands beside a mean: ``half`` of the 95 % interval, both ``ends`` of it (in
                ``csv`` as ``half``), ``sd`` (the standard deviation) or ``none``.

        Raises:
            ConfigError: If the selection names something that there is not.
        """
        selection.check(self.records, self._recorded_metrics())
        if style == "csv":
            rows = selected_rows(self.records, self.tables(selection), selection, error)
            for row in rows:
                row |= self.conclusions.columns(row["data"], row["strategy"])
            return csv_bytes(pd.DataFrame(rows)).decode()
        tables = self.tables(selection)
        if style == "latex":
            return latex(tables, error)
        folder = "" if output is None else relative(output, Path.cwd())
        return overview(tables, self.conclusions, folder, style, error)

    def tables(self, selection: Selection = DEFAULT) -> list[StrategyTable]:
        """Return the table of every data set, apart from how it is written."""
        split = self.conclusions.evidence.split
        return [table_of(data, self.at, split, selection) for data in self.records.datasets]

    def draw_figures(
        self, folder: Path, kind: str = "pdf", width: float = 3.4, selection: Selection = DEFAULT
    ) -> list[Path]:
        """Draw the panels of the comparison as figures for a paper, one file each.

        Args:
            folder: Where the files go.
            kind: ``pdf``, ``svg`` or ``png``.
            width: The width of a figure in inches.
            selection: The strategies and the split that are drawn.

        Returns:
            The files.
        """
        from mtl_runner.results.pictures.paper import draw_figures
        from mtl_runner.results.report.content import Content

        content = Content.of(self.records, self.at)
        tables = self.tables(selection)
        return draw_figures(folder, content, tables, kind, width, bool(selection.strategies))

    def _recorded_metrics(self) -> dict[str, list[str]]:
        metrics: dict[str, dict[str, None]] = {}
        for data in self.records.datasets:
            for task, names in evidence_of(data, self.at, "val").recorded_metrics.items():
                metrics.setdefault(task, {}).update(dict.fromkeys(names))
        return {task: list(names) for task, names in metrics.items()}

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        """Return the tables of strategies and verdicts for a notebook."""
        tables = [self.strategies]
        if len(self.verdicts):
            tables.append(self.verdicts[["data", "strategy", "verdict", "sentence"]])
        return "".join(table.to_html(index=False) for table in tables)


def compare(
    paths: str | Path | Sequence[str | Path],
    *,
    at: str | None = None,
    margin: float | None = None,
    output: str | Path | None = None,
) -> Comparison:
    """Compare finished runs, as ``mtl-compare`` does, from their files alone.

    Args:
        paths: Run directories, or directories of sweeps.
        at: ``"final"`` (the last epoch) or ``"best"`` (the best epoch by the monitor); None: the
            one that the runs recorded (``trainer.judge``), and the last one if they do not agree.
        margin: The relative difference that is of no interest, as a fraction; by default the
            study's, else 0.02.
        output: Where tables, picture and report are written; None: nowhere.

    Returns:
        The tables as DataFrames: ``runs``, ``strategies``, ``verdicts`` and ``differences``.

    Raises:
        RunDirectoryError: If a path holds no run.
        ConfigError: If ``at`` is unknown.
    """
    if at is not None:
        choice(at, "at", EPOCHS)
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if output is None:
        return comparison_of(given, at=at, margin=margin)
    return compare_directories(given, Path(output), at=at, margin=margin)


def comparison_of(
    paths: Sequence[Path],
    *,
    at: str | None = None,
    margin: float | None = None,
    output: Path | None = None,
) -> Comparison:
    """Compare all runs at or below the paths; writes nothing.

    Of a study, only its final runs make the strategies' table; ``runs`` holds all, the tuning runs
    without their results on the test split.

    Args:
        paths: Run directories, or directories of sweeps.
        at: ``final`` (the last epoch) or ``best`` (the best epoch by the monitor); None: the one
            that the runs recorded.
        margin: The relative difference that is of no interest, as a fraction; by default the
            study's, else 0.02.
        output: The folder that the paths of the runs are shown relative to; None: the working
            directory.

    Raises:
        RunDirectoryError: If a path holds no run.
    """
    records = Records.read(paths)
    conclusions = conclude(records, at, margin)
    at = conclusions.evidence.at
    base = output or Path.cwd()
    runs = pd.DataFrame(
        [
            run_row(role, label, base)
            for role, label in zip(records.roles, records.labels, strict=True)
        ]
    )
    rows = [
        row | conclusions.columns(data.name, row["strategy"])
        for data in records.datasets
        for row in strategy_rows(data, at)
    ]
    verdicts, differences = conclusions.tables
    return Comparison(runs, pd.DataFrame(rows), verdicts, differences, conclusions)


def compare_directories(
    paths: Sequence[Path],
    output: Path,
    at: str | None = None,
    plots: bool = True,
    margin: float | None = None,
    refresh: float = 0.0,
) -> Comparison:
    """Compare all runs at or below the paths and write the results.

    Writes ``report.html``, ``runs.csv``, ``comparison.csv``, ``comparison.png``; where there are
    equal weights to compare with, also ``differences.csv`` (paired differences per strategy, task
    and metric) and ``verdicts.csv``.

    An earlier comparison of other runs in the output folder is kept beside it (see
    :func:`~mtl_runner.results.earlier.keep_earlier`); a sweep's own one is made anew.

    Args:
        paths: Run directories, or directories of sweeps.
        output: The folder that the files are written into.
        at: ``final`` (the last epoch) or ``best`` (the best epoch by the monitor); None: the one
            that the runs recorded.
        plots: Whether ``comparison.png`` is drawn.
        margin: As for :func:`comparison_of`.
        refresh: After how many seconds the report loads itself again; 0: never.

    Raises:
        RunDirectoryError: If a path holds no run.
    """
    from mtl_runner.results.report.write import report_of

    comparison = comparison_of(paths, at=at, margin=margin, output=output)
    if output.resolve() not in {path.resolve() for path in paths}:
        kept = keep_earlier(output, [run.directory for run in comparison.records.runs])
        if kept is not None:
            log.warning("%s held a comparison of other runs; it is now in %s.", output, kept)
    output.mkdir(parents=True, exist_ok=True)
    write_atomic(output / "runs.csv", csv_bytes(comparison.runs))
    write_atomic(output / "comparison.csv", csv_bytes(comparison.strategies))
    comparison.conclusions.write(output)
    report_of(
        comparison.records,
        output / "report.html",
        comparison.at,
        comparison.conclusions,
        refresh,
    )
    if plots:
        _draw(comparison, output / "comparison.png")
    return comparison


def _draw(comparison: Comparison, path: Path) -> None:
    """Draw the picture of a comparison; where that fails, a warning says why."""
    from mtl_runner.results.pictures.comparison import plot_comparison

    finished = [data for data in comparison.records.datasets if data.finished]
    if not finished:
        return
    try:
        plot_comparison(path, finished, comparison.records.roles, comparison.at)
    except OSError:  # a directory that cannot be written is the user's to know
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        log.warning("The comparison is complete, but not its picture: %s", reason)


def _best_monitor(run: Run) -> float:
    best = run.summary.monitor.best
    return float("inf") if best != best else best
