"""The report of a sweep or study: one HTML file that needs no network and no other file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl_runner.files import write_atomic
from mtl_runner.results.records.dataset import Records
from mtl_runner.results.text import number

if TYPE_CHECKING:
    from jinja2 import Environment

    from mtl_runner.results.verdict.conclusions import Conclusions

SCRIPTS = (
    "chart.js",
    "lines.js",
    "plane.js",
    "figures.js",
    "table.js",
    "runs.js",
    "download.js",
    "watch.js",
)


def write_report(directories: Sequence[Path], output: Path, at: str | None = None) -> Path:
    """Write the report of all runs at or below some directories.

    Links to the runs are relative to the file where that is possible, so that a copied sweep still
    works.

    Args:
        directories: Run directories, or directories of sweeps.
        output: The file to write.
        at: ``final`` (the last epoch) or ``best`` (the best epoch by the monitor); None: the one
            that the runs recorded.

    Returns:
        The path of the file.

    Raises:
        RunDirectoryError: If a directory holds no run.
    """
    return report_of(Records.read(directories), output, at)


def report_of(
    records: Records,
    output: Path,
    at: str | None = None,
    conclusions: Conclusions | None = None,
    refresh: float = 0.0,
) -> Path:
    """Write the report of runs that are already read.

    Args:
        records: The runs by data set and strategy.
        output: The file to write.
        at: The epoch, as for :func:`write_report`.
        conclusions: The verdicts, if they are already drawn.
        refresh: After how many seconds the page loads itself again; 0: never.

    Returns:
        The path of the file.
    """
    from mtl_runner.results.report.page_view import PageView

    view = PageView.of(records, output.parent, at or records.at, conclusions, refresh)
    figures = [section.figures for section in view.sections]
    page = render(view, figures, view.run_options)
    output.parent.mkdir(parents=True, exist_ok=True)
    # The name of a directory may hold bytes that are no text.
    write_atomic(output, page.encode("utf-8", "backslashreplace"))
    return output


def render(view: Any, figures: Any, run_options: Any) -> str:
    """Render the page: its templates escape all texts by themselves.

    The page's own policy lets nothing be fetched and no other script run, whatever a run's files
    may hold.

    Args:
        view: The content of the page.
        figures: The data of the figures, as lists and numbers.
        run_options: The options of the runs, likewise.
    """
    script = "\n".join(_source(name) for name in SCRIPTS)
    script = f"(() => {{\n'use strict';\n{script}\n}})();"
    return (
        _environment()
        .get_template("report.html")
        .render(
            page=view,
            style=_source("style.css"),
            figures=embedded_json(figures),
            run_options=embedded_json(run_options),
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def embedded_json(value: Any) -> str:
    r"""Return JSON that may stand in a ``<script>`` element: ASCII without ``<``, ``>`` and ``&``.

    Example:
        >>> embedded_json(["</script>"])
        '["\\u003c/script\\u003e"]'
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _environment() -> Environment:
    from jinja2 import DictLoader, Environment, StrictUndefined

    folder = files("mtl_runner.results.report") / "page"
    templates = {
        file.name: file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".html")
    }
    environment = Environment(
        loader=DictLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["unbroken"] = lambda text: str(text).replace(" %", "\u00a0%")
    return environment


def _source(name: str) -> str:
    file = files("mtl_runner.results.report") / "page" / name
    return file.read_text(encoding="utf-8")
