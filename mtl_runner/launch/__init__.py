"""Hydra's side of a run: plugins, launchers, and what happens before and after a sweep.

This room makes a :class:`~mtl_runner.runs.request.Request` of a command line and starts it. It is
free of torch until a run begins.
"""

from mtl_runner.launch.plugins import register, report_sweeps
from mtl_runner.launch.start import SweepStart, current_sweep

__all__ = ["SweepStart", "current_sweep", "register", "report_sweeps"]
