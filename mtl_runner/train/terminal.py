"""Lines on the terminal, above the bars that it may show."""

from __future__ import annotations

import contextlib
import sys
from typing import IO


def say(text: str, stream: IO[str] | None = None) -> None:
    """Print a line at once; a bar that is shown stands below it.

    That nobody reads it any more is no error.

    Args:
        text: The line, or several.
        stream: Where it goes; None: the standard output.

    Example:
        >>> say("2 of 6 runs have finished")
        2 of 6 runs have finished
    """
    from tqdm import tqdm

    stream = stream or sys.stdout
    with contextlib.suppress(OSError):
        tqdm.write(text, file=stream)
        stream.flush()
