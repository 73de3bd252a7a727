"""The body of a report, in the order of a reader's questions: does it matter, which is best, how did it come about, what was run."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl_runner.results.groups import strategy_rows
from mtl_runner.results.report_content import Content, Section
from mtl_runner.results.report_runs import differences_table, failures_list, runs_table
from mtl_runner.results.report_tables import spreads_table, strategies_table
from mtl_runner.results.report_verdict import verdict_html

if TYPE_CHECKING:
    from mtl_runner.results.conclusions import Conclusions


def body(
    content: Content,
    figures: Sequence[dict[str, Any]],
    folder: Path,
    conclusions: Conclusions | None = None,
) -> str:
    """Everything between header and footer as HTML, all texts escaped. The script draws into the elements of class ``figures``.

    Args:
        figures: as ``Content.figures`` gives them, to leave out headings of what is not there.
        folder: where the report will lie; links are relative to it.
        conclusions: if they are already drawn.
    """
    finished = sum(run.finished for run in content.runs)
    state = (
        f"{finished} of {len(content.runs)} runs finished"
        if finished < len(content.runs)
        else "all runs finished"
    )
    parts = [
        f'<header><p class="kicker">mtl-runner report</p><h1>{escape(content.title)}</h1><p class="lead">{escape(state)}</p></header>',
        _part("verdict", "Verdict", verdict_html(content.runs, content.at, conclusions)),
        failures_list(content.runs, folder),
    ]
    for number, (section, data) in enumerate(zip(content.sections, figures, strict=True)):
        heading = (
            f'<h2 class="data">{escape(section.group.data)}</h2>'
            if len(content.sections) > 1
            else ""
        )
        parts.append(heading + _section(content, section, data, number))
    parts.append(_part("differences", "What differs", differences_table(content)))
    runs = runs_table(content, folder)
    long = len(content.runs) > 30
    parts.append(
        _part(
            "runs",
            "Runs",
            f"<details><summary>All {len(content.runs)} runs</summary>{runs}</details>"
            if long
            else runs,
        )
    )
    return "\n".join(part for part in parts if part)


def _section(content: Content, section: Section, data: dict[str, Any], number: int) -> str:
    at, study = content.at, bool(content.study)
    rows = strategy_rows(section.group, at)
    table = strategies_table(section, rows, "val", number, study)
    if _has_test(section, at):
        of_verdict = ", on which the verdict rests" if study else ""
        test = strategies_table(section, rows, "test", number, study)
        table += (
            f"<details><summary>The same on the test split{of_verdict}</summary>{test}</details>"
        )
    parts = [_part(f"strategies-{number}", "Strategies on validation", table)]
    strategies = data["strategies"]
    if any("loss" in row for row in strategies):
        bands = (
            " Bands span the seeds from the least to the largest."
            if any(row["seeds"] > 1 for row in strategies)
            else ""
        )
        note = f"Unweighted validation loss per epoch, so that strategies compare: the mean over seeds.{bands}"
        parts.append(_figures(f"curves-{number}", "Curves", note, number, "loss", legend=True))
    if any(_varies(row.get("weight", {})) for row in strategies):
        note = "What each task's loss is worth in the objective, averaged over the epoch."
        parts.append(_figures(f"weights-{number}", "Weights", note, number, "weight", legend=True))
    if any(row.get("sigma") for row in strategies):
        note = "The learned noise scale of each task, in units of its target, where a strategy learns one."
        parts.append(_figures(f"sigmas-{number}", "Sigmas", note, number, "sigma", legend=True))
    if data["rates"]:
        note = "At each rate the best of a strategy's other settings; a cross marks a rate at which runs failed. The lower the better."
        spreads = spreads_table(content.spreads(section))
        parts.append(
            _figures(
                f"rates-{number}",
                "Learning rates",
                note,
                number,
                "rates",
                legend=True,
                after=spreads,
            )
        )
    if data["front"]:
        note = "Large: the mean of a strategy; small: its seeds; dots: means of resampled seeds (bootstrap); the line joins what no other strategy beats in both tasks. Lower left is better."
        parts.append(_figures(f"front-{number}", "Front", note, number, "front"))
    return "\n".join(parts)


def _figures(
    name: str, title: str, note: str, number: int, kind: str, legend: bool = False, after: str = ""
) -> str:
    keys = f'<ul class="legend" data-section="{number}" data-kind="{kind}"></ul>' if legend else ""
    box = f'<div class="figures" data-section="{number}" data-kind="{kind}"></div>'
    return _part(name, title, f'<p class="note">{escape(note)}</p>{keys}{box}{after}')


def _part(name: str, title: str, content: str) -> str:
    if not content:
        return ""
    return (
        f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>{content}</section>'
    )


def _has_test(section: Section, at: str) -> bool:
    rows = [
        row
        for s in section.group.strategies
        for run in s.runs
        for row in run.summary.get("tasks", {}).values()
    ]
    return any(row.get(at, {}).get("test") for row in rows)


def _varies(weights: dict[str, Any]) -> bool:
    """Whether the weights are more than the ones of equal weights."""
    return any(value not in (None, 1) for curve in weights.values() for value in curve[1])
