"""mtl-runner: how should the losses of a multi-task model be weighed, and does it matter on my data?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mtl_runner.version import __version__

__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from mtl_runner.runs.predictor import load


def __getattr__(name: str) -> Any:
    # `import mtl_runner` stays free of torch, so that `mtl-run --help` is quick.
    if name == "load":
        from mtl_runner.runs.predictor import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
