"""Axis 3: which tasks are active now. A schedule knows the clock and the validation losses, not models or data."""

from mtl_runner.config.times import Length, parse_when
from mtl_runner.schedule.alternate import Alternate
from mtl_runner.schedule.base import Schedule
from mtl_runner.schedule.plateau import Plateau
from mtl_runner.schedule.ramp import Ramp
from mtl_runner.schedule.staged import Staged

__all__ = ["Alternate", "Length", "Plateau", "Ramp", "Schedule", "Staged", "parse_when"]
