"""Axis 3, the schedules: which tasks are active now.

A schedule knows the clock and the validation losses, not models or data.
"""

from mtl_runner.config.times import RunLength, parse_time
from mtl_runner.schedule.alternate import Alternate
from mtl_runner.schedule.base import Schedule
from mtl_runner.schedule.plateau import Plateau
from mtl_runner.schedule.ramp import Ramp
from mtl_runner.schedule.staged import Staged

__all__ = ["Alternate", "Plateau", "Ramp", "RunLength", "Schedule", "Staged", "parse_time"]
