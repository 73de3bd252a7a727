"""The page of a report in the order of a reader's questions.

Does it matter, which strategy is best, how did that come about, what was run? The templates in
``page/`` render what is collected here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl_runner.results.records.dataset import DatasetRuns, Records
from mtl_runner.results.report.cells import Head
from mtl_runner.results.report.content import Content, Section
from mtl_runner.results.report.runs import (
    DifferingOption,
    Failure,
    RunRow,
    differing_options,
    failures,
    listed_runs,
    run_heads,
    run_options,
    run_rows,
)
from mtl_runner.results.report.tables import (
    SpreadRow,
    StrategiesTable,
    spreads_table,
    strategies_table,
)
from mtl_runner.results.report.verdicts import VerdictPart, verdict_part
from mtl_runner.results.strategies_table import strategy_rows

if TYPE_CHECKING:
    from mtl_runner.results.verdict.conclusions import Conclusions

LONG = 30  # a table of more runs is folded away


@dataclass(frozen=True)
class FigurePart:
    """A heading with figures under it, which the script of the page draws.

    Attributes:
        name: The name of the heading, for links.
        title: The heading.
        note: What the figures show.
        kind: What the script draws.
        has_legend: Whether there is a legend.
    """

    name: str
    title: str
    note: str
    kind: str
    has_legend: bool = True


@dataclass(frozen=True)
class SectionView:
    """One data set on the page.

    Attributes:
        name: The data set.
        number: Its place on the page.
        validation: The table of its strategies on validation.
        test: The same on the test split; None without results there.
        parts: The figures.
        replicate: As :attr:`DatasetEvidence.replicate`.
        spreads: How far learning rates and replicates move the results.
        figures: The data of the figures.
    """

    name: str
    number: int
    validation: StrategiesTable
    test: StrategiesTable | None
    parts: Sequence[FigurePart]
    replicate: str
    spreads: Sequence[SpreadRow]
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class PageView:
    """The whole page.

    Attributes:
        title: Data sets, strategies and runs in one line.
        state: How many runs finished.
        study: Whether a study made the runs.
        verdict: The verdicts.
        failures: The runs that did not finish.
        failed: The number of these runs.
        sections: The data sets.
        options: What differs between the runs.
        run_heads: The heads of the table of runs.
        runs: The runs that are listed.
        run_options: What differs between them, for the script of the page.
        total: The number of all runs.
        refresh: After how many seconds the page loads itself again; 0: never.
    """

    title: str
    state: str
    study: bool
    verdict: VerdictPart
    failures: Sequence[Failure]
    failed: int
    sections: Sequence[SectionView]
    options: Sequence[DifferingOption]
    run_heads: Sequence[Head]
    runs: Sequence[RunRow]
    run_options: Mapping[str, Any]
    total: int
    refresh: float = 0.0

    @classmethod
    def of(
        cls,
        records: Records,
        folder: Path,
        at: str = "final",
        conclusions: Conclusions | None = None,
        refresh: float = 0.0,
    ) -> PageView:
        """Collect the content of the page.

        Args:
            records: The runs by data set and strategy.
            folder: The folder of the page; links are relative to it.
            at: The epoch, ``final`` or ``best``.
            conclusions: The verdicts, if they are already drawn.
            refresh: After how many seconds the page loads itself again; 0: never.
        """
        content = Content.of(records, at)
        listed = listed_runs(content)
        total, failed = len(records.runs), len(records.unfinished)
        sections = [
            _section(content, section, figures, number)
            for number, (section, figures) in enumerate(
                zip(content.sections, content.figures(), strict=True)
            )
        ]
        return cls(
            title=content.title,
            state=f"{total - failed} of {total} runs finished" if failed else "all runs finished",
            study=bool(records.study),
            verdict=verdict_part(records, at, conclusions, content.colours),
            failures=failures(records, folder),
            failed=failed,
            sections=sections,
            options=differing_options(content),
            run_heads=run_heads(content),
            runs=run_rows(content, folder, listed),
            run_options=run_options(content, listed),
            total=total,
            refresh=refresh,
        )

    @property
    def folds_runs(self) -> bool:
        """Whether the table of runs is folded away."""
        return len(self.runs) > LONG

    @property
    def unlisted(self) -> int:
        """The number of runs that the table leaves out."""
        return self.total - len(self.runs)

    @property
    def several_datasets(self) -> bool:
        """Whether there is more than one data set."""
        return len(self.sections) > 1


def _section(
    content: Content, section: Section, figures: Mapping[str, Any], number: int
) -> SectionView:
    at, study = content.at, bool(content.records.study)
    replicate = content.replicate(section)
    rows = strategy_rows(section.data, at)
    has_test = _has_test(section.data, at)
    return SectionView(
        name=section.data.name,
        number=number,
        validation=strategies_table(section, rows, at, "val", study),
        test=strategies_table(section, rows, at, "test", study) if has_test else None,
        parts=_figure_parts(figures, replicate),
        replicate=replicate,
        spreads=spreads_table(content, section) if figures["rates"] else [],
        figures=figures,
    )


def _figure_parts(figures: Mapping[str, Any], replicate: str) -> list[FigurePart]:
    strategies = figures["strategies"]
    parts = []
    if any("loss" in entry for entry in strategies):
        several = any(entry["seeds"] > 1 for entry in strategies)
        bands = f" Bands span the {replicate}s from the least to the largest." if several else ""
        note = f"Unweighted validation loss per epoch, so that strategies compare: the mean over {replicate}s.{bands}"
        parts.append(FigurePart("curves", "Curves", note, "loss"))
    if any(_varies(entry.get("weight", {})) for entry in strategies):
        note = "What each task's loss is worth in the objective, averaged over the epoch. Methods with the same weights share a line: point at a name in the legend to see its own."
        parts.append(FigurePart("weights", "Weights", note, "weight"))
    if any(entry.get("sigma") for entry in strategies):
        note = "The learned noise scale of each task, in units of its target, where a strategy learns one."
        parts.append(FigurePart("sigmas", "Sigmas", note, "sigma"))
    if figures["rates"]:
        note = "At each rate the best of a strategy's other settings; a cross marks a rate at which runs failed. The lower the better."
        parts.append(FigurePart("rates", "Learning rates", note, "rates"))
    if figures["front"]:
        note = f"Large: the mean of a strategy; small: its {replicate}s; dots: means of resampled {replicate}s (bootstrap); the line joins what no other strategy beats in both tasks. Lower left is better."
        parts.append(FigurePart("front", "Front", note, "front", has_legend=False))
    return parts


def _has_test(data: DatasetRuns, at: str) -> bool:
    runs = [run for strategy in data.shown for run in strategy.finished]
    return any(result.at(at, "test") for run in runs for result in run.summary.tasks.values())


def _varies(weights: Mapping[str, Any]) -> bool:
    """Return whether any weight differs from 1, the weight of equal weights."""
    return any(value not in (None, 1) for curve in weights.values() for value in curve[1])
