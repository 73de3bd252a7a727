"""The base of the sweepers of a study and of a search: they hand rounds of runs to any launcher."""

from __future__ import annotations

import typing
from collections.abc import Generator, Mapping, Sequence
from typing import runtime_checkable

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from mtl_runner.study.plan import Plan, PlannedRun


@runtime_checkable
class KnowsFolders(typing.Protocol):
    """A launcher that uses runs again which are there already.

    Attributes:
        folders: The name of the folder of each job so far, by the number that it was given.
        reused: The number of runs that were not made again.
    """

    folders: Mapping[int, str]
    reused: int


class Rounds(typing.Protocol):
    """A study as rounds of runs.

    Attributes:
        plan: The numbers of the study.
        notes: Sentences that a reader of the results should know.
        noise: How much a comparison varies over seeds, once it is known; else NaN.
    """

    plan: Plan
    notes: list[str]
    noise: float

    def rounds(self) -> Generator[list[PlannedRun], Sequence[float], None]:
        """Yield the runs of each round; wants their monitors sent back."""


class CountsRuns(typing.Protocol):
    """The number of runs of a study."""

    @property
    def most_without_extension(self) -> int:
        """The most runs if no best learning rate lies on the edge."""

    def after(self, phase: int, rounds: int = 0, groups: int = 0) -> tuple[int, int]:
        """Return the least and the most runs that follow a round."""


class LaunchingSweeper(Sweeper):
    """A sweeper that hands its runs to the launcher of the config, in rounds.

    Attributes:
        context: Hydra's config loader and callbacks.
        sweep_config: The config of the sweep.
        launcher: What trains the runs.

    Example:
        >>> issubclass(LaunchingSweeper, Sweeper)
        True
    """

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra gives a sweeper before the sweep.

        Args:
            hydra_context: Hydra's config loader and callbacks.
            task_function: The function that trains one run.
            config: The config of the sweep.
        """
        self.context, self.sweep_config = hydra_context, config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def with_plots(self, options: Sequence[str]) -> list[str]:
        """Return the options of every run, with the ``record.plots`` of the sweep.

        The runs are composed without ``+study=fair`` or ``+search=optuna``, which sets it.

        Args:
            options: The options of the command line that all runs share.
        """
        if any(option.lstrip("+").startswith("record.plots=") for option in options):
            return list(options)
        return [*options, f"record.plots={self.sweep_config.record.plots}"]

    @property
    def reused(self) -> int:
        """The number of runs that were there already and were not made again."""
        return self.launcher.reused if isinstance(self.launcher, KnowsFolders) else 0

    @property
    def folders(self) -> Mapping[int, str] | None:
        """The folder of each run that the launcher knows, by its number; None if it knows none."""
        return self.launcher.folders if isinstance(self.launcher, KnowsFolders) else None
