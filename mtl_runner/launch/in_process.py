"""Runs from Python, without a command: ``mtl_runner.run``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.config.open_keys import override_or_add
from mtl_runner.errors import ConfigError, MtlError
from mtl_runner.errors.messages import cli_message
from mtl_runner.launch.unchanged_process import unchanged_process, without_hydra

if TYPE_CHECKING:
    from mtl_runner.runs.request import Request
    from mtl_runner.runs.result import RunResult


def run(*overrides: str) -> RunResult:
    """Train one run in this process, as ``mtl-run`` does with the same options.

    If the run directory holds this very run already, it is resumed where it stopped, or only read
    if it is finished.

    Args:
        overrides: The options of the command line, e.g. ``"weighting=uncertainty"``,
            ``"data=digits"``, ``"hydra.run.dir=my_run"``.

    Returns:
        The finished run: its numbers, its pictures and its trained model.

    Raises:
        MtlError: With the sentence that the command would end with: ``ConfigError`` for a wrong
            option, ``DivergedError`` for a diverged loss, ``RunDirectoryError`` for a taken
            directory. An error of your own model or data is its ``__cause__``.
        KeyboardInterrupt: After Ctrl-C; the last evaluated epoch is saved.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> small = ("model.hidden=[4]", "trainer.epochs=1", "record.plots=none")
        >>> directory = f"hydra.run.dir={folder.name}/run"
        >>> result = run("data=toy_regression", *small, directory)  # doctest: +ELLIPSIS
        y1, y2: ...
        >>> sorted(result.summary["tasks"])
        ['y1', 'y2']
        >>> folder.cleanup()
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
    return RunResult(request.directory, trust=_trusted_by(request.config))


def _trusted_by(config: DictConfig) -> tuple[str, ...]:
    """Return whose code the model of a run may be made of: what the user's own config names."""
    from mtl_runner.config.instantiate import targets_of
    from mtl_runner.config.trust import LARGE_PACKAGES

    nodes = [
        OmegaConf.to_container(config[key], resolve=True) for key in ("data", "model", "likelihood")
    ]
    paths = [path for path in targets_of(nodes) if not path.startswith("mtl_runner.")]
    packages = [path.split(".")[0] for path in paths]
    return (*paths, *(name for name in packages if name not in LARGE_PACKAGES))


def _request(overrides: Sequence[str]) -> Request:
    """Return the request for the run that Hydra composes from the options."""
    from hydra import compose, initialize_config_dir

    from mtl_runner.launch.hydra_request import check_directory, request_of_composed
    from mtl_runner.launch.overrides import check_overrides, sweeping_choice
    from mtl_runner.launch.plugins import register

    for override in overrides:
        if override.startswith("-"):
            raise ConfigError(
                f"run takes options such as 'data=digits'; found {override!r} (sweeps are for mtl-run -m)."
            )
    check_overrides(overrides)
    register()
    try:
        with (
            without_hydra(),
            initialize_config_dir(str(conf_directory()), version_base="1.3", job_name="mtl-run"),
        ):
            config = compose(
                "config",
                [override_or_add(override) for override in overrides],
                return_hydra_config=True,
            )
            # As it was typed: Hydra's own values, such as the time, are not known here yet.
            typed: Any = OmegaConf.to_container(config.hydra.run, resolve=False)
            check_directory("hydra.run.dir", typed["dir"])
            request, _ = request_of_composed(
                config, lambda composed: Path(str(composed.hydra.run.dir))
            )
    except MtlError:
        raise
    except Exception as error:
        raise ConfigError(cli_message(error)) from error
    if reason := sweeping_choice(request.config):
        raise ConfigError(reason)
    return request
