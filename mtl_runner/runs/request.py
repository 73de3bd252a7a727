"""The request that starts a run, and its outcome. Free of torch."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

Shown = Literal["all", "bar", "nothing"]


@dataclass(frozen=True)
class Request:
    """One run as the command line asks for it.

    Attributes:
        config: The composed config, without Hydra's own node.
        directory: The run directory.
        overrides: The options of the command line.
        choices: The option of each config group, e.g. ``{"weighting": "dwa"}``.
        hydra: Hydra's own config, to be recorded; None for a run without Hydra.
        longer: The number of epochs to which a run that is recorded already is to go on; None: as
            many as it was first asked for.
        job: The label of a job in a sweep, e.g. ``"3: weighting=fixed seed=0"``; else empty.
        shown: What the terminal shows of it: ``"all"``, its ``"bar"`` under that of a sweep, or
            ``"nothing"``, since it trains in another process than the sweep's.

    Example:
        >>> from omegaconf import OmegaConf
        >>> request = Request(OmegaConf.create({"seed": 0}), Path("outputs/run"), ["seed=0"])
        >>> request.directory.name, request.job
        ('run', '')
    """

    config: DictConfig
    directory: Path
    overrides: Sequence[str] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    hydra: DictConfig | None = None
    job: str = ""
    longer: int | None = None
    shown: Shown = "all"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        monitor: ``trainer.monitor`` at the epoch that is judged; NaN if the run failed.
        error: The sentence that says why it failed or stopped; empty if it finished.
        exit_code: The exit status that the command should end with.
        stopped_by: The signal that asked to stop, such as Ctrl-C; also if the run came to its end.
        cause: The exception behind ``error``, if any.

    Example:
        >>> Outcome(monitor=0.25).error
        ''
        >>> Outcome(error="The disk is full.", exit_code=1).monitor
        nan
    """

    monitor: float = float("nan")
    error: str = ""
    exit_code: int = 0
    stopped_by: signal.Signals | None = None
    cause: BaseException | None = field(default=None, compare=False)

    @property
    def interrupted(self) -> bool:
        """Whether a signal asked to stop."""
        return self.stopped_by is not None
