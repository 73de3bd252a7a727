"""A finished run as an object: its directory, numbers, pictures and trained model."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl_runner.runs.directory import read_summary
from mtl_runner.runs.predictor import Predictor, load

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunResult:
    """What a run left in its directory; read when it is asked for.

    Attributes:
        directory: Of the run.
    """

    directory: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json: metrics of the final and the best model, directions, times, versions."""
        return read_summary(self.directory)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """metrics.csv: one row per evaluated epoch, split and task."""
        import pandas as pd

        return pd.read_csv(self.directory / "metrics.csv")

    @cached_property
    def predictor(self) -> Predictor:
        """The trained model at its best validation epoch, with its tasks and preprocessing."""
        return load(self.directory)

    @property
    def pictures(self) -> list[Path]:
        """The pictures that the run drew."""
        return sorted(self.directory.glob("*.png"))

    def __repr__(self) -> str:
        from mtl_runner.runs.summary import table, verdict

        return f"{table(self.summary)}\n{verdict(self.summary)}\n{self.directory}"

    def _repr_html_(self) -> str:
        """What a notebook shows: the table and the pictures."""
        images = "".join(
            f'<img alt="{escape(path.stem)}" style="max-width:100%" src="data:image/png;base64,{_encoded(path)}">'
            for path in self.pictures
        )
        return f"<pre>{escape(repr(self))}</pre>{images}"


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
