"""Registers our Hydra plugins at run time; no `hydra_plugins` folder."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin


class UserConfigs(SearchPathPlugin):
    """Adds ``./conf`` of the working directory, after our own, so that users add options of their own to every group."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        conf = Path.cwd() / "conf"
        if conf.is_dir():
            search_path.append("mtl-runner user", f"file://{conf}")


def register() -> None:
    """Register the plugins with Hydra."""
    Plugins.instance().register(UserConfigs)
