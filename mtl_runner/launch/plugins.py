"""Registers our Hydra plugins at run time; no `hydra_plugins` folder."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.launch.stacked import StackedLauncher
from mtl_runner.study.sweeper import FairSweeper


class Configs(SearchPathPlugin):
    """Adds our configs (a repeated run has a primary config of its own) and then ``./conf`` of the working directory.

    So users add options of their own to every group, and cannot break ours by accident.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("mtl-runner", f"file://{conf_directory()}")
        conf = Path.cwd() / "conf"
        if conf.is_dir():
            search_path.append("mtl-runner user", f"file://{conf}")


def register() -> None:
    """Register the plugins with Hydra."""
    Plugins.instance().register(Configs)
    # Hydra takes launchers and sweepers from the package `hydra_plugins` only, and imports them from there: a module of that name stands for ours.
    try:
        import hydra_plugins  # type: ignore[import-untyped]
    except ImportError:  # no other plugin is installed
        hydra_plugins = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
    alias = ModuleType(StackedLauncher.__module__)
    alias.StackedLauncher = StackedLauncher  # type: ignore[attr-defined]
    hydra_plugins.mtl_runner = sys.modules[alias.__name__] = alias
    alias.FairSweeper = FairSweeper  # type: ignore[attr-defined]
    Plugins.instance().register(StackedLauncher)
    Plugins.instance().register(FairSweeper)
