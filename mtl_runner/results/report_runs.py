"""What differs between the runs of a report, which of them failed, and where they lie. Every text is escaped here."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from mtl_runner.results.read import Run
from mtl_runner.results.report_cells import as_float, data_value, sort_button
from mtl_runner.results.report_content import Content
from mtl_runner.results.text import number

VALUES = 12  # that the table of differences names per option


def failures_list(runs: Sequence[Run], folder: Path) -> str:
    """Runs that did not finish, with their reasons; nothing if all did."""
    broken = [run for run in runs if not run.finished]
    if not broken:
        return ""
    reasons: dict[tuple[str, str], list[Run]] = {}
    for run in broken:
        reasons.setdefault((run.status, run.reason), []).append(run)
    items = "".join(
        f"<li><span class='status s-{escape(status)}'>{escape(status)}</span> {escape(reason)} "
        f"<span class='count'>{', '.join(run_link(run, folder) for run in mine)}</span></li>"
        for (status, reason), mine in reasons.items()
    )
    title = f"{len(broken)} of {len(runs)} runs did not finish"
    return f'<details class="failures"{" open" if len(broken) <= 20 else ""}><summary>{title}</summary><ul>{items}</ul></details>'


def differences_table(content: Content) -> str:
    """Per option that is not the same in all runs: its values and how many runs have each; nothing if all are equal."""
    settings = [dict(setting) for setting in content.settings]
    for setting, run in zip(settings, content.runs, strict=True):
        setting |= {
            f"version of {name}": str(version)
            for name, version in run.summary.get("versions", {}).items()
        }
        setting |= {
            key: str(run.summary[key]) for key in ("device", "threads") if key in run.summary
        }
    keys = sorted({key for setting in settings for key in setting})
    rows = []
    for key in keys:
        # A run that was killed before it wrote anything down says nothing about its versions.
        values = Counter(setting[key] for setting in settings if key in setting)
        missing = (
            0
            if key.startswith("version of ") or key in ("device", "threads")
            else len(settings) - sum(values.values())
        )
        if len(values) + (missing > 0) < 2:
            continue
        shown = [
            f"<li><code>{escape(v)}</code> <span class='count'>{n}</span></li>"
            for v, n in values.most_common(VALUES)
        ]
        shown += (
            [f"<li><em>default</em> <span class='count'>{missing}</span></li>"] if missing else []
        )
        shown += [f"<li>{len(values) - VALUES} more</li>"] if len(values) > VALUES else []
        rows.append(
            f'<tr><th scope="row"><code>{escape(key)}</code></th><td><ul class="values">{"".join(shown)}</ul></td></tr>'
        )
    if not rows:
        return ""
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Differences"><table class="differences"><caption><span>Options that are '
        'not the same in all runs, and how many runs have each value.</span></caption><thead><tr><th scope="col">option</th>'
        f'<th scope="col">values</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def runs_table(content: Content, folder: Path) -> str:
    """One row per run with a link to its directory."""
    rows = []
    many = len(content.sections) > 1
    for job in content.jobs:
        run = job.run
        monitor = (
            as_float(run.summary.get("monitor", {}).get(content.at)) if run.finished else math.nan
        )
        seconds = as_float(run.summary.get("time", {}).get("seconds"))
        cells = [f'<th scope="row">{run_link(run, folder)}</th>']
        cells += [f"<td>{escape(job.data)}</td>"] if many else []
        cells += [
            f"<td>{escape(job.trial or job.strategy)}{'' if job.final else ' <span class=count>tuning</span>'}</td>",
            f'<td class="num"{data_value(as_float(run.summary.get("seed")))}>{escape(str(run.summary.get("seed", "")))}</td>',
            f'<td><span class="status s-{escape(run.status)}">{escape(run.status)}</span></td>',
            f'<td class="num"{data_value(monitor)}>{number(monitor)}</td>',
            f'<td class="num"{data_value(seconds)}>{number(seconds, 3)}</td>',
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    titles = [
        ("run", "", "text"),
        *([("data", "", "text")] if many else []),
        ("strategy", "", "text"),
        ("seed", "", "low"),
    ]
    titles += [("status", "", "text"), ("monitor", "", "low"), ("time", "s", "low")]
    head = "".join(
        f'<th scope="col"{" class=num" if name in ("seed", "monitor", "time") else ""}>{sort_button(name, unit, kind)}</th>'
        for name, unit, kind in titles
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Runs"><table class="sortable runs"><caption><span>Each link opens the '
        "run's directory: metrics.csv, summary.json, its pictures, checkpoints and log.</span></caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def run_link(run: Run, folder: Path) -> str:
    """A link to the run's directory, relative to the report's folder where there is a way."""
    return f'<a href="{escape(directory_link(run.directory, folder))}">{escape(run.directory.name or str(run.directory))}</a>'


def directory_link(target: Path, folder: Path) -> str:
    """The quoted path from a folder to a directory; absolute where there is no way (another drive)."""
    try:
        path = Path(os.path.relpath(target.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return target.resolve().as_uri() + "/"
    return quote(f"./{path}/")
