"""What a comparison says on the terminal: the strategies' table of each data set, the verdicts, what failed; as text or Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mtl_runner.results.conclusions import Conclusions
from mtl_runner.results.read import Run
from mtl_runner.results.text import align, markdown_table, markdown_text, number

if TYPE_CHECKING:
    from mtl_runner.results.groups import Group

SPLIT_WORDS = {"val": "validation", "test": "test"}


def overview(
    groups: Sequence[Group],
    rows: Sequence[dict[str, Any]],
    broken: Sequence[Run],
    conclusions: Conclusions,
    output: str,
    at: str,
    style: str = "text",
) -> str:
    """Format the whole comparison for the terminal.

    Args:
        rows: one per strategy, the columns of ``comparison.csv``.
        output: where the files are, as the reader would type it; empty if there are none.
        style: ``text`` or ``md``.
    """
    markdown = style == "md"
    escape = markdown_text if markdown else str
    blocks = []
    for group in groups:
        title = f"{escape(group.data)} (validation, {at} epoch, mean ± 95 % interval over runs)"
        table = _table(group, [row for row in rows if row["data"] == group.data], at)
        notes = conclusions.missing(group.data)
        if markdown:
            blocks += [f"## {title}", markdown_table(table), *map(escape, notes)]
        else:
            blocks.append("\n".join([title, align(table), *notes]))
        if lines := conclusions.sentences(group.data):
            split = SPLIT_WORDS[conclusions.evidence.split]
            margin = number(100 * conclusions.margins[group.data])
            heading = f"Verdict ({split}, {at} epoch, margin {margin} %, by {conclusions.quantity(group.data)}): {lines[0]}"
            blocks.append(_list(escape(heading), [escape(line) for line in lines[1:]], markdown))
    if broken:
        blocks.append(
            _list(
                "Not finished:",
                [escape(f"{r.directory.name}: {r.status}: {r.reason}") for r in broken],
                markdown,
            )
        )
    if output:
        files = ["report.html", "runs.csv", "comparison.csv", "comparison.png", *conclusions.files]
        blocks.append(escape(f"{output}/: {', '.join(files)}"))
    return "\n\n".join(blocks)


def _table(group: Group, mine: Sequence[dict[str, Any]], at: str) -> list[list[str]]:
    has_delta = group.baseline(at) is not None
    mains = [(task, metrics.main) for task, metrics in group.tasks.items()]
    header = [
        "strategy",
        "runs",
        *(f"{task} {metric}" for task, metric in mains),
        "monitor",
        "mean rank",
    ]
    table = [[*header, *(["delta-m %", "delta-m % (tasks)"] if has_delta else [])]]
    for row in mine:
        cells = [
            row["strategy"],
            str(row["runs"]) + (f" ({row['failed']} failed)" if row["failed"] else ""),
        ]
        cells += [_with_interval(row, f"val.{task}.{metric}") for task, metric in mains]
        cells += [_with_interval(row, "monitor"), number(row.get("val.mean_rank"))]
        cells += [number(row["val.delta_m"]), number(row["val.delta_m_task"])] if has_delta else []
        table.append(cells)
    return table


def _with_interval(row: dict[str, Any], column: str) -> str:
    mean, low, high = (row.get(f"{column}.{end}", math.nan) for end in ("mean", "low", "high"))
    return number(mean) + (f" ± {number((high - low) / 2, 2)}" if math.isfinite(high - low) else "")


def _list(title: str, lines: Sequence[str], markdown: bool) -> str:
    if markdown:
        return "\n".join([title, "", *(f"- {line}" for line in lines)])
    return "\n".join([title, *(f"  {line}" for line in lines)])
