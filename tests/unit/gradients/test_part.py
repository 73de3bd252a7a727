"""Parts of rows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.gradients.part import WHOLE, Part


@given(rows=st.integers(0, 100), count=st.integers(1, 9))
def test_parts_are_all_rows_in_order_and_equally_many(rows: int, count: int) -> None:
    """Breaks if a row is taken twice or by nobody, or a process has more than its share."""
    slices = [Part(number, count).slice_of(rows) for number in range(count)]
    taken = [row for part in slices for row in range(rows)[part]]
    assert taken == list(range(rows))
    sizes = [part.stop - part.start for part in slices]
    assert max(sizes) - min(sizes) <= 1


def test_the_whole_is_one_part() -> None:
    """Breaks if a run on one device takes the way of several."""
    assert WHOLE.is_all
    assert not Part(0, 2).is_all
    assert range(5)[WHOLE.slice_of(5)] == range(5)
