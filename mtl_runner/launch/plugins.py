"""Our Hydra plugins, registered at run time instead of from a folder ``hydra_plugins``."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from mtl_runner.compat.hydra_launcher import wrap_launchers
from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.launch.gpus_launcher import GpusLauncher
from mtl_runner.launch.reported_launcher import ReportedLauncher
from mtl_runner.launch.slurm_launcher import SlurmLauncher
from mtl_runner.launch.stacked_launcher import StackedLauncher
from mtl_runner.launch.sweepers import (
    FairSweeper,
    GridSweeper,
    OptunaSearchSweeper,
    TransferStudySweeper,
    WeightingProbeSweeper,
)

# Launchers and sweepers that conf/hydra names.
PLUGINS = (
    StackedLauncher,
    GpusLauncher,
    SlurmLauncher,
    GridSweeper,
    FairSweeper,
    TransferStudySweeper,
    OptunaSearchSweeper,
    WeightingProbeSweeper,
)


class ConfigFolders(SearchPathPlugin):
    """The plugin that adds our configs, and then ``./conf`` of the working directory.

    Ours come first: a user adds options to every group and cannot break ours by accident. They are
    added even though they are the primary configs, since a repeated run has a primary config of
    its own.

    Example:
        >>> from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
        >>> search_path = ConfigSearchPathImpl()
        >>> ConfigFolders().manipulate_search_path(search_path)
        >>> search_path.get_path()[0].provider
        'mtl-runner'
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folders to Hydra's search path.

        Args:
            search_path: The folders in which Hydra looks for configs, changed in place.
        """
        search_path.append("mtl-runner", f"file://{conf_directory()}")
        conf = Path.cwd() / "conf"
        if conf.is_dir():
            search_path.append("mtl-runner user", f"file://{conf}")


def register() -> None:
    """Register the plugins with Hydra."""
    Plugins.instance().register(ConfigFolders)
    # Hydra imports launchers and sweepers from the package `hydra_plugins` only, so a module there
    # stands for ours; the package exists if another plugin is installed.
    try:
        import hydra_plugins  # type: ignore[import-untyped]
    except ImportError:
        hydra_plugins = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
    alias = ModuleType("hydra_plugins.mtl_runner")
    hydra_plugins.mtl_runner = sys.modules[alias.__name__] = alias
    for plugin in PLUGINS:
        setattr(alias, plugin.__name__, plugin)
        Plugins.instance().register(plugin)
    # In the place of Hydra's own entry of this name.
    basic = {"_target_": "hydra_plugins.mtl_runner.GridSweeper", "max_batch_size": None}
    ConfigStore.instance().store("basic", {**basic, "params": None}, group="hydra/sweeper")


def report_sweeps() -> None:
    """Let the terminal show a line per run of every sweep that this process starts."""
    wrap_launchers(ReportedLauncher)
