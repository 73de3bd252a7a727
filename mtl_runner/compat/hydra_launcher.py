"""Hydra's own launcher, which runs the jobs of a sweep one after another, and how it makes any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

__all__ = ["BasicLauncher", "failure_of", "wrap_launchers"]


def wrap_launchers(wrap: Callable[[Launcher, DictConfig], Launcher]) -> None:
    """Let every sweeper that asks Hydra for its launcher get a wrapped one.

    Args:
        wrap: A function from the launcher and the config of the sweep to what the sweeper gets.
    """
    plugins: Any = Plugins.instance()
    # Of the class: in one process this may be called several times.
    make = Plugins.instantiate_launcher

    def instantiate_launcher(*, config: DictConfig, **options: Any) -> Launcher:
        return wrap(make(plugins, config=config, **options), config)

    plugins.instantiate_launcher = instantiate_launcher


def failure_of(job: JobReturn) -> Exception | None:
    """Return the exception that a job of Hydra's ended with, which it would raise if asked.

    Args:
        job: What Hydra knows of the job.

    Example:
        >>> from hydra.core.utils import JobStatus
        >>> failure_of(JobReturn(status=JobStatus.FAILED, _return_value=ValueError("no data")))
        ValueError('no data')
    """
    value = job._return_value
    return value if isinstance(value, Exception) else None
