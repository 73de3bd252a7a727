"""The start of a sweep: remember its directory, and refuse one that holds another sweep."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

RESUME = "MTL_RUNNER_RESUME"  # set for a sweep that was started with resume=true


class SweepRefusedError(SystemExit):
    """Stops Hydra before it writes anything; its callbacks swallow every ordinary exception."""


class SweepStart(Callback):
    """Hydra callback at the start of a multirun."""

    directory: Path | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        del kwargs
        directory = Path(config.hydra.sweep.dir).absolute()
        if (directory / "multirun.yaml").exists():
            if not os.environ.get(RESUME):
                raise SweepRefusedError(
                    f"{str(directory)!r} holds a sweep already; add resume=true to go on with it, or choose another hydra.sweep.dir."
                )
            first, now = (
                list(c.hydra.overrides.task)
                for c in (OmegaConf.load(directory / "multirun.yaml"), config)
            )
            if first != now:
                raise SweepRefusedError(
                    f"{str(directory)!r} holds another sweep ({' '.join(first)}); resume=true goes on with the same options only, "
                    "so give them, or choose another hydra.sweep.dir and compare both with mtl-compare."
                )
        SweepStart.directory = directory


def current_sweep() -> Path | None:
    """The directory of the sweep that this process started, if any."""
    return SweepStart.directory
