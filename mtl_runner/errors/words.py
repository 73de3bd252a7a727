"""Numbers of things and times, as a sentence names them."""

from __future__ import annotations

MINUTE, HOUR, DAY = 60, 3600, 86400


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the singular or the plural.

    Args:
        number: How many there are.
        noun: The noun in the singular.

    Example:
        >>> counted(1, "epoch"), counted(2, "strategy"), counted(1200, "run")
        ('1 epoch', '2 strategies', '1,200 runs')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def duration(seconds: float) -> str:
    """Return a time with two significant digits or so, in the unit that suits it.

    Args:
        seconds: The time in seconds.

    Example:
        >>> [duration(seconds) for seconds in (0.04, 3.24, 40, 720, 9000, 200000)]
        ['0.04 s', '3.2 s', '40 s', '12 min', '2.5 h', '2.3 days']
    """
    if seconds < 9.95:
        return f"{round(seconds, 2 if seconds < 1 else 1):g} s"
    if seconds < 1.5 * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 1.5 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    if seconds < 1.5 * DAY:
        return f"{seconds / HOUR:.1f} h"
    return f"{seconds / DAY:.1f} days"
