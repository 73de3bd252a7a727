"""Tables as aligned text."""

from __future__ import annotations

import math
from collections.abc import Sequence


def align(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as aligned text with a line under the first."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits; nothing for what is undefined."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}g}"
