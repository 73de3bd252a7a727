"""What the tables of a report have in common."""

from __future__ import annotations

import math
from html import escape
from typing import Any


def sort_button(title: str, unit: str, kind: str) -> str:
    """A head of a column that sorts by it."""
    small = f' <span class="unit">{escape(unit)}</span>' if unit else ""
    return f'<button type="button" class="sort" data-sort="{kind}"><span>{escape(title)}{small}</span></button>'


def data_value(value: float) -> str:
    """What a cell is sorted by, if it is a number."""
    return f' data-value="{value!r}"' if math.isfinite(value) else ""


def as_float(value: Any) -> float:
    """NaN for what is no number."""
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError):
        return math.nan
