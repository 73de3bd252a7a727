"""The Hydra sweepers ``basic`` and ``fair``, whose sweeps can grow. Free of torch."""

from __future__ import annotations

from typing import Any

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from mtl_runner.compat.hydra_sweeper import BasicSweeper
from mtl_runner.launch.reusing_launcher import ReusingLauncher
from mtl_runner.study.sweeper import StudySweeper


class GridSweeper(BasicSweeper):
    """The sweeper ``basic``: Hydra's own, but runs that are there already are not made again.

    Example:
        >>> GridSweeper(max_batch_size=None).max_batch_size
    """

    # Hydra takes plugins from this package only, wherever their file lies.
    __module__ = "hydra_plugins.mtl_runner"

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra gives a sweeper before the sweep.

        Args:
            hydra_context: Hydra's config loader and callbacks.
            task_function: The function that trains one run.
            config: The config of the sweep.
        """
        given: dict[str, Any] = {
            "hydra_context": hydra_context,
            "task_function": task_function,
            "config": config,
        }
        super().setup(**given)
        self.launcher = _reusing(self.launcher, given)


class FairSweeper(StudySweeper):
    """The sweeper ``fair``: a study, in which runs that are there already are not made again.

    Example:
        >>> issubclass(FairSweeper, StudySweeper)
        True
    """

    # Hydra takes plugins from this package only, wherever their file lies.
    __module__ = "hydra_plugins.mtl_runner"

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra gives a sweeper before the sweep.

        Args:
            hydra_context: Hydra's config loader and callbacks.
            task_function: The function that trains one run.
            config: The config of the sweep.
        """
        given: dict[str, Any] = {
            "hydra_context": hydra_context,
            "task_function": task_function,
            "config": config,
        }
        super().setup(**given)
        self.launcher = _reusing(self.launcher, given)


def _reusing(launcher: Any, given: dict[str, Any]) -> ReusingLauncher:
    """Return a launcher that hands on only what is missing to the one that Hydra has made."""
    reusing = ReusingLauncher(launcher)
    reusing.setup(**given)
    return reusing
