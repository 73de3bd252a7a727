"""Hydra's own sweeper, which makes a job of every combination of values."""

from hydra.core.plugins import Plugins

# Hydra executes the modules of its own plugins anew when it first looks for plugins; a subclass of
# a class from before would not fit.
Plugins.instance()

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # noqa: E402

__all__ = ["BasicSweeper"]
