"""Adapters of other libraries' training loops: our weightings in them, and their runs recorded.

- ``LightningRecorder``: a callback for Lightning that records a run.
- ``MultiTaskTrainer``: a ``transformers.Trainer`` for several losses, with any of our weightings.

The classes are made when they are first asked for, since their bases come from these libraries.

Example:
    >>> from mtl_runner.integrations import MultiTaskTrainer  # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

from mtl_runner.integrations.lightning import recorder_callback
from mtl_runner.integrations.transformers import trainer_class

__all__ = ["LightningRecorder", "MultiTaskTrainer"]

_MAKERS = {"LightningRecorder": recorder_callback, "MultiTaskTrainer": trainer_class}


def __getattr__(name: str) -> Any:
    if name not in _MAKERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _MAKERS[name]()
