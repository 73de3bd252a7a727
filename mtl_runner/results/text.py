"""Tables and numbers as aligned text or Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence


def align(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as aligned text with a line under the first row.

    Example:
        >>> print(align([["task", "loss"], ["y1", "105.3"]]))
        task  loss
        ----  -----
        y1    105.3
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as a Markdown table, escaped."""
    lines = [f"| {' | '.join(map(markdown_text, row))} |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def markdown_text(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", " ".join(text.split()))


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with so many significant digits; nothing for None and NaN."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}g}"
