"""mtl-runner: how should the losses of a multi-task model be weighed, and does it matter?

Everything that users import stands here. A name is imported when it is first used, so that
``import mtl_runner`` alone does not import torch.

Example:
    >>> import mtl_runner
    >>> run = mtl_runner.run("data=digits", "trainer.epochs=5")  # doctest: +SKIP
    >>> run.metrics  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mtl_runner.version import __version__

if TYPE_CHECKING:
    from mtl_runner.launch.in_process import run
    from mtl_runner.likelihood import Likelihood
    from mtl_runner.results.compare import compare
    from mtl_runner.runs.predictor import load
    from mtl_runner.runs.recorder import Recorder
    from mtl_runner.runs.trackers.base import Tracker
    from mtl_runner.schedule import Schedule
    from mtl_runner.tasks.kinds import Kind
    from mtl_runner.tasks.metrics import Metric
    from mtl_runner.tasks.task import Task
    from mtl_runner.update import Update
    from mtl_runner.weighting import Weighting

__all__ = [
    "Kind",
    "Likelihood",
    "Metric",
    "Recorder",
    "Schedule",
    "Task",
    "Tracker",
    "Update",
    "Weighting",
    "__version__",
    "compare",
    "load",
    "run",
]

_MODULES = {
    "Kind": "mtl_runner.tasks.kinds",
    "Likelihood": "mtl_runner.likelihood",
    "Metric": "mtl_runner.tasks.metrics",
    "Recorder": "mtl_runner.runs.recorder",
    "Schedule": "mtl_runner.schedule",
    "Task": "mtl_runner.tasks.task",
    "Tracker": "mtl_runner.runs.trackers.base",
    "Update": "mtl_runner.update",
    "Weighting": "mtl_runner.weighting",
    "compare": "mtl_runner.results.compare",
    "load": "mtl_runner.runs.predictor",
    "run": "mtl_runner.launch.in_process",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
