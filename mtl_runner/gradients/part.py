"""The part of a batch that one of several processes takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One of several parts of equal size into which rows are cut, in their order.

    Attributes:
        number: Number of the part, counted from 0.
        count: Number of parts.

    Example:
        >>> [Part(number, 3).slice_of(8) for number in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
    """

    number: int = 0
    count: int = 1

    def slice_of(self, rows: int) -> slice:
        """Return where the rows of this part lie; it may be empty where there are few.

        Args:
            rows: Number of rows that are cut into parts.
        """
        return slice(rows * self.number // self.count, rows * (self.number + 1) // self.count)

    @property
    def is_all(self) -> bool:
        """Whether this is the only part."""
        return self.count == 1


WHOLE = Part()
