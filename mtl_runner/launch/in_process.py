"""Runs from Python: ``mtl_runner.run``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.config.open_keys import opened
from mtl_runner.errors import ConfigError, MtlError
from mtl_runner.errors.wording import cli_message
from mtl_runner.launch.unchanged_process import unchanged_process, without_hydra

if TYPE_CHECKING:
    from mtl_runner.runs.request import Request
    from mtl_runner.runs.result import RunResult


def run(*overrides: str) -> RunResult:
    """Train one run in this process, as ``mtl-run`` does with the same options.

    A run directory that holds this very run already is taken up where it stopped, or read if it is finished.

    Args:
        overrides: What would stand on the command line: ``"weighting=uncertainty"``, ``"data=digits"``, ``"hydra.run.dir=my_run"``.

    Returns:
        What came out, with the pictures where a notebook shows it.

    Raises:
        MtlError: With the sentence that the command would end with: a wrong option (``ConfigError``), a diverged loss
            (``DivergedError``), a taken directory (``RunDirectoryError``); what a model of yours raises is its cause.
        KeyboardInterrupt: After Ctrl-C; the last evaluated epoch is saved.

    Example:
        >>> result = run("weighting=uncertainty", "data=digits", "trainer.epochs=5")  # doctest: +SKIP
        >>> result.metrics.query("split == 'val'")  # doctest: +SKIP
    """
    from mtl_runner.runs.result import RunResult
    from mtl_runner.runs.runner import run as run_request

    request = _request(overrides)
    with unchanged_process():
        outcome = run_request(request)
    if outcome.interrupted:
        raise KeyboardInterrupt(outcome.error)
    if isinstance(outcome.cause, MtlError):
        raise outcome.cause
    if outcome.error:
        raise MtlError(outcome.error) from outcome.cause
    return RunResult(request.directory)


def _request(overrides: Sequence[str]) -> Request:
    """The run that Hydra composes from the options."""
    from hydra import compose, initialize_config_dir

    from mtl_runner.launch.plugins import register
    from mtl_runner.launch.request import request_in

    for override in overrides:
        if override.startswith("-"):
            raise ConfigError(
                f"run takes options such as 'data=digits'; found {override!r} (sweeps are for mtl-run -m)."
            )
    register()
    try:
        with (
            without_hydra(),
            initialize_config_dir(str(conf_directory()), version_base="1.3", job_name="mtl-run"),
        ):
            config = compose(
                "config", [opened(override) for override in overrides], return_hydra_config=True
            )
            request, _ = request_in(config, lambda composed: Path(str(composed.hydra.run.dir)))
    except MtlError:
        raise
    except Exception as error:
        raise ConfigError(cli_message(error)) from error
    if "study" in request.config:
        raise ConfigError(
            "A study is many runs: write mtl-run -m +study=fair ..., with the sweeper that it brings."
        )
    return request
