"""The working directory as the last place where Python looks for modules.

Configs may name a user's own code (``_target_: my_module.MyClass``), but a ``csv.py`` or a folder
``hydra_plugins`` that happens to lie there must not take the place of ours.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# The environment variable that hands the directory to the processes of a launcher.
WORKING_DIRECTORY = "MTL_RUNNER_WORKING_DIRECTORY"
SAFE_PATH = "PYTHONSAFEPATH"


def search_working_directory() -> None:
    """Look for modules in the working directory, after all other places.

    Call it after Hydra has found its plugins. Nothing changes under ``PYTHONSAFEPATH`` or
    ``python -P``.
    """
    if sys.flags.safe_path:
        # Workers start without the options of this process.
        os.environ.setdefault(SAFE_PATH, "1")
        return
    directory = str(Path.cwd())
    # Python itself keeps the directory out of a worker's path until its run begins.
    os.environ[WORKING_DIRECTORY], os.environ[SAFE_PATH] = directory, "1"
    _append(directory)


def leave_working_directory() -> None:
    """Stop looking for modules there, before a sweep starts.

    Workers take over this process's path, and then look for Hydra's plugins in all of it.
    """
    directory = os.environ.get(WORKING_DIRECTORY)
    # Elsewhere in the path it was put by the user.
    if directory is not None and sys.path[-1] == directory:
        del sys.path[-1]


def search_in_run() -> None:
    """Look for modules there again, in the process that trains.

    Programs that it starts are then ordinary ones: Python looks where it always does.
    """
    directory = os.environ.pop(WORKING_DIRECTORY, None)
    if directory is not None:
        os.environ.pop(SAFE_PATH, None)
        _append(directory)


@contextlib.contextmanager
def working_directory_searched() -> Iterator[None]:
    """Look for modules there for a while, in the process that starts workers.

    Example:
        >>> with working_directory_searched():
        ...     pass
    """
    if WORKING_DIRECTORY in os.environ:
        _append(os.environ[WORKING_DIRECTORY])
    try:
        yield
    finally:
        leave_working_directory()


def _append(directory: str) -> None:
    """Add a directory at the end of Python's path, unless it is there."""
    if directory not in sys.path:
        sys.path.append(directory)
