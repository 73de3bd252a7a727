"""What a run is to those who start it and wait for it. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig


@dataclass(frozen=True)
class Request:
    """One run as the command line asks for it."""

    config: DictConfig
    directory: Path
    overrides: Sequence[str] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    hydra: DictConfig | None = None
    job: str = ""  # "3: weighting=fixed seed=0" in a sweep


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the monitor's best value, or the sentence that says why not, and what raised it."""

    monitor: float = float("nan")
    error: str = ""
    exit_code: int = 0
    interrupted: bool = False
    cause: BaseException | None = field(default=None, compare=False)
