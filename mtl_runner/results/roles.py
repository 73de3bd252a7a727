"""Which part each run plays in a comparison: read from the study that made it, or inferred from its options."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mtl_runner.results.read import Run
from mtl_runner.results.strategies import Label

# A run is plain if these are so; a run that departs from them is a strategy, whatever its weights.
PLAIN = {"update": "joint", "schedule": "all", "likelihood": "standard"}


@dataclass(frozen=True)
class Job:
    """One run and its part."""

    run: Run
    data: str
    strategy: str
    replicate: str
    role: str  # single_task | equal | fixed | strategy | twin
    of: str = ""
    final: bool = True  # evidence; else a run that chose settings
    trial: str = ""  # tells the settings of runs apart that are not final
    rate: float = math.nan  # learning rate, where the study or the run's options name it


def read_study(runs: Sequence[Run]) -> dict[str, Any] | None:
    """The ``study.json`` beside the runs: its version, margin and jobs; the jobs' keys become their resolved directories.

    None if there is none, or none that can be read. Of several studies the jobs are put together; the smallest margin counts.
    """
    found: dict[str, Any] = {}
    for folder in dict.fromkeys(run.directory.resolve().parent for run in runs):
        try:
            study = json.loads((folder / "study.json").read_text())
            named = {str(folder / name): dict(job) for name, job in study["jobs"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        margins = [float(each["margin"]) for each in (found, study) if each.get("margin") is not None]
        found = {**study, "jobs": {**found.get("jobs", {}), **named}, "margin": min(margins, default=None)}
    return found or None


def jobs(runs: Sequence[Run], labels: Sequence[Label], study: Mapping[str, Any] | None) -> list[Job]:
    """Every run's part, by the study where it names the run's directory, else inferred."""
    recorded = (study or {}).get("jobs", {})
    plain = _plain_runs(runs)
    found = []
    for run, where in zip(runs, labels, strict=True):
        row = recorded.get(str(run.directory.resolve()), recorded.get(run.directory.name))
        rate = _number(run.overrides.get("optimizer.lr"))
        if row is None:
            role = infer_role(run, run.directory in plain)
            found.append(Job(run, where.data, where.strategy, where.replicate, role, rate=rate))
        else:
            name, of, final = str(row["strategy"]), row.get("of") or "", bool(row.get("final", True))
            rate = _number(row["lr"]) if row.get("lr") is not None else rate
            found.append(Job(run, where.data, name, where.replicate, row["role"], of, final, where.strategy, rate))
    # A study may train each task alone by `data.tasks=[y1]`, which alone would look like a data set of its own.
    others = dict.fromkeys(job.data for job in found if job.role != "single_task")
    if study and len(others) == 1:
        data = next(iter(others))
        found = [replace(job, data=data) if job.role == "single_task" else job for job in found]
    return found


def infer_role(run: Run, plain: bool = True) -> str:
    """``single_task``, ``equal``, ``fixed`` or ``strategy`` from the options of a run."""
    weighting = run.choices.get("weighting") or run.overrides.get("weighting")
    if weighting == "single_task":
        return "single_task"
    if weighting != "fixed" or not plain:
        return "strategy"
    return "fixed" if any(key.startswith("weighting.weights") for key in run.overrides) else "equal"


def _plain_runs(runs: Sequence[Run]) -> set[Path]:
    """Directories of the runs whose other axes are the usual ones, or the same throughout: then they distinguish nothing."""
    common = {axis for axis in PLAIN if len({run.choices.get(axis) for run in runs if run.choices}) < 2}
    return {run.directory for run in runs if all(a in common or run.choices.get(a, p) == p for a, p in PLAIN.items())}


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
