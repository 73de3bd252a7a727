"""Hydra's own launcher, which runs the jobs of a sweep one after another."""

from hydra._internal.core_plugins.basic_launcher import BasicLauncher

__all__ = ["BasicLauncher"]
