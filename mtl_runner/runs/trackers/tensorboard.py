"""TensorBoard: event files in the run directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_runner.compat.omegaconf_yaml import to_yaml
from mtl_runner.config.extras import import_extra
from mtl_runner.runs.trackers.base import TrackedRun, Tracker

SUFFIX = ".mtl_runner"


class TensorBoard(Tracker):
    """Write event files for TensorBoard into the folder ``tensorboard`` of the run directory.

    ``tensorboard --logdir outputs`` shows all runs. After a resume the event files are written
    anew, from ``metrics.csv``: a killed process may have left half an evaluation in them.

    Raises:
        ConfigError: If ``tensorboard`` is not installed.
    """

    def __init__(self) -> None:
        import_extra("tensorboard", "tensorboard", "tracker=tensorboard")
        self.writer: Any = None

    def start(self, run: TrackedRun) -> int:
        """Open a new event file, with the config and the directory of the run."""
        from torch.utils.tensorboard.summary import hparams
        from torch.utils.tensorboard.writer import SummaryWriter

        folder = run.directory / "tensorboard"
        for events in folder.glob(f"events.out.tfevents.*{SUFFIX}"):
            events.unlink()
        self.place = f"tensorboard --logdir {folder}"
        self.writer = SummaryWriter(str(folder), filename_suffix=SUFFIX)
        config = to_yaml(dict(run.config)).decode()
        self.writer.add_text("config", f"```yaml\n{config}```")
        self.writer.add_text("directory", str(run.directory))
        settings = {
            k: v for k, v in run.settings.items() if isinstance(v, bool | int | float | str)
        }
        describe: Any = hparams
        for summary in describe(settings, {"val/total/relative_loss": 0.0}):
            self.writer.file_writer.add_summary(summary)
        self.writer.flush()
        return 0

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write a point of every curve."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def end(
        self, status: str, step: int, values: Mapping[str, float], pictures: Sequence[Path]
    ) -> None:
        """Write the test numbers and the pictures, and close the event file."""
        from matplotlib.image import imread

        self.log(step, values)
        for path in pictures:
            self.writer.add_image(path.stem, imread(path)[..., :3], step, dataformats="HWC")
        self.writer.close()
