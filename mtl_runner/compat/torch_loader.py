"""The end of a ``DataLoader`` whose worker was killed: torch has no public, quiet way."""

from __future__ import annotations

import contextlib
from typing import Any


def end_workers(iterator: Any) -> None:
    """End the workers of a loader's iterator, of which one may be gone already.

    Left to itself, the iterator prints the errors of its queues when it is deleted.

    Args:
        iterator: ``iter(loader)``, of any loader; without workers there is nothing to do.

    Example:
        >>> import torch
        >>> end_workers(iter(torch.utils.data.DataLoader([1, 2])))
    """
    shut_down = getattr(iterator, "_shutdown_workers", None)
    if shut_down is not None:
        with contextlib.suppress(Exception):
            shut_down()
        iterator._shutdown = True
