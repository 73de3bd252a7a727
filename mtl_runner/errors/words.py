"""Numbers and times in words, singular and plural. Imports nothing."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun.

    Args:
        count: How many.
        noun: The noun for one.
        plural: The noun for several; by default with an s.

    Example:
        >>> counted(1, "run"), counted(2, "run"), counted(0, "strategy", "strategies")
        ('1 run', '2 runs', '0 strategies')
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """Return a time as one would say it.

    Args:
        seconds: The time in seconds.

    Example:
        >>> duration(3), duration(70), duration(3500), duration(2.6 * 3600)
        ('less than a minute', 'about 1 minute', 'about 58 minutes', 'about 2.6 hours')
    """
    if seconds < 45:
        return "less than a minute"
    if seconds < 99.5 * 60:
        return f"about {counted(max(1, round(seconds / 60)), 'minute')}"
    return f"about {seconds / 3600:.2g} hours"
