"""Trackio: a local database of runs, with a dashboard (``trackio show``)."""

from __future__ import annotations

import contextlib
import contextvars
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_runner.config.extras import import_extra
from mtl_runner.runs.trackers.base import TrackedRun, Tracker


class Trackio(Tracker):
    """Send the record of a run to Trackio, which keeps it on this machine.

    A resumed run goes on after the last step that Trackio has. ``TRACKIO_DIR`` says where the
    database lies.

    Args:
        project: Name of the project.

    Raises:
        ConfigError: If ``trackio`` is not installed.
    """

    def __init__(self, project: str = "mtl-runner") -> None:
        for name in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
            os.environ.setdefault(name, "1")
        self.trackio = import_extra("trackio", "trackio", "tracker=trackio")
        self.project = project
        self.run: Any = None

    def start(self, run: TrackedRun) -> int:
        """Open the Trackio run of this name, new or not."""

        def init() -> Any:
            # Trackio knows runs by their names.
            return self.trackio.init(
                self.project,
                name=f"{run.name}-{run.id}",
                group=run.group or None,
                config={**run.config, "directory": str(run.directory)},
                resume="allow",
                embed=False,
                auto_log_cpu=False,
            )

        with contextlib.redirect_stdout(io.StringIO()):
            # In a context of its own: init would end the run that another one has opened.
            self.run = contextvars.Context().run(init)
        self.place = f"trackio show --project {self.project}"
        return int(getattr(self.run, "_next_step", run.last_step + 1)) - 1

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send a row."""
        self.run.log(dict(values), step=step)

    def end(
        self, status: str, step: int, values: Mapping[str, float], pictures: Sequence[Path]
    ) -> None:
        """Send the test numbers and the pictures, and close the Trackio run."""
        images = {path.stem: self.trackio.Image(str(path)) for path in pictures}
        if values or images:
            self.run.log({**values, **images}, step=step)
        with contextlib.redirect_stdout(io.StringIO()):
            self.run.finish()
