"""The Hydra sweepers ``basic``, ``fair``, ``transfer``, ``search`` and ``probe``, which can grow.

They are free of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from mtl_runner.compat.hydra_compose import one_of_each_kind
from mtl_runner.compat.hydra_sweeper import BasicSweeper
from mtl_runner.launch.reusing_launcher import ReusingLauncher
from mtl_runner.study.probe.sweeper import ProbeSweeper
from mtl_runner.study.search.sweeper import SearchSweeper
from mtl_runner.study.sweeper import StudySweeper
from mtl_runner.study.transfer.sweeper import TransferSweeper

# Hydra takes plugins from this package only, wherever their file lies.
PACKAGE = "hydra_plugins.mtl_runner"


class ReusingSweeper(Sweeper):
    """A mixin for sweepers: runs that are there already are not made again.

    It stands before the class of the sweeper whose launcher it wraps.

    Example:
        >>> issubclass(FairSweeper, ReusingSweeper)
        True
    """

    launcher: Any

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
        # That of the sweeper whose launcher is wrapped.
        super().setup(**given)  # type: ignore[safe-super]
        reusing = ReusingLauncher(self.launcher)
        reusing.setup(**given)
        self.launcher = reusing


class GridSweeper(ReusingSweeper, BasicSweeper):
    """The sweeper ``basic``: Hydra's own, but runs that are there already are not made again.

    Example:
        >>> GridSweeper(max_batch_size=None).max_batch_size
    """

    __module__ = PACKAGE

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Check that the jobs can be composed; of those that differ in values only, the first.

        Args:
            batch: The options of each job.
        """
        super().validate_batch_is_legal(one_of_each_kind(batch))


class FairSweeper(ReusingSweeper, StudySweeper):
    """The sweeper ``fair``: a study, in which runs that are there already are not made again.

    Example:
        >>> issubclass(FairSweeper, StudySweeper)
        True
    """

    __module__ = PACKAGE


class TransferStudySweeper(ReusingSweeper, TransferSweeper):
    """The sweeper ``transfer``: runs that are there already are not made again.

    Example:
        >>> issubclass(TransferStudySweeper, TransferSweeper)
        True
    """

    __module__ = PACKAGE


class OptunaSearchSweeper(ReusingSweeper, SearchSweeper):
    """The sweeper ``search``: a search, in which runs that are there already are not made again.

    Example:
        >>> issubclass(OptunaSearchSweeper, SearchSweeper)
        True
    """

    __module__ = PACKAGE


class WeightingProbeSweeper(ReusingSweeper, ProbeSweeper):
    """The sweeper ``probe``: a probe, in which runs that are there already are not made again.

    Example:
        >>> issubclass(WeightingProbeSweeper, ProbeSweeper)
        True
    """

    __module__ = PACKAGE
