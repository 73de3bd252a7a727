"""The report of a sweep or study: one HTML file that needs no network, no server and no other file."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from mtl_runner.results.read import Run, find_runs

if TYPE_CHECKING:
    from mtl_runner.results.conclusions import Conclusions

SCRIPTS = ("chart.js", "lines.js", "plane.js", "figures.js", "table.js")


def write_report(directories: Sequence[Path], output: Path, at: str = "final") -> Path:
    """Write the report of all runs at or below the directories to the file ``output``; returns its path.

    Links to the runs are relative to the file where that is possible, so that a copied sweep still works.

    Args:
        at: ``final`` (the last epoch) or ``best`` (the best epoch by the monitor).

    Raises ``RunDirectoryError`` if a directory holds no run.
    """
    return report_runs(find_runs(directories), output, at)


def report_runs(
    runs: Sequence[Run], output: Path, at: str = "final", conclusions: Conclusions | None = None
) -> Path:
    """The same for runs that are already read, with the conclusions if they are already drawn."""
    from mtl_runner.results.report_content import Content
    from mtl_runner.results.report_html import body

    content = Content.of(runs, at)
    figures = content.figures()
    page = render(content.title, body(content, figures, output.parent, conclusions), figures)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.tmp")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(output)
    return output


def render(title: str, content: str, figures: Any) -> str:
    """The whole page: the template with its style, its script, the (already escaped) content and the data of the figures.

    The page's own policy lets nothing be fetched and no other script run, whatever a run's files may hold.
    """
    folder = files("mtl_runner.results") / "page"
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    script = f"(() => {{\n'use strict';\n{script}\n}})();"
    return Template((folder / "template.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        style=(folder / "style.css").read_text(encoding="utf-8"),
        content=content,
        figures=embedded_json(figures),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def embedded_json(value: Any) -> str:
    """JSON that may stand inside a ``<script>`` element: pure ASCII without ``<``, ``>`` and ``&``."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
