"""A tracker implements only what it needs, and is told of the run what it may know."""

from __future__ import annotations

from pathlib import Path

from mtl_runner import Tracker
from mtl_runner.runs.trackers import TrackedRun


class Quiet(Tracker):
    """A tracker that does the least."""

    def log(self, step: int, values: object) -> None:
        del step, values


def test_a_tracker_needs_no_more_than_log() -> None:
    """Breaks if a user's own tracker has to implement what it does not use."""
    quiet = Quiet()
    assert quiet.start(TrackedRun("1", "run", Path("run"), {}, last_step=7)) == 7
    quiet.end("finished", 7, {}, [])


def test_settings_are_the_config_without_the_trackers() -> None:
    """Breaks if passwords and addresses of a tracker become parameters of the run."""
    config = {"seed": 1, "tracker": {"mine": {"url": "secret"}}, "model": {"hidden": [4], "a": {}}}
    assert TrackedRun("1", "run", Path("run"), config).settings == {"seed": 1, "model.hidden": [4]}
