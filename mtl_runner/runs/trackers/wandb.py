"""Weights & Biases: a run of a project, online, or in a folder that ``wandb sync`` uploads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_runner.config.extras import import_extra
from mtl_runner.errors.checks import choice
from mtl_runner.runs.trackers.base import TrackedRun, Tracker


class WandB(Tracker):
    """Send the record of a run to Weights & Biases, without reports of errors or code.

    Its files lie in the folder ``wandb`` of the run directory. A resumed run goes on with its W&B
    run, whose id stays the same: online after the last step that the server has. Offline, files
    that were not uploaded yet are written anew, from ``metrics.csv``: a process that is killed
    takes rows with it that it had handed over.

    Args:
        project: Name of the project.
        entity: The user or team; None: that of the login.
        mode: ``"online"``, or ``"offline"`` for a later ``wandb sync``; None: what ``WANDB_MODE``
            says, else online.

    Raises:
        ConfigError: If ``wandb`` is not installed, or the mode is unknown.
    """

    def __init__(
        self, project: str = "mtl-runner", entity: str | None = None, mode: str | None = None
    ) -> None:
        if mode is not None:
            choice(mode, "tracker.wandb.mode", ("online", "offline"))
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self.wandb = import_extra("wandb", "wandb", "tracker=wandb")
        self.project, self.entity, self.mode = project, entity, mode
        self.run: Any = None

    def start(self, run: TrackedRun) -> int:
        """Open the W&B run of this id, new or not."""
        settings = self.wandb.Settings(
            silent=True, console="off", disable_code=True, disable_git=True, save_code=False
        )
        offline = (self.mode or self.wandb.setup().settings.mode) == "offline"
        begun = sorted((run.directory / "wandb").glob(f"offline-run-*-{run.id}")) if offline else []
        last_step = run.last_step if any(map(_is_uploaded, begun)) else 0
        for folder in begun:
            if not _is_uploaded(folder):
                shutil.rmtree(folder)
        self.run = self.wandb.init(
            project=self.project,
            entity=self.entity,
            mode=self.mode,
            id=run.id,
            name=run.name,
            group=run.group or None,
            dir=str(run.directory),
            config={**run.config, "directory": str(run.directory)},
            resume="allow",
            # The runs of a stack are open at the same time.
            reinit="create_new",
            settings=settings,
        )
        self.place = f"wandb sync {run.directory}/wandb/offline-run-*" if offline else self.run.url
        return last_step if offline else self.run.starting_step - 1

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send a row of the history."""
        self.run.log(dict(values), step=step, commit=True)

    def end(
        self, status: str, step: int, values: Mapping[str, float], pictures: Sequence[Path]
    ) -> None:
        """Send the pictures, and the test numbers as the summary; close the W&B run."""
        if pictures:
            images = {path.stem: self.wandb.Image(str(path)) for path in pictures}
            self.run.log(images)
        self.run.summary.update(dict(values))
        self.run.finish(exit_code=int(status != "finished"))


def _is_uploaded(folder: Path) -> bool:
    """Return whether ``wandb sync`` has uploaded a folder."""
    return any(folder.glob("*.wandb.synced"))
