"""The start of a command: where it may write, and whose directory a sweep goes into."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from mtl_runner.compat.omegaconf_yaml import YAML_BYTES, read_yaml
from mtl_runner.config.working_directory import leave_working_directory
from mtl_runner.errors import ConfigError
from mtl_runner.errors.messages import run_message
from mtl_runner.files import make_way, read_regular, write_json
from mtl_runner.launch.growth import difference
from mtl_runner.launch.hydra_request import check_directory, check_name
from mtl_runner.runs.records import SWEEP_RECORDS

# The environment variable that is set for a sweep that was started with resume=true.
RESUME = "MTL_RUNNER_RESUME"
OUR_SWEEPERS = "hydra_plugins.mtl_runner."


class RefusedError(SystemExit):
    """The end of a command before it writes anything.

    It is no ordinary exception, since Hydra swallows those of its callbacks.

    Example:
        >>> raise RefusedError("'sweep' holds a sweep already")
        Traceback (most recent call last):
        mtl_runner.launch.start.RefusedError: 'sweep' holds a sweep already
    """


class SweepStart(Callback):
    """The Hydra callback at the start of a run or a multirun.

    Attributes:
        directory: The directory of the sweep that this process started, for the whole class.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> hydra = {"sweep": {"dir": f"{folder.name}/s", "subdir": "0"}, "overrides": {"task": []}}
        >>> SweepStart().on_multirun_start(OmegaConf.create({"hydra": hydra}))
        >>> current_sweep().name
        's'
        >>> SweepStart.directory = None
        >>> folder.cleanup()
    """

    directory: Path | None = None

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Look where a single run would be written, before Hydra makes the directory.

        Args:
            config: The config of the run, with its ``hydra`` node.
            kwargs: Whatever else Hydra gives its callbacks.

        Raises:
            RefusedError: If the directory has no name, or the run's name leads out of it.
        """
        del kwargs
        _check_places(config, "run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remember the directory of the sweep, and record there what it is.

        Args:
            config: The config of the sweep, with its ``hydra`` node.
            kwargs: Whatever else Hydra gives its callbacks.

        Raises:
            RefusedError: If the directory holds a sweep and ``resume=true`` was not given, or a
                sweep whose runs cannot be compared with this one's, or it cannot be written.
        """
        del kwargs
        _check_places(config, "sweep.dir", "sweep.subdir")
        directory = Path(config.hydra.sweep.dir).absolute()
        options = [str(option) for option in config.hydra.overrides.task]
        try:
            _check_free(directory, options, growing=_can_grow(config))
            directory.mkdir(parents=True, exist_ok=True)
            write_json(directory / SWEEP_RECORDS[0], {"version": 1, "overrides": options})
            # Hydra opens its own record for writing, whatever lies there.
            make_way(directory / SWEEP_RECORDS[1])
        except OSError as error:
            raise RefusedError(run_message(error)) from error
        SweepStart.directory = directory
        leave_working_directory()


def current_sweep() -> Path | None:
    """Return the directory of the sweep that this process started, if any."""
    return SweepStart.directory


def forget_empty_sweep(directory: Path) -> None:
    """Remove the record of a sweep that ended before its first run, and the empty directory.

    Args:
        directory: The directory of the sweep.
    """
    if not _holds_runs(directory):
        (directory / SWEEP_RECORDS[0]).unlink(missing_ok=True)
        # Something else may be in it.
        with contextlib.suppress(OSError):
            directory.rmdir()


def _check_places(config: DictConfig, *keys: str) -> None:
    """Raise an error if a run would be written where nobody expects it."""
    try:
        for key in keys:
            check_directory(f"hydra.{key}", _as_typed(config, f"hydra.{key}"))
        check_name(_as_typed(config, "name"))
    except ConfigError as error:
        raise RefusedError(str(error)) from error


def _as_typed(config: DictConfig, key: str) -> Any:
    """Return the value of a key, in which Hydra cannot resolve everything yet."""
    node: Any = OmegaConf.to_container(config, resolve=False)
    for part in key.split("."):
        node = node.get(part, "unknown") if isinstance(node, dict) else "unknown"
    return node


def _holds_runs(directory: Path) -> bool:
    """Return whether any run of a sweep has begun."""
    return any(directory.glob("*/.hydra/config.yaml"))


def _can_grow(config: DictConfig) -> bool:
    """Return whether the sweeper of a sweep takes up runs of a smaller one; those of ours do."""
    target = OmegaConf.select(config, "hydra.sweeper._target_", default=OUR_SWEEPERS)
    return str(target).startswith(OUR_SWEEPERS)


def _check_free(directory: Path, options: list[str], growing: bool) -> None:
    """Raise an error if a directory holds a sweep that this one does not go on with.

    A sweep that ended before its first run, because of a wrong option, gives way.
    """
    recorded_there = any((directory / name).exists() for name in SWEEP_RECORDS)
    if not recorded_there or not _holds_runs(directory):
        return
    if not os.environ.get(RESUME):
        raise RefusedError(
            f"{str(directory)!r} holds a sweep already; add resume=true to go on with it, or choose another hydra.sweep.dir."
        )
    recorded = _recorded_options(directory)
    if recorded is None:
        print(
            f"{str(directory)!r} does not say with which options its sweep was started, since its multirun.yaml cannot be read; going on with these options.",
            file=sys.stderr,
        )
    elif not growing and recorded != options:
        raise RefusedError(
            f"{str(directory)!r} holds another sweep ({' '.join(recorded)}); with this sweeper resume=true goes on with the same options only, "
            "so give them, or choose another hydra.sweep.dir and compare both with mtl-compare."
        )
    elif growing and (different := difference(recorded, options)):
        raise RefusedError(
            f"{str(directory)!r} holds runs that cannot be compared with these ({different}); make them equal, sweep over both values, "
            "or choose another hydra.sweep.dir."
        )


def _recorded_options(directory: Path) -> list[str] | None:
    """Return the options of the sweep in a directory; None if they are not known.

    Hydra's own record, of sweeps that are older than ours, may have been cut off by a kill.
    """
    ours, hydras = (directory / name for name in SWEEP_RECORDS)
    try:
        record: Any = json.loads(read_regular(ours, YAML_BYTES))
        return [str(option) for option in record["overrides"]]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    try:
        hydra: Any = read_yaml(hydras)
        return [str(option) for option in hydra.hydra.overrides.task]
    except Exception:
        # A file that is cut off can be anything.
        return None
