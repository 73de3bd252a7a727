"""Heads and cells that the tables of a report share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Sort = Literal["text", "low", "high"]  # by name, least first, largest first


@dataclass(frozen=True)
class Head:
    """The head of a column that sorts the table.

    Attributes:
        title: What the column shows.
        sort: The order that a first click gives.
        unit: Its unit, in small type.
        sorted: ``ascending`` or ``descending`` if the table comes sorted by it.
    """

    title: str
    sort: Sort = "text"
    unit: str = ""
    sorted: str = ""

    @property
    def numeric(self) -> bool:
        """Whether the column holds numbers."""
        return self.sort != "text"


@dataclass(frozen=True)
class Number:
    """A number in a table; NaN is an empty cell."""

    value: float
    digits: int = 4

    @property
    def known(self) -> bool:
        """Whether there is a number."""
        return math.isfinite(self.value)

    @property
    def data(self) -> str:
        """The number in full, by which the column is sorted."""
        return repr(self.value)
