"""Numbers and times in words."""

from __future__ import annotations

import pytest

from mtl_runner.errors.words import counted, duration


def test_one_is_singular() -> None:
    """Breaks if somebody reads '1 runs'."""
    assert [counted(n, "run") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
    assert counted(2, "strategy", "strategies") == "2 strategies"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a minute"),
        (44, "less than a minute"),
        (46, "about 1 minute"),
        (91, "about 2 minutes"),
        (99 * 60, "about 99 minutes"),
        (100 * 60, "about 1.7 hours"),
        (40 * 3600, "about 40 hours"),
    ],
)
def test_a_time_is_said_as_one_would(seconds: float, words: str) -> None:
    """Breaks if somebody reads 'about 0 minutes' or 'about 1 minutes'."""
    assert duration(seconds) == words
