"""A finished run as a Python object: its numbers, pictures and trained model."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl_runner.files import open_regular, read_regular
from mtl_runner.runs.predictor import Predictor, load
from mtl_runner.runs.records import read_summary

if TYPE_CHECKING:
    import pandas as pd

PICTURE_BYTES = 1 << 26


@dataclass(frozen=True)
class RunResult:
    """The files of a finished run; each is read when it is first asked for.

    Printed, it is the table that the run ended with; a notebook shows the pictures, too.

    Attributes:
        directory: The run directory.
        trust: Import paths of classes and functions whose code the model may run, as in
            :func:`mtl_runner.load`; those of the config, if ``mtl_runner.run`` made the result.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> _ = (Path(folder.name) / "summary.json").write_text('{"status": "finished"}')
        >>> RunResult(Path(folder.name)).summary
        {'status': 'finished'}
        >>> folder.cleanup()
    """

    directory: Path
    trust: tuple[str, ...] = ()

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json: metrics of the final and the best model, times, versions."""
        return read_summary(self.directory)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """The table metrics.csv: one row per evaluated epoch, split and task."""
        import pandas as pd

        with os.fdopen(open_regular(self.directory / "metrics.csv"), "rb") as file:
            return pd.read_csv(file)

    @cached_property
    def predictor(self) -> Predictor:
        """The trained model at its best validation epoch, with its tasks and preprocessing."""
        return load(self.directory, trust=self.trust)

    @property
    def pictures(self) -> list[Path]:
        """The paths of the pictures that the run drew, sorted by name."""
        return sorted(self.directory.glob("*.png"))

    def __repr__(self) -> str:
        from mtl_runner.runs.summary import monitor_line, task_table

        return f"{task_table(self.summary)}\n{monitor_line(self.summary)}\n{self.directory}"

    def _repr_html_(self) -> str:
        """Return the table and the pictures, as a notebook shows them."""
        images = "".join(
            f'<img alt="{escape(path.stem)}" style="max-width:100%" src="data:image/png;base64,{_encoded(path)}">'
            for path in self.pictures
        )
        return f"<pre>{escape(repr(self))}</pre>{images}"


def _encoded(path: Path) -> str:
    """Return the bytes of a file in base64."""
    return base64.b64encode(read_regular(path, PICTURE_BYTES)).decode()
