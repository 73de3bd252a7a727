"""How Hydra makes launchers, and what it knows of a job that failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from mtl_runner.compat.hydra_launcher import BasicLauncher, failure_of, wrap_launchers


@pytest.fixture
def unwrapped() -> Iterator[None]:
    """Let Hydra make its launchers again as it did before."""
    yield
    Plugins.instance().__dict__.pop("instantiate_launcher", None)


def test_every_launcher_is_wrapped_once(unwrapped: None) -> None:
    """Breaks if a sweep is not reported, or twice where a process starts two sweeps."""
    wrapped: list[tuple[Any, Any]] = []
    target = {"_target_": f"{BasicLauncher.__module__}.BasicLauncher"}
    config = OmegaConf.create({"hydra": {"launcher": target}})
    for _ in range(2):
        wrap_launchers(lambda launcher, config: wrapped.append((launcher, config)) or launcher)  # type: ignore[func-returns-value]
    context: Any = None
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=context, task_function=lambda config: None, config=config
    )
    assert type(launcher).__name__ == "BasicLauncher"
    assert wrapped == [(launcher, config)]


def test_a_job_that_failed_has_an_exception() -> None:
    """Breaks if the line of a failed job has no reason."""
    error = ValueError("no data")
    assert failure_of(JobReturn(_return_value=error, status=JobStatus.FAILED)) is error
    assert failure_of(JobReturn(_return_value=0.5, status=JobStatus.COMPLETED)) is None
