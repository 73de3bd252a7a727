"""The errors a user may see: one sentence that says what is wrong and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MtlError(Exception):
    """Base of every error whose text is written for the user; the command line prints it without a traceback."""


class ConfigError(MtlError):
    """The configuration asks for something that does not exist or cannot be."""


class DataError(MtlError):
    """The data cannot be read or do not fit the tasks."""


class ModelError(MtlError):
    """The model does not fit the tasks: shapes, unreached or hidden parameters."""


class DivergedError(MtlError):
    """A loss or a weight became NaN or infinite."""


class RunDirectoryError(MtlError):
    """A run directory is taken, incomplete or cannot be written."""


def suggest(name: str, allowed: Iterable[str]) -> str:
    """The end of a sentence about a wrong name: the nearest allowed name, then all of them."""
    names = sorted(str(a) for a in allowed)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}allowed: {', '.join(names) if names else 'none'}"
