"""The start of a sweep: its directory is remembered, and refused if it holds another sweep."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

# The environment variable that is set for a sweep that was started with resume=true.
RESUME = "MTL_RUNNER_RESUME"


class SweepRefusedError(SystemExit):
    """The end of a sweep before it writes anything.

    It is no ordinary exception, since Hydra swallows those of its callbacks.

    Example:
        >>> raise SweepRefusedError("'sweep' holds a sweep already")
        Traceback (most recent call last):
        mtl_runner.launch.start.SweepRefusedError: 'sweep' holds a sweep already
    """


class SweepStart(Callback):
    """The Hydra callback at the start of a multirun.

    Attributes:
        directory: The directory of the sweep that this process started, for the whole class.

    Example:
        >>> config = OmegaConf.create({"hydra": {"sweep": {"dir": "outputs/no_such_sweep"}}})
        >>> SweepStart().on_multirun_start(config)
        >>> current_sweep().name
        'no_such_sweep'
        >>> SweepStart.directory = None
    """

    directory: Path | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remember the directory of the sweep.

        Args:
            config: The config of the sweep, with its ``hydra`` node.
            kwargs: Whatever else Hydra gives its callbacks.

        Raises:
            SweepRefusedError: If the directory holds a sweep and ``resume=true`` was not given,
                or a sweep with other options.
        """
        del kwargs
        directory = Path(config.hydra.sweep.dir).absolute()
        if (directory / "multirun.yaml").exists():
            if not os.environ.get(RESUME):
                raise SweepRefusedError(
                    f"{str(directory)!r} holds a sweep already; add resume=true to go on with it, or choose another hydra.sweep.dir."
                )
            recorded = list(OmegaConf.load(directory / "multirun.yaml").hydra.overrides.task)
            if recorded != list(config.hydra.overrides.task):
                raise SweepRefusedError(
                    f"{str(directory)!r} holds another sweep ({' '.join(recorded)}); resume=true goes on with the same options only, "
                    "so give them, or choose another hydra.sweep.dir and compare both with mtl-compare."
                )
        SweepStart.directory = directory


def current_sweep() -> Path | None:
    """Return the directory of the sweep that this process started, if any."""
    return SweepStart.directory
